"""What a called function does to vector registers: its own code where the file has it, a table of names for the C library's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tls_wheel_guard.machine_code.control_flow import Block, ControlFlow, UnreadableCodeError
from tls_wheel_guard.machine_code.descriptor_calls import find_descriptor_calls
from tls_wheel_guard.machine_code.vector_liveness import ARGUMENTS, RESULTS, Passage, Passages, live_at_starts
from tls_wheel_guard.machine_code.vector_registers import ALL, DOUBLE, FLOAT, vectors
from tls_wheel_guard.machine_code.vector_steps import Call, steps_of

__all__ = ["Callee", "Callees"]

_ONE = """
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 exp10 expm1 log log2 log10 log1p sqrt cbrt erf erfc tgamma lgamma
    floor ceil round trunc rint nearbyint
"""
_TWO = "pow atan2 fmod hypot fdim remainder copysign nextafter fmax fmin"
_LIBM = {
    name + suffix: vectors(0, count, parts)
    for count, names in ((1, _ONE), (2, _TWO))
    for name in names.split()
    for suffix, parts in (("", DOUBLE), ("f", FLOAT))
}
"""Functions of libm -> the registers of their arguments (C11, 7.12)."""
DEEPEST = 3
"""Depth to which calls inside called functions are followed."""


class Callee(NamedTuple):
    """A function's effect on vector registers.

    ``keeps``: registers that it and all functions that it calls leave alone; ``may_keep``: the same if callees that could not be read
    write none. ``reads``, ``may_read``: what is read before it is written.
    """

    keeps: int
    may_keep: int
    reads: int
    may_read: int


class Callees:
    """Summaries of functions, made when first asked for.

    ``names``: slot of the GOT -> (address in this file or None, name) of what a call through it reaches.
    """

    def __init__(self, flow: ControlFlow, slots: frozenset[int], names: Callable[[int], tuple[int | None, str]]) -> None:
        self._flow, self._slots, self._names = flow, slots, names
        self._known: dict[int, Callee | None] = {}

    def at(self, address: int, depth: int = 0) -> Callee | None:
        """The summary of the function at an address; None where it can't be read or is recursive."""
        if address not in self._known:
            if depth > DEEPEST:
                return None
            self._known[address] = None
            try:
                blocks = self._flow.graph([address])
            except UnreadableCodeError:
                return None
            self._known[address] = self._summary(address, blocks, depth)
        return self._known[address]

    def _summary(self, entry: int, blocks: dict[int, Block], depth: int) -> Callee:
        steps = {start: steps_of(self._flow, block) for start, block in blocks.items()}
        sites = find_descriptor_calls(self._flow, blocks, [entry], self._slots).sites
        surely, possibly = self.passages(sites, depth + 1)
        keeps = may_keep = ALL if any(block.end in ("return", "tail") for block in blocks.values()) else 0
        for step in (step for block in steps.values() for step in block):
            keeps &= ~step.effect.writes if step.call is None else surely(step.address, step.call).keeps
            may_keep &= ~step.effect.writes if step.call is None else possibly(step.address, step.call).keeps
        certain = live_at_starts(blocks, steps, 0, surely)
        possible = live_at_starts(blocks, steps, RESULTS, possibly)
        return Callee(keeps, may_keep, certain[entry], possible[entry])

    def passages(self, sites: frozenset[int], depth: int = 0) -> tuple[Passages, Passages]:
        """The effect of calls on vector registers, for certain and at most. ``sites``: addresses of descriptor calls, which keep everything."""
        kept = Passage(ALL, 0)

        def certain(address: int, call: Call) -> Passage:
            return kept if address in sites or call.saves else self._certain(call, depth)

        def possible(address: int, call: Call) -> Passage:
            return kept if address in sites else self._possible(call, depth)

        return certain, possible

    def _certain(self, call: Call, depth: int) -> Passage:
        counted = vectors(0, call.vectors or 0, DOUBLE)
        if call.target is not None:
            callee = self.at(call.target, depth)
            return Passage(0, 0) if callee is None else Passage(callee.keeps, callee.reads | counted)
        if call.slot is None:
            return Passage(0, counted)
        address, name = self._names(call.slot)
        callee = self.at(address, depth) if address is not None else None
        return Passage(0, counted | (_LIBM.get(name, 0) if callee is None else callee.reads))

    def _possible(self, call: Call, depth: int) -> Passage:
        if call.target is None:
            return Passage(ALL if call.saves else 0, ARGUMENTS)
        callee = self.at(call.target, depth)
        return Passage(ALL, ARGUMENTS) if callee is None else Passage(callee.may_keep, callee.may_read | callee.reads)
