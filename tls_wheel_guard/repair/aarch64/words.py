"""aarch64 instruction words that a repair tells apart: those that make an address, reach memory, jump, or name a register.

Numbers of fields and classes: Arm Architecture Reference Manual, C4.1 "A64 instruction set encoding". Register 31 is the stack pointer
or zero and is never followed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["Access", "Jump", "access_of", "added", "address_made", "copied", "effects", "is_scalable", "jump_of", "names", "words_of"]


class Access(NamedTuple):
    """A load or store of ``size`` bytes, ``offset`` bytes behind ``base``, without write-back. ``registers``: what is loaded or stored."""

    base: int
    offset: int
    size: int
    is_load: bool
    registers: tuple[int, ...]


class Jump(NamedTuple):
    """``kind``: ``jump``, ``branch`` (the next word may follow), ``call``, ``indirect``, ``indirect call``, ``return``, ``stop``."""

    kind: str
    target: int | None = None


def words_of(code: bytes) -> tuple[int, ...]:
    """The whole words of some code."""
    return struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def address_made(word: int, address: int) -> int | None:
    """What ``adrp`` or ``adr`` gives."""
    if word & 0x1F000000 != 0x10000000:
        return None
    distance = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
    return (address & ~0xFFF) + (distance << 12) if word >> 31 else address + distance


def copied(word: int) -> tuple[int, int] | None:
    """(to, from) of ``mov`` between whole registers."""
    return (word & 31, word >> 16 & 31) if word & 0xFFE0FFE0 == 0xAA0003E0 else None


def added(word: int) -> tuple[int, int] | None:
    """(base, bytes) of ``add Xd, Xn, #imm``."""
    if word & 0xFF800000 != 0x91000000:
        return None
    return word >> 5 & 31, (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)


def access_of(word: int) -> Access | None:
    """A load or store with a displacement, of one register or of two, and nothing else; None for any other word."""
    vector, opc = word >> 26 & 1, word >> 22 & 3
    if word & 0x3B800000 == 0x29000000:
        size = 4 << (word >> 30) if vector else (8 if word >> 30 == 2 else 4)
        both = () if vector else (word & 31, word >> 10 & 31)
        return Access(word >> 5 & 31, _signed(word >> 15 & 0x7F, 7) * size, 2 * size, bool(opc & 1), both)
    scale = word >> 30 | (4 if vector and opc >> 1 else 0)
    if word & 0x3B000000 == 0x39000000:
        offset = (word >> 10 & 0xFFF) << scale
    elif word & 0x3B200400 == 0x38000000:
        offset = _signed(word >> 12 & 0x1FF, 9)
    else:
        return None
    return Access(word >> 5 & 31, offset, 1 << scale, bool(opc & 1) if vector else opc != 0, () if vector else (word & 31,))


def jump_of(word: int, address: int) -> Jump | None:
    """Where a word leads, None where the next one follows."""
    if word & 0x7C000000 == 0x14000000:
        return Jump("call" if word >> 31 else "jump", address + 4 * _signed(word & 0x3FFFFFF, 26))
    if word & 0xFF000000 == 0x54000000 or word & 0x7E000000 == 0x34000000:
        return Jump("branch", address + 4 * _signed(word >> 5 & 0x7FFFF, 19))
    if word & 0x7E000000 == 0x36000000:
        return Jump("branch", address + 4 * _signed(word >> 5 & 0x3FFF, 14))
    if word & 0xFE000000 == 0xD6000000:
        kind = word >> 21 & 7
        return Jump({0: "indirect", 1: "indirect call", 2: "return"}.get(kind, "stop"))
    if word & 0xFFE0001F == 0xD4200000 or word & 0xFFE0001F == 0xD4400000 or word >> 16 == 0:
        return Jump("stop")  # brk, hlt, udf
    return None


def names(word: int) -> int:
    """A mask of the registers that may be operands: all that stand where an instruction has a register."""
    return (1 << (word & 31) | 1 << (word >> 5 & 31) | 1 << (word >> 10 & 31) | 1 << (word >> 16 & 31)) & 0x7FFFFFFF


def is_scalable(word: int) -> bool:
    """Whether a word is one of SVE or SME."""
    group = word >> 25 & 15
    return group == 2 or (group == 0 and bool(word >> 31))


def effects(word: int) -> tuple[frozenset[int], frozenset[int]] | None:
    """The general registers that a word reads and writes; None where it is of none of the usual classes, or a jump.

    The tables are written out: the decoder misses registers of atomic instructions and takes results of some shifts for sources.
    """
    group, d, n, m = word >> 25 & 15, word & 31, word >> 5 & 31, word >> 16 & 31
    if group >> 1 == 4:
        return _immediate(word, d, n, m)
    if group & 5 == 4:
        return _memory(word, d, n)
    if group & 7 == 5:
        return _between_registers(word, d, n, m)
    if group & 7 == 7:
        return _vectors(word)
    return _system(word, d) if word >> 24 == 0xD5 else None


def _immediate(word: int, d: int, n: int, m: int) -> tuple[frozenset[int], frozenset[int]]:
    kind = word >> 23 & 7
    if kind in (0, 1):  # adr, adrp
        return frozenset(), frozenset((d,))
    if kind == 5:  # movn, movz; movk keeps the rest
        return frozenset((d,) if word >> 29 & 3 == 3 else ()), frozenset((d,))
    if kind == 6:  # sbfm, ubfm; bfm keeps the rest
        return frozenset((n, d) if word >> 29 & 3 == 1 else (n,)), frozenset((d,))
    return frozenset((n, m) if kind == 7 else (n,)), frozenset((d,))


def _memory(word: int, d: int, n: int) -> tuple[frozenset[int], frozenset[int]] | None:
    base, vector = frozenset((n,)), word >> 26 & 1
    if word & 0xFFC00000 == 0xF9800000 or word & 0xFFE00C00 == 0xF8800000:  # prfm, prfum
        return base, frozenset()
    if word & 0xFFE00C00 == 0xF8A00800:  # prfm with an index
        return base | {word >> 16 & 31}, frozenset()
    if (plain := access_of(word)) is not None:
        registers = frozenset(plain.registers)
        return (base, registers) if plain.is_load else (base | registers, frozenset())
    own = frozenset(() if vector else (d,))
    loads = bool(word >> 22 & (1 if vector else 3))
    if word & 0x3A800000 == 0x28800000:  # two registers, with write-back
        pair = own | (own and {word >> 10 & 31})
        return (base, pair | base) if word >> 22 & 1 else (base | pair, base)
    if word & 0x3B200400 == 0x38000400:  # with write-back
        return (base, own | base) if loads else (base | own, base)
    index = frozenset((word >> 16 & 31,))
    if word & 0x3B200C00 == 0x38200800:  # with an index
        return (base | index, own) if loads else (base | index | own, frozenset())
    if word & 0x3B000000 == 0x18000000:  # at a distance from the instruction; prfm
        return frozenset(), frozenset() if word >> 30 == 3 else own
    if word & 0xBE000000 == 0x0C000000:  # several vector registers, perhaps with write-back
        return (base | index, base) if word >> 23 & 1 else (base, frozenset())
    return _atomic(word, d, n)


def _atomic(word: int, d: int, n: int) -> tuple[frozenset[int], frozenset[int]] | None:
    s, second = word >> 16 & 31, word >> 10 & 31
    if word & 0x3F200C00 == 0x38200000:
        # ldadd and its kin, swp, ldapr; not the loads and stores of 64 bytes.
        return None if word >> 12 & 15 in (9, 10, 11, 13) else (frozenset((n, s)), frozenset((d,)))
    if word & 0x3F000000 != 0x08000000:
        return None
    loads, ordered, pair = word >> 22 & 1, word >> 23 & 1, word >> 21 & 1
    if ordered and pair:  # cas
        return frozenset((s, d, n)), frozenset((s,))
    if pair and not word >> 31:  # casp
        return frozenset((s, s + 1 & 31, d, d + 1 & 31, n)), frozenset((s, s + 1 & 31))
    registers = frozenset((d, second) if pair else (d,))
    if loads:
        return frozenset((n,)), registers
    return registers | {n}, frozenset(() if ordered else (s,))


def _between_registers(word: int, d: int, n: int, m: int) -> tuple[frozenset[int], frozenset[int]] | None:
    kind = word >> 21 & 0xFF
    if word >> 28 & 1 == 0 or kind in (0xD4, 0xD6):
        # Logic and sums; conditional selection; two sources. One source (bit 30) may sign a pointer, which reads its own register.
        return (frozenset((n, d) if m == 1 else (n,)) if kind == 0xD6 and word >> 30 & 1 else frozenset((n, m))), frozenset((d,))
    if word >> 24 & 0x1F == 0x1B:  # three sources
        return frozenset((n, m, word >> 10 & 31)), frozenset((d,))
    if kind == 0xD2:  # a conditional comparison
        return frozenset((n,) if word >> 11 & 1 else (n, m)), frozenset()
    return None


def _vectors(word: int) -> tuple[frozenset[int], frozenset[int]]:
    """Only conversions, and copies of one element, have a general register: most to write it, some to read it."""
    none: frozenset[int] = frozenset()
    writes, reads = (none, frozenset((word & 31,))), (frozenset((word >> 5 & 31,)), none)
    if word & 0x5F20FC00 == 0x1E200000 or word & 0x5F200000 == 0x1E000000:
        return reads if word >> 16 & 7 in (2, 3, 7) else writes  # scvtf, ucvtf, fmov from a general register
    if word & 0x9FE08400 == 0x0E000400 and not word >> 29 & 1:
        element = word >> 11 & 15  # 1 dup, 3 ins, 5 smov, 7 umov
        if element in (1, 3):
            return reads
        if element in (5, 7):
            return writes
    return none, none


def _system(word: int, d: int) -> tuple[frozenset[int], frozenset[int]]:
    if word & 0xFFFFF01F == 0xD503201F:
        hint = word >> 5 & 0x7F
        if hint in (0x08, 0x0A, 0x0C, 0x0E):  # pacia1716 and its kin
            return frozenset((16, 17)), frozenset((17,))
        signs = hint == 0x07 or 0x18 <= hint <= 0x1F
        return frozenset((30,) if signs else ()), frozenset((30,) if signs else ())
    return (frozenset(), frozenset((d,))) if word >> 21 & 1 else (frozenset((d,)), frozenset())
