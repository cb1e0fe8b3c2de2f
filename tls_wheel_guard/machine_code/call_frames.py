"""Call frame information: where the caller's frame and registers are, at each address of a function.

DWARF 5, section 6.4; .eh_frame's differences: LSB, "Exception Frames". 64-bit little-endian files only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.machine_code.eh_frame import Frame, encoded_pointer
from tls_wheel_guard.records import dataclass

__all__ = ["SIGN_STATE", "Cfa", "Cie", "FrameTable", "Row", "Rule", "sleb", "uleb"]

Cfa = tuple[int, int] | bytes
"""The canonical frame address: a register's number and what is added to it, or a DWARF expression."""
Rule = tuple[str, int | bytes]
"""How a register is found. ``offset``, ``val_offset``: bytes from the CFA; ``register``: its number; ``expression``, ``val_expression``:
a DWARF expression; ``undefined``, ``same_value``: 0. ``signed``: 0, of SIGN_STATE: the return address is signed."""
SIGN_STATE = 34
"""aarch64's RA_SIGN_STATE (DWARF for the Arm 64-bit Architecture), which DW_CFA_AARCH64_negate_ra_state toggles."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: in force from an address on. ``rules``: register number and rule, in ascending order."""

    cfa: Cfa
    rules: tuple[tuple[int, Rule], ...]


@dataclass(frozen=True, slots=True)
class Cie:
    """A CIE: what several FDEs share. ``letters``: the augmentation; ``encoding``: of an FDE's addresses; ``program``: its instructions."""

    letters: bytes
    encoding: int
    code_align: int
    data_align: int
    return_register: int
    program: bytes


@dataclass(slots=True)
class _State:
    cfa: Cfa = (0, 0)
    rules: tuple[tuple[int, Rule], ...] = ()

    def set(self, register: int, rule: Rule | None) -> None:
        kept = {number: old for number, old in self.rules if number != register}
        if rule is not None:
            kept[register] = rule
        self.rules = tuple(sorted(kept.items()))

    def row(self) -> Row:
        return Row(self.cfa, self.rules)


def uleb(value: int) -> bytes:
    """An unsigned LEB128 number."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    """A signed LEB128 number."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        if value == (-1 if low & 0x40 else 0):
            return bytes([*out, low])
        out.append(low | 0x80)


class _Cursor:
    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > self.end:
            raise MalformedElf("call frame information ends inside an instruction")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, letter: str) -> int:
        layout = struct.Struct("<" + letter)
        return int(layout.unpack(self.take(layout.size))[0])

    def uleb(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise MalformedElf("a LEB128 number of more than nine bytes in call frame information")

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def block(self) -> bytes:
        return self.take(self.uleb())


class FrameTable:
    """The rows of FDEs in one .eh_frame. ``data``: its bytes, at virtual ``address``."""

    def __init__(self, data: bytes, address: int) -> None:
        self._data, self._address = data, address
        self._cies: dict[int, Cie] = {}

    def cie(self, address: int) -> Cie:
        """The CIE at an address; raises MalformedElf for a form that no compiler uses here."""
        if address not in self._cies:
            self._cies[address] = self._read_cie(address)
        return self._cies[address]

    def rows(self, frame: Frame) -> list[tuple[int, Row]]:
        """(address, row) for each row of an FDE, the first at its start; raises MalformedElf."""
        cie = self.cie(frame.cie)
        cursor = self._record(frame.fde)
        cursor.take(4)
        start = self._pointer(cursor, cie.encoding)
        self._pointer(cursor, cie.encoding & 0x0F)
        if cie.letters[:1] == b"z":
            cursor.block()
        state = _State()
        for _ in _run(_Cursor(cie.program), cie, state, start, None):
            pass
        initial = state.row()
        rows = [(start, initial)]
        for address, row in _run(cursor, cie, state, start, initial):
            if address == rows[-1][0]:
                rows.pop()
            rows.append((address, row))
        return rows

    def row_at(self, frame: Frame, address: int) -> Row:
        """The row in force at an address of the FDE's code; raises MalformedElf."""
        return next(row for start, row in reversed(self.rows(frame)) if start <= address)

    def _record(self, address: int) -> _Cursor:
        at = address - self._address
        if not 0 <= at <= len(self._data) - 8:
            raise MalformedElf(f"a record of call frame information at {address:#x} is outside of .eh_frame")
        (length,) = struct.unpack_from("<I", self._data, at)
        if length == 0xFFFFFFFF or at + 4 + length > len(self._data):
            raise MalformedElf(f"a record of call frame information of {length} bytes at {address:#x}")
        return _Cursor(self._data, at + 4, at + 4 + length)

    def _pointer(self, cursor: _Cursor, encoding: int) -> int:
        found = encoded_pointer(self._data, cursor.at, encoding, self._address, "<", 8)
        if found is None:
            raise MalformedElf(f"a pointer of encoding {encoding:#x} in call frame information")
        cursor.at = found[1]
        return found[0]

    def _read_cie(self, address: int) -> Cie:
        cursor = self._record(address)
        cursor.take(4)
        version = cursor.number("B")
        end = self._data.find(b"\0", cursor.at, cursor.end)
        if version not in (1, 3) or end < 0:
            raise MalformedElf(f"call frame information of version {version} at {address:#x}")
        letters = cursor.take(end - cursor.at)
        cursor.take(1)
        code_align, data_align = cursor.uleb(), cursor.sleb()
        register = cursor.number("B") if version == 1 else cursor.uleb()
        encoding = 0
        if letters[:1] == b"z":
            length = cursor.uleb()
            encoding = self._encoding(letters[1:], _Cursor(self._data, cursor.at, cursor.at + length))
            cursor.take(length)
        elif letters:
            raise MalformedElf(f"call frame information with the augmentation {letters!r}")
        return Cie(letters, encoding, code_align, data_align, register, cursor.take(cursor.end - cursor.at))

    def _encoding(self, letters: bytes, cursor: _Cursor) -> int:
        encoding = 0
        for letter in letters:
            if letter == ord("R"):
                encoding = cursor.number("B")
            elif letter == ord("L"):
                cursor.take(1)
            elif letter == ord("P"):
                self._pointer(cursor, cursor.number("B") & 0x7F)
            elif letter not in b"SB":
                raise MalformedElf(f"call frame information with the augmentation letter {chr(letter)!r}")
        return encoding


def _run(cursor: _Cursor, cie: Cie, state: _State, address: int, initial: Row | None) -> Iterator[tuple[int, Row]]:
    """Execute instructions; (address, row) before each advance and at the end."""
    stack: list[Row] = []
    while cursor.at < cursor.end:
        opcode = cursor.number("B")
        step = _advance(cursor, opcode, cie)
        if step is not None:
            yield address, state.row()
            address += step
        elif opcode == 0x0A:
            stack.append(state.row())
        elif opcode == 0x0B:
            if not stack:
                raise MalformedElf("call frame information restores a state that was not kept")
            kept = stack.pop()
            state.cfa, state.rules = kept.cfa, kept.rules
        elif opcode == 0x2D and cie.return_register == 30 and b"B" not in cie.letters:
            state.set(SIGN_STATE, None if SIGN_STATE in dict(state.rules) else ("signed", 0))
        elif not (_define_cfa(cursor, opcode, cie, state) or _define_register(cursor, opcode, cie, state, initial)):
            raise MalformedElf(f"the instruction {opcode:#x} in call frame information")
    yield address, state.row()


def _advance(cursor: _Cursor, opcode: int, cie: Cie) -> int | None:
    if opcode >> 6 == 1:
        return (opcode & 0x3F) * cie.code_align
    letter = {0x02: "B", 0x03: "H", 0x04: "I"}.get(opcode)
    return None if letter is None else cursor.number(letter) * cie.code_align


def _define_cfa(cursor: _Cursor, opcode: int, cie: Cie, state: _State) -> bool:
    if opcode == 0x0C:
        state.cfa = (cursor.uleb(), cursor.uleb())
    elif opcode == 0x12:
        state.cfa = (cursor.uleb(), cursor.sleb() * cie.data_align)
    elif opcode == 0x0F:
        state.cfa = cursor.block()
    elif opcode in (0x0D, 0x0E, 0x13):
        if isinstance(state.cfa, bytes):
            raise MalformedElf("call frame information changes a part of a frame address that is an expression")
        register, offset = state.cfa
        if opcode == 0x0D:
            register = cursor.uleb()
        else:
            offset = cursor.uleb() if opcode == 0x0E else cursor.sleb() * cie.data_align
        state.cfa = (register, offset)
    elif opcode == 0x2E:  # DW_CFA_GNU_args_size: for landing pads
        cursor.uleb()
    else:
        return opcode == 0
    return True


def _define_register(cursor: _Cursor, opcode: int, cie: Cie, state: _State, initial: Row | None) -> bool:
    if opcode >> 6 == 2:
        state.set(opcode & 0x3F, ("offset", cursor.uleb() * cie.data_align))
    elif opcode >> 6 == 3 or opcode == 0x06:
        register = opcode & 0x3F if opcode >> 6 == 3 else cursor.uleb()
        state.set(register, dict(initial.rules).get(register) if initial else None)
    elif opcode in _REGISTER_RULES:
        register = cursor.uleb()
        state.set(register, _REGISTER_RULES[opcode](cursor, cie))
    else:
        return False
    return True


_REGISTER_RULES: dict[int, Callable[[_Cursor, Cie], Rule]] = {
    0x05: lambda cursor, cie: ("offset", cursor.uleb() * cie.data_align),
    0x07: lambda _, __: ("undefined", 0),
    0x08: lambda _, __: ("same_value", 0),
    0x09: lambda cursor, _: ("register", cursor.uleb()),
    0x10: lambda cursor, _: ("expression", cursor.block()),
    0x11: lambda cursor, cie: ("offset", cursor.sleb() * cie.data_align),
    0x14: lambda cursor, cie: ("val_offset", cursor.uleb() * cie.data_align),
    0x15: lambda cursor, cie: ("val_offset", cursor.sleb() * cie.data_align),
    0x16: lambda cursor, _: ("val_expression", cursor.block()),
}
"""Opcode -> its rule."""
