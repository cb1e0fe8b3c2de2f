"""Call frame information of thunks: a thunk's frame is its function's, with the stack pointer further down.

Unwinders find an FDE by the table in .eh_frame_hdr. That table cannot grow where it stands, but its last entry can lead elsewhere: to a
new FDE that repeats the rows of the last function and then goes on over the guard and all thunks. Where the last function has an
exception table (an LSDA would then be looked up for thunks too) or the table has another form, a longer copy of it is made.
LSB, "Exception Frames", ".eh_frame_hdr"; DWARF 5, section 6.4.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tls_wheel_guard.elf.constants import PT_GNU_EH_FRAME
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.machine_code.call_frames import FrameTable, Row, Rule, sleb, uleb
from tls_wheel_guard.machine_code.eh_frame import Frame
from tls_wheel_guard.repair.elf_file import ElfFile
from tls_wheel_guard.repair.machine import FrameNumbers, Piece
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["NewFrames", "Rows", "UnwindPlan", "debug_frame", "frames_for", "plan_unwinding", "thunk_rows"]

KNOWN_TABLE = b"\x01\x1b\x03\x3b"
"""Version 1; pointer to .eh_frame: pc-relative sdata4; count: udata4; entries: sdata4 from the table's start."""
REMEMBER, RESTORE, UNDEFINED, SAME, REGISTER, EXPRESSION, VAL_EXPRESSION, NEGATE = 0x0A, 0x0B, 0x07, 0x08, 0x09, 0x10, 0x16, 0x2D
Rows = list[tuple[int, bool, bytes]]
"""(address, whether the instructions give a whole row and not a change of the one before, instructions)."""


@dataclass(frozen=True, slots=True)
class UnwindPlan:
    """How the new FDE is found: ``last``: by the table's last entry, ``copy``: by a longer table, ``none``: there is no table that is understood.

    ``rows``: of the last function, for ``last``. ``start``, ``end``: of its code. ``table``: the address of .eh_frame_hdr, ``eh_frame``
    the one that it names, ``entries`` its pairs as addresses.
    """

    how: Literal["last", "copy", "none"]
    start: int = 0
    end: int = 0
    rows: tuple[tuple[int, Row], ...] = ()
    table: int = 0
    eh_frame: int = 0
    entries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NewFrames:
    """``code``: CIE and FDE for their place. ``fde``: the FDE's address in it. ``table``: a longer .eh_frame_hdr, with its address."""

    code: bytes
    fde: int
    table: bytes = b""
    table_address: int = 0


def plan_unwinding(file: ElfFile, frames: Sequence[Frame], table: FrameTable | None) -> UnwindPlan:
    """What can be done with the file's table of FDEs."""
    segment = file.segment(PT_GNU_EH_FRAME)
    if segment is None or segment.filesz < 12 or table is None or not frames:
        return UnwindPlan("none")
    data = file.data[segment.offset : segment.file_end]
    pointer, count = struct.unpack_from("<iI", data, 4)
    if data[:4] != KNOWN_TABLE or count == 0 or 12 + 8 * count > len(data):
        return UnwindPlan("none")
    entries = tuple((segment.vaddr + a, segment.vaddr + b) for a, b in struct.iter_unpack("<ii", data[12 : 12 + 8 * count]))
    if any(a[0] >= b[0] for a, b in itertools.pairwise(entries)):
        return UnwindPlan("none")
    copy = UnwindPlan("copy", table=segment.vaddr, eh_frame=segment.vaddr + 4 + pointer, entries=entries)
    last = next((frame for frame in frames if frame.fde == entries[-1][1] and frame.start == entries[-1][0]), None)
    try:
        cie = table.cie(last.cie) if last is not None else None
        if last is None or cie is None or cie.letters != b"zR" or cie.encoding != 0x1B:
            return copy
        rows = tuple(table.rows(last))
    except MalformedElf:
        return copy
    return replace(copy, how="last", start=last.start, end=last.end, rows=rows)


def thunk_rows(numbers: FrameNumbers, piece: Piece, at: int, row: Row | None) -> Rows:
    """The rows of a thunk at an address. ``row``: of its site; None where it is not known, and an unwinder then stops there."""
    whole = _row_bytes(numbers, row) if row is not None else None
    if row is None or whole is None:
        return [(at, True, _stop(numbers))]
    rows: Rows = [(at, True, whole + piece.steps[0].rules)]
    for step in piece.steps[1:]:
        # The frame is the function's; where it is told from the stack pointer, its distance changes.
        from_stack = not isinstance(row.cfa, bytes) and row.cfa[0] == numbers.stack_register
        change = b"\x0e" + uleb(int(row.cfa[1]) + step.pushed) if from_stack else b""
        change += step.rules + _return_bytes(numbers, row, step.return_at)
        if change:
            rows.append((at + step.offset, False, change))
    return rows


def _return_bytes(numbers: FrameNumbers, row: Row, at: int | None) -> bytes:
    """Where the return address is, for a function that leaves it in its register: at a distance from the stack pointer, or there again."""
    register = numbers.return_register
    if numbers.returns_on_stack or any(number == register for number, _ in row.rules):
        return b""
    if at is None:
        return bytes((0xC0 | register,))  # DW_CFA_restore
    place = bytes((0x70 + numbers.stack_register,)) + sleb(at)  # DW_OP_breg
    return bytes((EXPRESSION,)) + uleb(register) + uleb(len(place)) + place


def _stop(numbers: FrameNumbers) -> bytes:
    """No caller: better than a wrong one."""
    return bytes((UNDEFINED,)) + uleb(numbers.return_register)


def _row_bytes(numbers: FrameNumbers, row: Row) -> bytes | None:
    """Instructions for a row; None where it can't be said, would not be true in a thunk, or does not know the caller."""
    if numbers.returns_on_stack and not any(register == numbers.return_register for register, _ in row.rules):
        return None
    if isinstance(row.cfa, bytes):
        if _reads_stack(numbers, row.cfa):
            return None
        out = b"\x0f" + uleb(len(row.cfa)) + row.cfa
    else:
        register, offset = row.cfa
        if offset >= 0:
            out = b"\x0c" + uleb(register) + uleb(offset)
        elif offset % 8 == 0:
            out = b"\x12" + uleb(register) + sleb(offset // -8)
        else:
            return None
    for register, rule in row.rules:
        said = _rule_bytes(numbers, register, rule)
        if said is None:
            return None
        out += said
    return out


def _reads_stack(numbers: FrameNumbers, expression: bytes) -> bool:
    return any(opcode in expression for opcode in numbers.stack_opcodes)


def _rule_bytes(numbers: FrameNumbers, register: int, rule: Rule) -> bytes | None:
    kind, value = rule
    if isinstance(value, bytes):
        if _reads_stack(numbers, value):
            return None
        return bytes((EXPRESSION if kind == "expression" else VAL_EXPRESSION,)) + uleb(register) + uleb(len(value)) + value
    if kind in ("offset", "val_offset"):
        if value % 8:
            return None
        if kind == "offset" and value <= 0 and register < 64:
            return bytes((0x80 | register,)) + uleb(value // -8)
        return bytes((0x11 if kind == "offset" else 0x15,)) + uleb(register) + sleb(value // -8)
    if kind == "signed":
        return bytes((NEGATE,))
    opcode = {"undefined": UNDEFINED, "same_value": SAME, "register": REGISTER}[kind]
    return bytes((opcode,)) + uleb(register) + (uleb(value) if kind == "register" else b"")


def _advance(distance: int, numbers: FrameNumbers, wide: bool) -> bytes:
    """DW_CFA_advance_loc in its shortest form; ``wide``: in its longest, so that the length does not depend on the distance."""
    units = distance // numbers.code_align
    if not 0 <= units < 1 << 32:
        raise CannotRepair("too-far", f"{distance} bytes between two rows of frames")
    if wide or units > 0xFFFF:
        return b"\x04" + struct.pack("<I", units)
    if units < 64:
        return bytes((0x40 | units,))
    return bytes((0x02, units)) if units < 256 else b"\x03" + struct.pack("<H", units)


def _program(numbers: FrameNumbers, start: int, first: Rows, rest: Rows) -> bytes:
    """Instructions for ``first`` and ``rest``, which may be far behind. Each row begins from the CIE's own state."""
    out, at = bytearray((REMEMBER,)), start
    for number, (address, whole, row) in enumerate([*first, *rest]):
        if address != at or number == len(first):
            out += _advance(address - at, numbers, wide=number == len(first))
        out += (bytes((RESTORE, REMEMBER)) if whole else b"") + row
        at = address
    return bytes(out)


def _padded(record: bytes) -> bytes:
    """A record with its length before it, filled to eight bytes with DW_CFA_nop."""
    return struct.pack("<I", len(record) + -(len(record) + 4) % 8) + record + bytes(-(len(record) + 4) % 8)


def frames_for(numbers: FrameNumbers, plan: UnwindPlan, rows: Rows, code_end: int, at: int) -> NewFrames:
    """CIE and FDE at address ``at``, over the code from ``rows``' first address to ``code_end``; their length depends on neither."""
    letters = b"zR\0" + uleb(numbers.code_align) + sleb(-8) + uleb(numbers.return_register) + uleb(1) + b"\x1b"
    cie = _padded(struct.pack("<IB", 0, 1) + letters + numbers.initial)
    fde_at = at + len(cie)
    first: Rows = []
    start = rows[0][0]
    if plan.how == "last":
        start = plan.start
        first = [(address, True, _row_bytes(numbers, row) or _stop(numbers)) for address, row in plan.rows]
        # Behind it may be code without frames, such as a linker's veneers: there an unwinder stops, as it did.
        first.append((plan.end, True, _stop(numbers)))
    ahead = struct.pack("<I", len(cie) + 4) + _int32(start - (fde_at + 8)) + _int32(code_end - start) + b"\0"
    body = ahead + _program(numbers, start, first, rows)
    fde = _padded(body)
    if plan.how != "copy":
        return NewFrames(cie + fde, fde_at)
    table_at = fde_at + len(fde)
    table = _table(plan, table_at, sorted([*plan.entries, (start, fde_at)]))
    return NewFrames(cie + fde, fde_at, table, table_at)


def _table(plan: UnwindPlan, at: int, entries: list[tuple[int, int]]) -> bytes:
    """A longer .eh_frame_hdr at an address."""
    pairs = b"".join(_int32(start - at) + _int32(fde - at) for start, fde in entries)
    return KNOWN_TABLE + _int32(plan.eh_frame - at - 4) + struct.pack("<I", len(entries)) + pairs


def _int32(value: int) -> bytes:
    if not -(1 << 31) <= value < 1 << 31:
        raise CannotRepair("too-far", f"{abs(value)} bytes between frames and code: a table of frames spans 2 GiB")
    return struct.pack("<i", value)


def debug_frame(numbers: FrameNumbers, rows: Rows, code_end: int) -> bytes:
    """The same rows as a .debug_frame, which is not loaded: debuggers read sections and no table."""
    letters = b"\0" + uleb(numbers.code_align) + sleb(-8) + uleb(numbers.return_register)
    cie = _padded(struct.pack("<IB", 0xFFFFFFFF, 1) + letters + numbers.initial)
    start = rows[0][0]
    return cie + _padded(struct.pack("<IQQ", 0, start, code_end - start) + _program(numbers, start, [], rows))
