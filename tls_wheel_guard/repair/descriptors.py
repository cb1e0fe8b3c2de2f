"""Initial-exec relocations become descriptors: which slots there are, that nothing else touches them, and the entries' new bytes.

Each entry of DT_RELA is rewritten where it stands: the same symbol, the same addend, the type of a descriptor, and as its place 16
bytes of their own. No entry moves, so DT_RELACOUNT and the order of relocations stay as they are. psABI, "TLS Descriptors".
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tls_wheel_guard.elf.constants import (
    DF_STATIC_TLS,
    DT_ANDROID_REL,
    DT_ANDROID_RELA,
    DT_ANDROID_RELR,
    DT_CREL,
    DT_FLAGS,
    DT_JMPREL,
    DT_PLTRELSZ,
    DT_REL,
    DT_RELA,
    DT_RELAENT,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_SYMTAB,
    PT_TLS,
    SHF_WRITE,
    SHT_PROGBITS,
    STB_WEAK,
)
from tls_wheel_guard.repair.elf_file import RELA, SYM, ElfFile
from tls_wheel_guard.repair.machine import MachineRepair, Site
from tls_wheel_guard.repair.patch import Patch
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["DESCRIPTOR", "Slot", "descriptor_patches", "descriptor_places", "find_slots", "require_fixed", "require_lonely"]

OTHER_TABLES = {
    DT_REL: "DT_REL",
    DT_ANDROID_REL: "DT_ANDROID_REL",
    DT_ANDROID_RELA: "DT_ANDROID_RELA",
    DT_ANDROID_RELR: "DT_ANDROID_RELR",
    DT_CREL: "DT_CREL",
}
"""Relocation tables that are not read here."""
DESCRIPTOR = 16
"""Bytes of a descriptor: a function and its argument."""
SLOT = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """A word of the GOT with an initial-exec relocation. ``entry``: file offset of the relocation; ``symbol``: its index."""

    address: int
    entry: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class _Table:
    """A RELA table in columns; ``start``: its file offset."""

    start: int
    places: array[int]
    infos: array[int]
    addends: array[int]


def find_slots(file: ElfFile, machine: MachineRepair) -> tuple[Slot, ...]:
    """The slots in the order of their relocations, none where nothing is to be done; raises MalformedElf, and CannotRepair for DT_JMPREL."""
    table, late = _read(file, DT_RELA, DT_RELASZ), _read(file, DT_JMPREL, DT_PLTRELSZ)
    in_late = next((place for place, info in zip(late.places, late.infos, strict=True) if info & 0xFFFFFFFF == machine.tpoff), None)
    if in_late is not None:
        raise CannotRepair("relocation", "an initial-exec relocation among those of DT_JMPREL", address=in_late)
    return tuple(
        Slot(table.places[n], table.start + n * RELA.size, info >> 32, table.addends[n])
        for n, info in enumerate(table.infos)
        if info & 0xFFFFFFFF == machine.tpoff
    )


def descriptor_places(file: ElfFile, machine: MachineRepair) -> frozenset[int]:
    """The addresses that descriptor relocations of DT_RELA fill; raises MalformedElf."""
    table = _read(file, DT_RELA, DT_RELASZ)
    return frozenset(place for place, info in zip(table.places, table.infos, strict=True) if info & 0xFFFFFFFF == machine.tlsdesc)


def require_lonely(file: ElfFile, slots: Sequence[Slot]) -> None:
    """Raise CannotRepair where anything but the code that reads it may reach a slot: a second relocation, a pointer, a word of data."""
    _require_plain_tables(file)
    _require_alone(file, slots, _read(file, DT_RELA, DT_RELASZ), _read(file, DT_JMPREL, DT_PLTRELSZ))
    for slot in slots:
        _require_usual(file, slot)


def require_fixed(file: ElfFile, sites: Iterable[Site]) -> None:
    """Raise CannotRepair where a dynamic relocation changes the code of a read: the loader would change the jump in its place."""
    inside = {site.address + n for site in sites for n in range(-SLOT + 1, site.size)}
    for table in (_read(file, DT_RELA, DT_RELASZ), _read(file, DT_JMPREL, DT_PLTRELSZ)):
        if touched := sorted(inside & set(table.places)):
            raise CannotRepair("relocation", "a dynamic relocation changes the code of a read", address=touched[0])
    if touched := sorted(inside & set(_relr(file))):
        raise CannotRepair("relocation", "a relocation of DT_RELR changes the code of a read", address=touched[0])


def _read(file: ElfFile, tag: int, size_tag: int) -> _Table:
    address, size = file.tag(tag), file.tag(size_tag) // RELA.size * RELA.size
    if not address or not size:
        return _Table(0, array("Q"), array("Q"), array("q"))
    start = file.offset_of(address, size, "a relocation table")
    words, signed = array("Q"), array("q")
    words.frombytes(file.data[start : start + size])
    signed.frombytes(file.data[start : start + size])
    return _Table(start, words[0::3], words[1::3], signed[2::3])


def _require_plain_tables(file: ElfFile) -> None:
    for tag, name in OTHER_TABLES.items():
        if file.tag(tag):
            raise CannotRepair("relocation", f"a relocation table of a form that is not read here: {name}")
    if file.tag(DT_RELAENT) != RELA.size:
        raise CannotRepair("relocation", f"relocations of {file.tag(DT_RELAENT)} bytes")


def _require_alone(file: ElfFile, slots: Sequence[Slot], *tables: _Table) -> None:
    """No other relocation may fill a part of a slot, and none may make a pointer to it."""
    near = {slot.address + n: slot for slot in slots for n in range(-SLOT + 1, SLOT)}
    inside = {slot.address + n: slot for slot in slots for n in range(SLOT)}
    own = {slot.address: 0 for slot in slots}
    for table in tables:
        for place in table.places:
            if place in near:
                own[near[place].address] += 1
        for value in inside.keys() & set(table.addends):
            if inside[value].addend != value or any(a == value and i >> 32 == 0 and p not in own for p, i, a in _rows(table)):
                raise CannotRepair("pointer", "a relocation makes a pointer to a slot", address=inside[value].address)
    twice = next((address for address, count in own.items() if count != 1), None)
    if twice is not None:
        raise CannotRepair("relocation", "two relocations fill one slot", address=twice)
    packed = next((address for address in _relr(file) if address in near), None)
    if packed is not None:
        raise CannotRepair("relocation", "a relative relocation in DT_RELR fills a slot", address=packed)


def _rows(table: _Table) -> Iterator[tuple[int, int, int]]:
    return zip(table.places, table.infos, table.addends, strict=True)


def _relr(file: ElfFile) -> Iterator[int]:
    """The places of the relative relocations that DT_RELR packs (gABI, "Relative Relocation Table")."""
    address, size = file.tag(DT_RELR), file.tag(DT_RELRSZ) // 8 * 8
    if not address or not size:
        return
    place = 0
    for (word,) in struct.iter_unpack("<Q", file.at(address, size, "the table DT_RELR")):
        if not word & 1:
            yield word
            place = word + 8
        else:
            yield from (place + 8 * bit for bit in range(63) if word >> (bit + 1) & 1)
            place += 63 * 8


def _require_usual(file: ElfFile, slot: Slot) -> None:
    """A slot must be a word of the GOT, which code reaches by its displacement alone, and its variable must exist."""
    section = file.section_over(slot.address, SLOT)
    if section is None or not section.name.startswith(".got") or section.type != SHT_PROGBITS or not section.flags & SHF_WRITE:
        where = section.name if section else "no section"
        raise CannotRepair("relocation", f"an initial-exec relocation outside of the GOT, in {where}", address=slot.address)
    if slot.symbol:
        name, info, _, index, _, _ = SYM.unpack(file.at(file.tag(DT_SYMTAB) + slot.symbol * SYM.size, SYM.size, "a symbol"))
        if index == 0 and info >> 4 == STB_WEAK:
            reason = f"the weak variable {file.string(name)} may not exist, and a descriptor then gives another value"
            raise CannotRepair("weak-undefined", reason, address=slot.address)
    elif file.segment(PT_TLS) is None:
        raise CannotRepair("relocation", "an initial-exec relocation without symbol in a file without TLS segment", address=slot.address)


def descriptor_patches(file: ElfFile, machine: MachineRepair, slots: Sequence[Slot], first: int) -> Iterator[Patch]:
    """The new entries, with the descriptors at ``first`` and behind it; the poisoned slots; DF_STATIC_TLS cleared."""
    for number, slot in enumerate(slots):
        old = file.data[slot.entry : slot.entry + RELA.size]
        new = RELA.pack(first + number * DESCRIPTOR, slot.symbol << 32 | machine.tlsdesc, slot.addend)
        yield Patch(slot.entry, old, new, f"the relocation of slot {slot.address:#x} fills a descriptor")
        place = file.offset_of(slot.address, SLOT, "a slot")
        yield Patch(place, file.data[place : place + SLOT], machine.poison, f"slot {slot.address:#x}: a read of it faults")
    for tag, value, at in file.dynamic:
        if tag == DT_FLAGS and value & DF_STATIC_TLS:
            yield Patch(at + 8, struct.pack("<Q", value), struct.pack("<Q", value & ~DF_STATIC_TLS), "DF_STATIC_TLS cleared")
