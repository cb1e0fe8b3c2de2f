"""Find reads of slots on riscv64: ``auipc`` with the upper part of the distance, and ``ld`` with the rest.

psABI, R_RISCV_TLS_GOT_HI20 and R_RISCV_PCREL_LO12_I.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tls_wheel_guard.machine_code.candidate import Candidate
from tls_wheel_guard.machine_code.code import Code
from tls_wheel_guard.machine_code.disassembly import Disassembler, Memory
from tls_wheel_guard.machine_code.functions import FunctionMap

__all__ = ["find"]

NEAR = 256
"""Bytes after an auipc in which its ld is looked for."""


def find(code: Code, slots: frozenset[int], functions: FunctionMap, disassembler: Disassembler) -> Iterator[Candidate]:
    """Each read of a slot."""
    del functions
    for piece in code.pieces:
        data = piece.data
        # Instructions are of two or four bytes: an auipc may stand at any even address.
        for at in range(0, len(data) - 3, 2):
            if data[at] & 0x7F != 0x17:
                continue
            (word,) = struct.unpack_from("<I", data, at)
            upper = ((word >> 12) ^ 0x80000) - 0x80000 << 12
            base = piece.address + at + upper
            if any(-2048 <= slot - base < 2048 for slot in slots):
                yield from _load(code, piece.address + at, base, slots, disassembler)


def _load(code: Code, address: int, base: int, slots: frozenset[int], disassembler: Disassembler) -> Iterator[Candidate]:
    register: str | None = None
    for instruction in disassembler.decode(code.at(address, NEAR), address):
        if register is None:
            if not instruction.operands or not isinstance(instruction.operands[0], str):
                return
            register = instruction.operands[0]
            continue
        for operand in instruction.operands:
            if isinstance(operand, Memory) and operand.base == register and base + operand.displacement in slots:
                yield Candidate(instruction.address, base + operand.displacement, instruction.text)
        if register in instruction.writes or instruction.mnemonic in ("ret", "j", "jr", "c.jr", "c.j"):
            return
