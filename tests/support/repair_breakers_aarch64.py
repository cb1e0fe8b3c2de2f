"""Thunks of aarch64 with a fault each: what a proof, a probe or an unwinder must see."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.repair_machines import AARCH64
from tests.support.repairing import planned
from tls_wheel_guard.repair.machine import Piece, Step
from tls_wheel_guard.repair.patch import apply_to
from tls_wheel_guard.repair.plan import MACHINES
from tls_wheel_guard.repair.prove import faults

__all__ = ["BREAKERS", "FRAME_BREAKERS", "broken"]

Thunk = Callable[..., Piece]


def _with_words(change: Callable[[int], int]) -> Callable[[Thunk], Thunk]:
    """Instructions are changed one by one."""

    def breaker(thunk: Thunk) -> Thunk:
        def made(*arguments: Any) -> Piece:
            piece = thunk(*arguments)
            words = struct.unpack(f"<{len(piece.code) // 4}I", piece.code)
            return replace(piece, code=struct.pack(f"<{len(words)}I", *map(change, words)))

        return made

    return breaker


def _begun_with(word: int) -> Callable[[Thunk], Thunk]:
    """One more instruction before the others."""

    def breaker(thunk: Thunk) -> Thunk:
        def made(site: Any, flavour: Any, at: int, *rest: Any) -> Piece:
            piece = thunk(site, flavour, at + 4, *rest)
            steps = tuple(replace(step, offset=step.offset + 4) for step in piece.steps)
            return Piece(word.to_bytes(4, "little") + piece.code, steps)

        return made

    return breaker


def _with_steps(change: Callable[[Step], Step]) -> Callable[[Thunk], Thunk]:
    """Other unwind rows."""

    def breaker(thunk: Thunk) -> Thunk:
        def made(*arguments: Any) -> Piece:
            piece = thunk(*arguments)
            return replace(piece, steps=tuple(map(change, piece.steps)))

        return made

    return breaker


NOP = 0xD503201F
BREAKERS: dict[str, Callable[[Thunk], Thunk]] = {
    "flags not restored": _with_words(lambda word: NOP if word & 0xFFFFFFE0 == 0xD51B4200 else word),  # msr nzcv
    "a vector register lost": _begun_with(0x4F00E405),  # movi v5.16b, #0
    "a general register lost": _begun_with(0xD2800005),  # mov x5, #0
    "stack pointer off": _begun_with(0xD10043FF),  # sub sp, sp, #16
}
"""Fault of the code -> how it is made."""

FRAME_BREAKERS: dict[str, Callable[[Thunk], Thunk]] = {
    "a frame address off by sixteen": _with_steps(lambda step: replace(step, pushed=step.pushed and step.pushed + 16)),
    "no frame address of its own": _with_steps(lambda step: replace(step, pushed=0)),
}
"""Fault of the frames -> how it is made."""


def broken(before: Path, after: Path, breaker: Callable[[Thunk], Thunk]) -> list[str]:
    """Repair a file with broken thunks, unproved; what the proof says of it."""
    row, data = MACHINES[AARCH64.e_machine], before.read_bytes()
    with mock.patch.dict(MACHINES, {AARCH64.e_machine: replace(row, thunk=breaker(row.thunk))}):
        plan = planned(data)
    after.write_bytes(apply_to(data, plan.patches, plan.tail, plan.appended))
    return list(faults(data, after.read_bytes(), plan))
