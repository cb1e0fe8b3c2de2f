"""Which vector registers are read after a place before anything writes them: backward over blocks, twice.

``certain`` counts what an instruction of this file reads: in the function, in a function that it calls with an argument, in a caller
that uses a result. Without it everything counts that *may* be read: an argument of any call, a result of any return. What is live
for certain is a fact; what may not even be live possibly is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tls_wheel_guard.machine_code.control_flow import Block
from tls_wheel_guard.machine_code.vector_effects import live_before
from tls_wheel_guard.machine_code.vector_registers import ALL, vectors
from tls_wheel_guard.machine_code.vector_steps import Call, Step

__all__ = ["ARGUMENTS", "RESULTS", "Passage", "Passages", "Steps", "filled_before", "live_at_starts", "live_behind"]

ARGUMENTS = vectors(0, 8)
"""xmm0 to xmm7 and what lies above: System V ABI, 3.2.3."""
RESULTS = vectors(0, 2)

Steps = Mapping[int, list[Step]]
"""Start of a block -> its steps."""


class Passage(NamedTuple):
    """What a call does to vector registers: it leaves ``keeps`` as they are, and reads ``reads``."""

    keeps: int
    reads: int


Passages = Callable[[int, Call], Passage]
"""(Address of a call, whom it calls) -> what it does."""


def _through(steps: list[Step], live: int, passages: Passages, wanted: dict[int, int] | None = None) -> int:
    """From what is live behind a block to what is live before it. ``wanted``: gets what is live behind each call, by its address."""
    for step in reversed(steps):
        if step.call is None:
            live = live_before(step.effect, live)
        else:
            if wanted is not None:
                wanted[step.address] = wanted.get(step.address, 0) | live
            keeps, reads = passages(step.address, step.call)
            live = live & keeps | reads
    return live


def live_at_starts(blocks: Mapping[int, Block], steps: Steps, at_return: int, passages: Passages) -> dict[int, int]:
    """Start of each block -> what is live there. ``at_return``: what is read behind a return."""
    before: dict[int, list[int]] = {}
    for block in blocks.values():
        for target in block.successors:
            before.setdefault(target, []).append(block.start)
    live: dict[int, int] = {}
    work = sorted(blocks)
    waiting = set(work)
    while work:
        start = work.pop()
        waiting.discard(start)
        found = _through(steps[start], _behind(blocks[start], live, at_return), passages)
        if live.get(start) != found:
            live[start] = found
            new = [b for b in before.get(start, ()) if b not in waiting]
            waiting.update(new)
            work += new
    return live


def _behind(block: Block, live: Mapping[int, int], at_return: int) -> int:
    found = at_return if block.end in ("return", "tail") else 0
    for target in block.successors:
        found |= live.get(target, 0)
    return found


def live_behind(blocks: Mapping[int, Block], steps: Steps, live: Mapping[int, int], at_return: int, passages: Passages) -> dict[int, int]:
    """Address of each call -> what is live behind it."""
    wanted: dict[int, int] = {}
    for start, block in blocks.items():
        if any(step.call for step in steps[start]):
            _through(steps[start], _behind(block, live, at_return), passages, wanted)
    return wanted


def filled_before(
    blocks: Mapping[int, Block], steps: Steps, entries: Mapping[int, int], passages: Passages, results: int = RESULTS
) -> dict[int, int]:
    """Address of each call -> registers that something may have put a value into: code, a caller, a call's result (``results``).

    ``entries``: address -> what holds values there. Blocks that no jump leads to are reached by exceptions: there all may.
    """
    state = dict(entries)
    for known in (entries, blocks):
        work = [start for start in known if start in blocks and (known is entries or start not in state)]
        for start in work:
            state.setdefault(start, ALL)
        while work:
            start = work.pop()
            filled = _fill(steps[start], state[start], passages, results, {})
            for target in blocks[start].successors:
                if target in blocks and filled | state.get(target, 0) != state.get(target):
                    state[target] = filled | state.get(target, 0)
                    work.append(target)
    found: dict[int, int] = {}
    for start in blocks:
        _fill(steps[start], state[start], passages, results, found)
    return found


def _fill(steps: list[Step], filled: int, passages: Passages, results: int, found: dict[int, int]) -> int:
    for step in steps:
        if step.call is None:
            filled |= step.effect.writes
        else:
            found[step.address] = filled
            keeps, _ = passages(step.address, step.call)
            filled = filled & keeps | (0 if keeps == ALL else results)
    return filled
