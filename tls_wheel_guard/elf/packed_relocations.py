"""Packed relocation tables: CREL, Android's APS2, RELR.

CREL: LLVM 19, llvm/include/llvm/Object/ELF.h decodeCrel (DT_CREL 0x40000026). APS2: bionic linker/linker_reloc_iterators.h
and LLVM's ELFFile::android_relas. RELR: gABI, "Relative Relocation Table"; it holds relative relocations only, so no TLS.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tls_wheel_guard.elf.formats import ElfFormat
from tls_wheel_guard.elf.relocation_tables import Tally
from tls_wheel_guard.elf.source import Source, pieces
from tls_wheel_guard.errors import MalformedElf

__all__ = ["count_relr", "scan_android", "scan_crel"]

APS2 = b"APS2"
GROUPED_BY_INFO, GROUPED_BY_OFFSET_DELTA, GROUPED_BY_ADDEND, GROUP_HAS_ADDEND = 1, 2, 4, 8


class _Leb:
    """LEB128 numbers, one after another (DWARF 5, 7.6)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        if self._at >= len(self._data):
            raise MalformedElf("a packed relocation table ends inside an entry")
        value = self._data[self._at]
        self._at += 1
        return value

    def unsigned(self) -> int:
        return self._number()[0]

    def signed(self) -> int:
        value, bits, last = self._number()
        return value - (1 << bits) if last & 0x40 else value

    def _number(self) -> tuple[int, int, int]:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, shift, byte
            if shift > 70:
                raise MalformedElf("a LEB128 number of more than ten bytes in a packed relocation table")


def scan_crel(source: Source, offset: int, size: int, fmt: ElfFormat, tally: Tally) -> None:
    """Count a CREL table that lies in the ``size`` bytes at file ``offset``; its own header has the count."""
    data = _Leb(source.read(offset, size))
    header = data.unsigned()
    count, flag_bits, shift = header >> 3, 3 if header & 4 else 2, header & 3
    row, mask = tally.row, (1 << fmt.bits) - 1
    address = symbol = number = addend = 0
    for _ in range(count):
        first = data.byte()
        address += first >> flag_bits
        if first >= 0x80:
            address += (data.unsigned() << (7 - flag_bits)) - (0x80 >> flag_bits)
        if first & 1:
            symbol += data.signed()
        if first & 2:
            number += data.signed()
        if first & 4 and header & 4:
            addend += data.signed()
        tally.add_entries(1)
        if number in row:
            tally.add(number, symbol & 0xFFFFFFFF, (address << shift) & mask, addend if header & 4 else None)


def scan_android(source: Source, offset: int, size: int, rela: bool, fmt: ElfFormat, tally: Tally) -> None:
    """Count a DT_ANDROID_REL or DT_ANDROID_RELA table."""
    data = source.read(offset, size)
    if data[:4] != APS2:
        raise MalformedElf(f"an Android relocation table that starts with {data[:4]!r} instead of b'APS2'")
    numbers = _Leb(data[4:])
    left, address = numbers.signed(), numbers.signed()
    if left < 0:
        raise MalformedElf(f"an Android relocation table of {left} entries")
    for number, symbol, slot, addend in _android_entries(numbers, left, address, rela, fmt, tally):
        tally.add(number, symbol, slot & ((1 << fmt.bits) - 1), addend)


def _android_entries(
    numbers: _Leb, left: int, address: int, rela: bool, fmt: ElfFormat, tally: Tally
) -> Iterator[tuple[int, int, int, int | None]]:
    """The TLS relocations of an APS2 stream; everything is counted in ``tally.entries``."""
    addend = 0
    mask, shift, types = (1 << fmt.bits) - 1, fmt.symbol_shift, fmt.type_mask(tally.e_machine)
    while left > 0:
        group, flags = numbers.signed(), numbers.signed()
        if not 0 < group <= left:
            raise MalformedElf(f"a group of {group} entries in an Android relocation table with {left} left")
        left -= group
        tally.add_entries(group)
        delta = numbers.signed() if flags & GROUPED_BY_OFFSET_DELTA else None
        info = numbers.signed() & mask if flags & GROUPED_BY_INFO else None
        has_addend = bool(flags & GROUP_HAS_ADDEND)
        if has_addend and flags & GROUPED_BY_ADDEND:
            addend += numbers.signed()
        elif not has_addend:
            addend = 0
        each_addend = has_addend and not flags & GROUPED_BY_ADDEND
        if delta is not None and info is not None and not each_addend and info & types not in tally.row:
            # The group has no bytes of its own, so a large count in a small file must not cause a long loop.
            address += delta * group
            continue
        for _ in range(group):
            address += delta if delta is not None else numbers.signed()
            word = info if info is not None else numbers.signed() & mask
            number, symbol = word & types, word >> shift
            if each_addend:
                addend += numbers.signed()
            if number in tally.row:
                yield number, symbol, address, addend if rela else None


def count_relr(source: Source, offset: int, size: int, fmt: ElfFormat) -> int:
    """How many relative relocations a DT_RELR table packs."""
    total = 0
    for piece in pieces(source, offset, size, fmt.word_size):
        words = struct.unpack(f"{fmt.order}{len(piece) // fmt.word_size}{fmt.word}", piece)
        bitmaps = [word for word in words if word & 1]
        # An even word is an address, one relocation; an odd one a bitmap whose lowest bit is the mark.
        total += len(words) - 2 * len(bitmaps) + sum(map(int.bit_count, bitmaps))
    return total
