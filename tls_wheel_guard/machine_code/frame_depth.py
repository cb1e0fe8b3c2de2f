"""How many bytes lie between the stack pointer and a function's return address, by the instructions of its unwind entry.

DWARF 5, 6.4.2. Only the rule of the CFA is followed. A cold part or a landing pad begins in the middle of a frame; this tells its depth there.
"""

from __future__ import annotations

__all__ = ["depth_at"]

RSP = 7
RETURN_ADDRESS = 8
_ONE_NUMBER = frozenset({0x06, 0x07, 0x08, 0x2E})
"""restore_extended, undefined, same_value, GNU_args_size."""
_TWO_NUMBERS = frozenset({0x05, 0x09, 0x11, 0x14, 0x15})
"""offset_extended, register, offset_extended_sf, val_offset, val_offset_sf."""


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def word(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "little")


def depth_at(program: bytes, distance: int) -> int | None:
    """The depth ``distance`` bytes after a function's start, by the instructions of its FDE; None where another register holds the frame.

    The CIE's own instructions are taken to be the psABI's: the CFA is rsp + 8 at the start.
    """
    reader = _Bytes(program)
    rule = (RSP, RETURN_ADDRESS)
    kept: list[tuple[int, int]] = []
    place = 0
    try:
        while reader.at < len(program):
            code = reader.byte()
            advance = _advance(code, reader)
            if advance is not None:
                place += advance
                if place > distance:
                    break
            elif code == 0x0A:
                kept.append(rule)
            elif code == 0x0B:
                rule = kept.pop()
            else:
                rule = _rule(code, reader, rule)
    except IndexError:
        return None
    return rule[1] - RETURN_ADDRESS if rule[0] == RSP else None


def _advance(code: int, reader: _Bytes) -> int | None:
    """Bytes of code that an advance_loc skips; x86's code alignment factor is 1."""
    if code >> 6 == 1:
        return code & 0x3F
    return reader.word(1 << code - 2) if code in (0x02, 0x03, 0x04) else None


def _rule(code: int, reader: _Bytes, rule: tuple[int, int]) -> tuple[int, int]:
    """The rule of the CFA after an instruction; raises IndexError for unknown instructions."""
    if code == 0x0C:
        register = reader.number()
        return register, reader.number()
    if code == 0x0D:
        return reader.number(), rule[1]
    if code == 0x0E:
        return rule[0], reader.number()
    if code == 0x0F:
        reader.word(reader.number())
        return -1, 0
    if code in (0x10, 0x16):
        reader.number()
        reader.word(reader.number())
    elif code >> 6 == 2 or code in _ONE_NUMBER:
        reader.number()
    elif code in _TWO_NUMBERS:
        reader.number()
        reader.number()
    elif code >> 6 != 3 and code != 0:
        raise IndexError(code)
    return rule
