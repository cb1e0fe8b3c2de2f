"""Where functions begin, by the sorted table in .eh_frame_hdr: one look-up in place of a walk over the whole unwind table.

LSB, "Exception Frames", 10.6.2: after the version come three encodings, the pointer to .eh_frame, the count, and the table of pairs
(first address, address of the FDE), both relative to the header. GNU ld, gold, lld and mold write the same encodings.
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from tls_wheel_guard.elf.constants import PT_GNU_EH_FRAME
from tls_wheel_guard.machine_code.code import Code
from tls_wheel_guard.machine_code.eh_frame import function_ranges
from tls_wheel_guard.machine_code.frame_depth import depth_at

__all__ = ["FunctionStarts"]

_USUAL = bytes((1, 0x1B, 0x03, 0x3B))
"""Version 1; .eh_frame by sdata4 from here, the count by udata4, the table by sdata4 from the header."""
MAX_FUNCTIONS = 1 << 24
MAX_PROGRAM = 1 << 16
"""Bytes of one FDE."""


class FunctionStarts:
    """First and last addresses of functions that have unwind information. ``word``: bytes of an address."""

    def __init__(self, code: Code, word: int) -> None:
        self._code = code
        self._frames: tuple[int, ...] = ()
        self._ends: list[int] | None = None
        self._starts: tuple[int, ...] | list[int] = ()
        if not self._read_table():
            ranges = function_ranges(code, word, True, None)
            self._starts, self._ends = [start for start, _ in ranges], [end for _, end in ranges]

    def _read_table(self) -> bool:
        """Read the table of little-endian machines; False where there is none in the usual encodings."""
        header = next((s for s in self._code.segments if s.type == PT_GNU_EH_FRAME), None)
        head = self._code.loaded(header.vaddr, 12) if header is not None else b""
        if header is None or head[:4] != _USUAL:
            return False
        (count,) = struct.unpack_from("<I", head, 8)
        table = self._code.loaded(header.vaddr + 12, 8 * count) if count <= MAX_FUNCTIONS else b""
        if len(table) != 8 * count or not count:
            return False
        words = struct.unpack(f"<{2 * count}i", table)
        self._starts = tuple(header.vaddr + value for value in words[::2])
        self._frames = tuple(header.vaddr + value for value in words[1::2])
        return all(a <= b for a, b in zip(self._starts, self._starts[1:], strict=False))

    def around(self, address: int) -> tuple[int, int] | None:
        """(start, end) of the function over an address; None where no unwind information covers it."""
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        start = self._starts[place]
        end = self._ends[place] if self._ends is not None else self._end_of(start, self._frames[place])
        return (start, end) if address < end else None

    def _end_of(self, start: int, frame: int) -> int:
        """The end that an FDE gives: its range follows its first address, both of four bytes. ``start`` itself for another form."""
        data = self._code.loaded(frame, 16)
        if len(data) < 16:
            return start
        first, length = struct.unpack_from("<iI", data, 8)
        return start + length if frame + 8 + first == start else start

    def depth(self, address: int) -> int | None:
        """Bytes between the stack pointer and the return address at an address, by the unwind table; None where it does not say."""
        place = bisect_right(self._starts, address) - 1
        if place < 0 or self._ends is not None:
            return None
        head = self._code.loaded(self._frames[place], 17)
        if len(head) < 17 or head[16] > 0x7F:
            return None
        length = int.from_bytes(head[:4], "little") + 4
        if not 17 <= length <= MAX_PROGRAM:
            return None
        program = self._code.loaded(self._frames[place] + 17 + head[16], length - 17 - head[16])
        return depth_at(program, address - self._starts[place])
