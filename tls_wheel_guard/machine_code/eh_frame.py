"""Where functions begin and end, by the unwind tables, which stripped files have too.

PT_GNU_EH_FRAME leads to .eh_frame_hdr (LSB, "Exception Frames"), and that to .eh_frame; without it the section of that name is read.
Encodings: DWARF Extensions, "DWARF Exception Header Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tls_wheel_guard.elf.constants import PT_GNU_EH_FRAME
from tls_wheel_guard.machine_code.code import Code

__all__ = ["Frame", "encoded_pointer", "frames", "function_ranges"]

MAX_TABLE = 128 << 20
ABSOLUTE, PC_RELATIVE, DATA_RELATIVE, OMITTED = 0x00, 0x10, 0x30, 0xFF
_LETTERS = {0x02: "H", 0x03: "I", 0x04: "Q", 0x0A: "h", 0x0B: "i", 0x0C: "q"}


class Frame(NamedTuple):
    """One FDE: the code from ``start`` up to ``end``, and the addresses of its record and of its CIE's."""

    start: int
    end: int
    fde: int
    cie: int


def function_ranges(code: Code, word: int, little_endian: bool, section: tuple[int, int] | None) -> list[tuple[int, int]]:
    """(start, end) of each function that has unwind information, in ascending order.

    ``word``: bytes of an address. ``section``: address and size of .eh_frame, where section headers have them.
    """
    return sorted({(frame.start, frame.end) for frame in frames(code, word, little_endian, section)})


def frames(code: Code, word: int, little_endian: bool, section: tuple[int, int] | None) -> list[Frame]:
    """The FDEs in ascending order of their code; arguments as for :func:`function_ranges`."""
    place = section or _from_header(code, "<" if little_endian else ">", word)
    if place is None:
        return []
    address, size = place
    data = code.loaded(address, min(size, MAX_TABLE))
    return sorted(_Frames(data, address, "<" if little_endian else ">", word))


def _from_header(code: Code, order: str, word: int) -> tuple[int, int] | None:
    """Address and greatest size of .eh_frame, by PT_GNU_EH_FRAME."""
    for segment in code.segments:
        if segment.type == PT_GNU_EH_FRAME:
            head = code.loaded(segment.vaddr, 12)
            found = encoded_pointer(head, 4, head[1], segment.vaddr, order, word, segment.vaddr) if len(head) == 12 and head[0] == 1 else None
            if found is None:
                return None
            start = found[0]
            for load in code.segments:
                if load.type == 1 and load.vaddr <= start < load.vaddr + load.filesz:
                    return start, load.vaddr + load.filesz - start
    return None


def encoded_pointer(data: bytes, at: int, encoding: int, base: int, order: str, word: int, data_base: int = 0) -> tuple[int, int] | None:
    """An encoded pointer and the position after it; None for encodings that no compiler uses here."""
    form = encoding & 0x0F
    letter = ("Q" if word == 8 else "I") if form == 0 else _LETTERS.get(form)
    if letter is None or encoding & 0x80:
        return None
    size = struct.calcsize(order + letter)
    if at + size > len(data):
        return None
    (value,) = struct.unpack_from(order + letter, data, at)
    kind = encoding & 0x70
    if kind == PC_RELATIVE:
        value += base + at
    elif kind == DATA_RELATIVE:
        value += data_base
    elif kind != ABSOLUTE:
        return None
    return value & ((1 << 8 * word) - 1), at + size


class _Frames:
    """The FDEs of an .eh_frame."""

    def __init__(self, data: bytes, address: int, order: str, word: int) -> None:
        self._data, self._address, self._order, self._word = data, address, order, word
        self._encodings: dict[int, int | None] = {}

    def __iter__(self) -> Iterator[Frame]:
        at = 0
        while at + 8 <= len(self._data):
            (length,) = struct.unpack_from(self._order + "I", self._data, at)
            if length in (0, 0xFFFFFFFF) or at + 4 + length > len(self._data):
                return
            (offset,) = struct.unpack_from(self._order + "I", self._data, at + 4)
            if offset and (found := self._range(at, offset)):
                yield Frame(*found, self._address + at, self._address + at + 4 - offset)
            at += 4 + length

    def _range(self, at: int, offset: int) -> tuple[int, int] | None:
        cie = at + 4 - offset
        if cie not in self._encodings:
            self._encodings[cie] = self._encoding(cie)
        encoding = self._encodings[cie]
        if encoding is None:
            return None
        start = encoded_pointer(self._data, at + 8, encoding, self._address, self._order, self._word)
        if start is None:
            return None
        size = encoded_pointer(self._data, start[1], encoding & 0x0F, 0, self._order, self._word)
        return (start[0], start[0] + size[0]) if size is not None and size[0] else None

    def _encoding(self, at: int) -> int | None:
        """How a CIE's FDEs write addresses: the R of its augmentation."""
        data = self._data
        end = data.find(b"\0", at + 9, at + 9 + 32) if 0 <= at <= len(data) - 9 else -1
        if end < 0:
            return None
        letters = data[at + 9 : end]
        if letters[:1] != b"z":
            return ABSOLUTE if not letters else None
        at = end + 1
        for _ in range(4):  # code and data alignment, return register, length of the augmentation
            at = self._skip_leb(at)
        return self._pointer_encoding(letters[1:], at)

    def _pointer_encoding(self, letters: bytes, at: int) -> int | None:
        """The R among the augmentation's letters, whose data begin at ``at``."""
        for letter in letters:
            if at >= len(self._data):
                return None
            if letter == ord("R"):
                return self._data[at]
            if letter == ord("L"):
                at += 1
            elif letter == ord("P"):
                pointer = encoded_pointer(self._data, at + 1, self._data[at] & 0x7F, self._address, self._order, self._word)
                if pointer is None:
                    return None
                at = pointer[1]
            elif letter not in b"SB":
                return None
        return ABSOLUTE

    def _skip_leb(self, at: int) -> int:
        while at < len(self._data) and self._data[at] & 0x80:
            at += 1
        return at + 1
