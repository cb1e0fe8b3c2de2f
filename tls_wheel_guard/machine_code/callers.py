"""Find who calls or jumps to a function of the same file: a search for 32-bit distances, each confirmed by decoding its function."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tls_wheel_guard.machine_code.code import Code
from tls_wheel_guard.machine_code.control_flow import ControlFlow, branch_target, plain

__all__ = ["MAX_SEARCHED", "Callers"]

MAX_SEARCHED = 64 << 20
"""Bytes of code that are searched for callers."""


class Callers:
    """Direct calls and jumps into functions, found in one pass over the code when first asked for."""

    def __init__(self, code: Code, flow: ControlFlow) -> None:
        self._code, self._flow = code, flow
        self._sources: dict[int, list[int]] | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the code was searched."""
        return sum(len(piece.data) for piece in self._code.pieces) <= MAX_SEARCHED

    def of(self, address: int) -> Iterator[tuple[int, str]]:
        """(address, ``call`` or the jump's name) of each instruction that leads to an address from another function."""
        if self._sources is None:
            self._sources = self._index() if self.whole else {}
        for source in self._sources.get(address, ()):
            function = self._flow.around(source)
            if function is not None and source in function.index:
                line = function.lines[function.index[source]]
                if branch_target(line) == address:
                    yield source, plain(line.mnemonic)

    def into(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(address, target) of jumps, calls left out, from other functions to anywhere in a function."""
        for target in range(start, end):
            for source, name in self.of(target):
                if name != "call" and not start <= source < end:
                    yield source, target

    def _index(self) -> dict[int, list[int]]:
        """Target -> addresses of bytes that look like ``call rel32``, ``jmp rel32`` or ``jcc rel32``."""
        sources: dict[int, list[int]] = {}
        for source, target in _distances(self._code):
            sources.setdefault(target, []).append(source)
        return sources


def _distances(code: Code) -> Iterator[tuple[int, int]]:
    unpack = struct.Struct("<i").unpack_from
    for piece in code.pieces:
        data, base = piece.data, piece.address
        # The highest byte of a distance inside the segment takes few values, which rules out most bytes that are no jump.
        tops = {distance >> 24 & 0xFF for distance in range(-len(data), len(data), 1 << 24)} | {len(data) >> 24 & 0xFF}
        last = b"".join(re.escape(bytes((top,))) for top in sorted(tops))
        for hit in re.finditer(b"(?=(?:[\xe8\xe9]|\x0f[\x80-\x8f])...[" + last + b"])", data, re.DOTALL):
            at = hit.start()
            behind = at + (6 if data[at] == 0x0F else 5)
            if behind <= len(data):
                yield base + at, base + behind + unpack(data, behind - 4)[0]
