"""What callers of a function read after the call: its result, and with gcc's -fipa-ra registers that the function leaves alone."""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard.machine_code.callees import Callees
from tls_wheel_guard.machine_code.callers import Callers
from tls_wheel_guard.machine_code.control_flow import ControlFlow, UnreadableCodeError
from tls_wheel_guard.machine_code.descriptor_calls import find_descriptor_calls
from tls_wheel_guard.machine_code.vector_liveness import RESULTS, live_at_starts, live_behind
from tls_wheel_guard.machine_code.vector_registers import ALL
from tls_wheel_guard.machine_code.vector_steps import steps_of

__all__ = ["Users"]

MOST_CALLERS = 256
"""Most callers of one function that are read."""
DEEPEST = 8
"""Depth to which callers of callers are read."""

_Read = tuple[int, int]
"""What is read for certain, and what may be read."""


class Users:
    """Reads after calls, by function."""

    def __init__(self, flow: ControlFlow, callees: Callees, callers: Callers, slots: frozenset[int]) -> None:
        self._flow, self._callees, self._callers, self._slots = flow, callees, callers, slots
        self._known: dict[int, _Read] = {}
        self._behind: dict[int, dict[int, _Read]] = {}
        self._open: set[int] = set()

    def at_return(self, entries: Iterable[int]) -> _Read:
        """What may be read when a function that begins at one of the entries has returned."""
        certain, possible = 0, RESULTS
        for entry in entries:
            found = self._of(entry, 0)
            certain, possible = certain | found[0], possible | found[1]
        return certain, possible

    def _of(self, entry: int, depth: int) -> _Read:
        if entry in self._known:
            return self._known[entry]
        callee = self._callees.at(entry)
        kept = callee.keeps | RESULTS if callee else RESULTS
        may_keep = callee.may_keep | RESULTS if callee else ALL
        if entry in self._open:
            return 0, 0
        if depth > DEEPEST or not self._callers.whole:
            return 0, may_keep
        self._open.add(entry)
        certain, possible = self._read_by_callers(entry, depth)
        self._open.discard(entry)
        found = certain & kept, possible & may_keep
        if not self._open:
            self._known[entry] = found
        return found

    def _read_by_callers(self, entry: int, depth: int) -> _Read:
        certain = possible = 0
        for number, (source, name) in enumerate(self._callers.of(entry)):
            if number == MOST_CALLERS:
                return certain, ALL
            found = self._behind_call(source, depth) if name == "call" else self._of_function(source, depth)
            certain, possible = certain | found[0], possible | found[1]
        return certain, possible

    def _of_function(self, address: int, depth: int) -> _Read:
        """The same for the function that a tail call is in."""
        function = self._flow.around(address)
        return self._of(function.start, depth + 1) if function is not None else (0, ALL)

    def _behind_call(self, source: int, depth: int) -> _Read:
        function = self._flow.around(source)
        if function is None:
            return 0, ALL
        if function.start not in self._behind:
            try:
                self._behind[function.start] = self._read(function.start, depth)
            except UnreadableCodeError:
                return 0, ALL
        return self._behind[function.start].get(source, (0, 0))

    def _read(self, start: int, depth: int) -> dict[int, _Read]:
        """Address of each call in a function -> what is read after it."""
        blocks = self._flow.graph([start])
        steps = {at: steps_of(self._flow, block) for at, block in blocks.items()}
        sites = find_descriptor_calls(self._flow, blocks, [start], self._slots).sites
        certain, possible = self._of(start, depth + 1)
        found = []
        for results, passages in zip((certain, possible | RESULTS), self._callees.passages(sites), strict=True):
            found.append(live_behind(blocks, steps, live_at_starts(blocks, steps, results, passages), results, passages))
        return {address: (found[0].get(address, 0), found[1][address]) for address in found[1]}
