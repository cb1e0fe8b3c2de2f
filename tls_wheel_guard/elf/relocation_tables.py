"""Relocation tables at memory speed: the type bytes of all entries are one strided slice.

A table of a million relocations holds a handful that matter. The low byte of each entry's type is taken with one slice
(``table[8::24]``), bytes that no TLS relocation has are dropped with ``translate``, and only what is left is decoded.
"""

from __future__ import annotations

import functools
import re
import struct
from collections import Counter

from tls_wheel_guard.elf.constants import EM_MIPS
from tls_wheel_guard.elf.formats import ElfFormat
from tls_wheel_guard.elf.relocations import TLS_RELOCS, RelocKind
from tls_wheel_guard.elf.source import Source, pieces
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over
from tls_wheel_guard.records import dataclass, field

__all__ = ["EntryFormat", "Tally", "merge_ranges", "scan_plain"]

MAX_KEPT = 4096
"""Initial-exec relocations whose offsets are kept; all are counted."""


@dataclass(slots=True)
class Tally:
    """TLS relocations as they are found. Keys of ``counts``, in the order of the first of each: (relocation number, symbol index).

    ``table``: the dynamic tag of the table that is read now. ``first_table``: that of the first relocation of each key.
    """

    e_machine: int
    entries: int = 0
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    addends: set[int] = field(default_factory=set)
    kept: list[tuple[int, int, int | None, int]] = field(default_factory=list)
    found: int = 0
    limits: Limits = DEFAULT_LIMITS
    table: str = ""
    first_table: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def row(self) -> dict[int, tuple[RelocKind, str]]:
        """The machine's row of the table; empty for an unknown machine."""
        return TLS_RELOCS.get(self.e_machine, {})

    def add_entries(self, count: int) -> None:
        """Count entries of a table, before they are read."""
        self.entries += count
        if self.entries > self.limits.relocations:
            raise MalformedElf(f"{self.entries} or more dynamic relocations; {over(self.limits, 'relocations')}")

    def add(self, number: int, symbol: int, offset: int, addend: int | None) -> None:
        """Count one TLS relocation (``number`` is in the row). ``addend`` is None in a REL table."""
        self.found += 1
        if self.found > self.limits.tls_relocations:
            raise MalformedElf(f"{self.found} or more TLS relocations; {over(self.limits, 'tls-relocations')}")
        self.counts[number, symbol] += 1
        self.first_table.setdefault((number, symbol), self.table)
        if self.row[number][0] == "TPOFF":
            if symbol == 0 and addend is not None:
                self.addends.add(addend)
            if len(self.kept) < MAX_KEPT:
                self.kept.append((number, offset, addend, symbol))


class EntryFormat:
    """How one entry of DT_REL, DT_RELA or DT_JMPREL is laid out on a machine."""

    def __init__(self, fmt: ElfFormat, e_machine: int, rela: bool) -> None:
        self.rela = rela
        layout = fmt.rela if rela else fmt.rel
        self.size = layout.size
        # mips64 has no r_info word: a 32-bit symbol, then four bytes, the type last, in either byte order (MIPS psABI 64).
        self._mips64 = fmt.bits == 64 and e_machine == EM_MIPS
        self._type_mask, self._symbol_shift = fmt.type_mask(e_machine), fmt.symbol_shift
        self.type_byte = self._type_position(fmt)
        self._entry = struct.Struct(fmt.order + "QIBBBB" + ("q" if rela else "")) if self._mips64 else layout.struct

    def _type_position(self, fmt: ElfFormat) -> int:
        if self._mips64:
            return 15
        return fmt.word_size if fmt.little_endian else 2 * fmt.word_size - 1

    def decode(self, table: bytes, position: int) -> tuple[int, int, int, int | None]:
        """(type number, symbol index, virtual address, addend or None) of the entry at ``position``."""
        fields = self._entry.unpack_from(table, position)
        addend = fields[-1] if self.rela else None
        if self._mips64:
            # Three types can be chained in one entry; a TLS relocation has no second and third.
            return fields[5] | fields[4] << 8 | fields[3] << 16, fields[1], fields[0], addend
        info = fields[1]
        return info & self._type_mask, info >> self._symbol_shift, fields[0], addend


def merge_ranges(tables: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """Tables (address, bytes, rela) with what overlaps counted once: riscv64 linkers let DT_RELASZ cover DT_JMPREL.

    What is left keeps the order of ``tables``, which is the loader's.
    """
    merged: list[tuple[int, int, bool]] = []
    for address, size, rela in sorted(tables, key=lambda t: (t[2], t[0])):
        if merged and merged[-1][2] == rela and address < merged[-1][0] + merged[-1][1]:
            start = merged[-1][0]
            merged[-1] = (start, max(merged[-1][1], address + size - start), rela)
        else:
            merged.append((address, size, rela))

    def place(table: tuple[int, int, bool]) -> int:
        start, size, rela = table
        return next(n for n, other in enumerate(tables) if other[2] == rela and start <= other[0] < start + size)

    return sorted(merged, key=place)


@functools.cache
def _screen(e_machine: int) -> tuple[bytes, re.Pattern[bytes]]:
    """Type bytes that no TLS relocation of the machine has, and a pattern for those that one has."""
    wanted = bytes(sorted({number & 0xFF for number in TLS_RELOCS[e_machine]}))
    boring = bytes(b for b in range(256) if b not in wanted)
    return boring, re.compile(b"[" + re.escape(wanted) + b"]")


def scan_plain(source: Source, offset: int, size: int, entry: EntryFormat, tally: Tally) -> None:
    """Count a REL or RELA table of ``size`` bytes at file ``offset``."""
    tally.add_entries(size // entry.size)
    row = tally.row
    if not row:
        return
    boring, wanted = _screen(tally.e_machine)
    for piece in pieces(source, offset, size, entry.size):
        types = piece[entry.type_byte :: entry.size]
        if not types.translate(None, boring):
            continue
        for hit in wanted.finditer(types):
            number, symbol, address, addend = entry.decode(piece, hit.start() * entry.size)
            if number in row:
                tally.add(number, symbol, address, addend)
