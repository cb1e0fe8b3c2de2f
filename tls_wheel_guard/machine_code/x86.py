"""Find reads of slots on x86: on x86-64 every 32-bit displacement from an instruction's end to a slot, on i386 every one from the GOT to a slot.

Candidates come from the bytes alone, so a wrong decoding can't hide an access. On x86-64 they are the positions whose four bytes lead
to a slot, counted from the end of the instruction: after them come 0, 1, 2 or 4 bytes of an immediate. The instruction over a candidate
is then decoded from the start of its function.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tls_wheel_guard.machine_code.candidate import Candidate
from tls_wheel_guard.machine_code.code import Code, Piece
from tls_wheel_guard.machine_code.disassembly import Disassembler, Instruction, Memory
from tls_wheel_guard.machine_code.functions import FunctionMap, FunctionRange

__all__ = ["TAILS", "find", "rip_relative"]

TAILS = (0, 1, 2, 4)
"""Bytes of an immediate after the displacement."""
WINDOW = 1 << 16
MAX_INSTRUCTION = 15


def find(code: Code, slots: frozenset[int], functions: FunctionMap, disassembler: Disassembler) -> Iterator[Candidate]:
    """Each access to a slot, and each candidate that is not certain to be none."""
    wide, got = code.machine == "x86_64", code.got
    for piece in code.pieces:
        by_function: dict[FunctionRange, list[int]] = {}
        for at in sorted(set(rip_relative(piece, slots) if wide else _got_relative(piece, slots, got))):
            place = functions.around(at, piece.address, piece.end)
            if place is not None:
                by_function.setdefault(place, []).append(at)
        for place, candidates in by_function.items():
            yield from _decode(code, place, candidates, slots, disassembler, got if not wide else None)


def rip_relative(piece: Piece, slots: frozenset[int]) -> Iterator[int]:
    """Addresses of four bytes that lead to a slot. The upper half of a displacement takes few values in a window: search for those bytes."""
    data, unpack = piece.data, struct.Struct("<i").unpack_from
    for start in range(0, len(data), WINDOW):
        end = min(start + WINDOW, len(data) - 3)
        halves = {
            d >> 16 & 0xFFFF
            for slot in slots
            for d in (slot - (piece.address + start) - 4, slot - (piece.address + end) - 8, slot - (piece.address + (start + end) // 2) - 4)
        }
        for half in halves:
            pattern = struct.pack("<H", half)
            at = data.find(pattern, start + 2, end + 4)
            while at >= 0:
                if at - 2 + 4 <= len(data):
                    here = piece.address + at - 2
                    target = here + 4 + unpack(data, at - 2)[0]
                    if any(target + tail in slots for tail in TAILS):
                        yield here
                at = data.find(pattern, at + 1, end + 4)


def _got_relative(piece: Piece, slots: frozenset[int], got: int) -> Iterator[int]:
    """i386: addresses of four bytes that are a slot's address, or its distance from the GOT."""
    for slot in slots:
        for value in {slot, slot - got if got else slot}:
            pattern = struct.pack("<I", value & 0xFFFFFFFF)
            at = piece.data.find(pattern)
            while at >= 0:
                yield piece.address + at
                at = piece.data.find(pattern, at + 1)


def _decode(
    code: Code, place: FunctionRange, candidates: list[int], slots: frozenset[int], disassembler: Disassembler, got: int | None
) -> Iterator[Candidate]:
    data = code.at(place.start, place.end - place.start)
    left, reached = list(candidates), place.start
    listing = list(disassembler.decode(data, place.start))
    bases = _got_registers(listing, got) if got else None
    for instruction in listing:
        reached = instruction.end
        while left and left[0] < reached:
            left.pop(0)
            slot = _slot_of(instruction, slots, got, bases)
            # A candidate inside an instruction that reads no slot is a part of an immediate, a displacement or a branch.
            if slot is not None and instruction.mnemonic == "lea":
                yield Candidate(instruction.address, slot, doubt=f"`{instruction.text}` at {instruction.address:#x} takes the slot's address")
            elif slot is not None:
                yield Candidate(instruction.address, slot, instruction.text)
        if not left:
            return
    for candidate in left:
        # The code before it did not decode: look at the instruction alone, in the forms that compilers write.
        yield _alone(code, candidate, slots, disassembler, got) or Candidate(
            candidate, 0, doubt=f"bytes at {candidate:#x} that may reach a slot, behind code that does not decode ({reached:#x})"
        )


def _alone(code: Code, candidate: int, slots: frozenset[int], disassembler: Disassembler, got: int | None) -> Candidate | None:
    start = candidate - (3 if got is None else 2)
    for instruction in disassembler.decode(code.at(start, MAX_INSTRUCTION), start):
        slot = _slot_of(instruction, slots, got)
        if slot is not None and instruction.mnemonic in ("mov", "add"):
            return Candidate(start, slot, instruction.text)
        return None
    return None


def _got_registers(listing: list[Instruction], got: int) -> frozenset[str]:
    """i386: the registers in which a function puts the GOT's address: its own address from a thunk, and ``add`` with the rest."""
    found: set[str] = set()
    for instruction in listing:
        first, second = (*instruction.operands, None, None)[:2]
        if not isinstance(first, str):
            continue
        if (instruction.mnemonic == "add" and isinstance(second, int) and (instruction.address + second - got) & 0xFFFFFFFF == 0) or (
            instruction.mnemonic == "mov" and second in found
        ):
            found.add(first)
    return frozenset(found)


def _may_hold_got(operand: Memory, bases: frozenset[str]) -> bool:
    """i386: whether a base register may hold the GOT's address: it was seen to, or the address came from the caller or from the stack.

    Slots lie before the GOT's base, so their displacements are negative. Negative ones from a frame pointer are variables on the stack.
    """
    return operand.base in bases or (operand.displacement < 0 and operand.base not in (None, "ebp", "esp"))


def _slot_of(instruction: Instruction, slots: frozenset[int], got: int | None, bases: frozenset[str] | None = None) -> int | None:
    """The slot that is an instruction's memory operand; None where it is not one. ``bases``: i386's registers that hold the GOT's address."""
    for operand in instruction.operands:
        if not isinstance(operand, Memory) or operand.indexed:
            continue
        if got is None:
            target = instruction.end + operand.displacement if operand.base == "rip" else -1
        else:
            target = operand.displacement + (got if _may_hold_got(operand, bases or frozenset()) else 0) & 0xFFFFFFFF
        if target in slots:
            return target
    return None
