"""Section headers for the new code and descriptors: tools that lay a file out again keep only what has one.

The table stays sorted by address: patchelf 0.14 to 0.17 look for room by it. So indexes change, and what names sections by index
changes with them: sh_link, sh_info, the symbol tables, e_shstrndx.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tls_wheel_guard.elf.constants import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_INFO_LINK,
    SHF_WRITE,
    SHN_LORESERVE,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
)
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.repair.elf_file import SYM, ElfFile, SectionHeader
from tls_wheel_guard.repair.patch import Patch
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["BSS_SECTION", "FRAME_SECTION", "TEXT_SECTION", "NewTable", "new_section", "new_table", "symbol_patches"]

TEXT_SECTION, FRAME_SECTION, BSS_SECTION = ".tls_guard.text", ".tls_guard.eh_frame", ".tls_guard.bss"
_KINDS = {
    TEXT_SECTION: (SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 16),
    FRAME_SECTION: (SHT_PROGBITS, SHF_ALLOC, 8),
    BSS_SECTION: (SHT_NOBITS, SHF_ALLOC | SHF_WRITE, 16),
    ".debug_frame": (SHT_PROGBITS, 0, 8),
}
"""Name -> type, flags, alignment."""
_LINKS_BY_INFO = (SHT_REL, SHT_RELA)


@dataclass(frozen=True, slots=True)
class NewTable:
    """The headers in their new order. ``names``: the bytes of the table of names. ``indexes``: old index -> new one.

    ``moved``: old index -> how many bytes its section went up.
    """

    sections: tuple[SectionHeader, ...]
    names: bytes
    indexes: Mapping[int, int]
    moved: Mapping[int, int]


def new_section(name: str, address: int, offset: int, size: int) -> SectionHeader:
    """A header of one of the new sections; its place in the table of names comes later."""
    kind, flags, align = _KINDS[name]
    return SectionHeader(name, 0, kind, flags, address, offset, size, 0, 0, align, 0)


def new_table(file: ElfFile, changed: Mapping[int, SectionHeader], added: Sequence[SectionHeader]) -> NewTable:
    """The table with some headers changed (by index) and some added. Headers whose address changed find their place again."""
    names = bytearray(_names(file))
    named = []
    for section in added:
        named.append(replace(section, name_index=len(names)))
        names += section.name.encode() + b"\0"
    current = [changed.get(n, section) for n, section in enumerate(file.sections)]
    moved = {n: s.address - file.sections[n].address for n, s in changed.items() if s.address != file.sections[n].address}
    order = [(n, section) for n, section in enumerate(current) if n not in moved]
    settling = [(n, current[n]) for n in moved] + [(-1, section) for section in named if section.in_memory]
    for index, section in sorted(settling, key=lambda item: item[1].address):
        before = max((place for place, (_, s) in enumerate(order) if s.in_memory and s.address <= section.address), default=0)
        order.insert(before + 1, (index, section))
    order += [(-1, section) for section in named if not section.in_memory]
    indexes = {old: new for new, (old, _) in enumerate(order) if old >= 0}
    return NewTable(tuple(_relinked(section, indexes) for _, section in order), bytes(names), indexes, moved)


def _names(file: ElfFile) -> bytes:
    section = file.sections[file.names_index]
    return file.data[section.offset : section.file_end]


def _relinked(section: SectionHeader, indexes: Mapping[int, int]) -> SectionHeader:
    by_info = section.type in _LINKS_BY_INFO or section.flags & SHF_INFO_LINK
    info = indexes.get(section.info, section.info) if by_info else section.info
    return replace(section, link=indexes.get(section.link, section.link), info=info)


def symbol_patches(file: ElfFile, table: NewTable) -> Iterator[Patch]:
    """The symbol tables with new section indexes; symbols of sections that moved have moved with them. Raises CannotRepair."""
    for section in file.sections:
        if section.type not in (SHT_SYMTAB, SHT_DYNSYM):
            continue
        size = section.size // SYM.size * SYM.size
        old = file.data[section.offset : section.offset + size]
        rows = []
        for name, info, other, index, value, length in SYM.iter_unpack(old):
            if 0 < index < SHN_LORESERVE:
                if index not in table.indexes:
                    raise CannotRepair("layout", f"a symbol in {section.name} is of section {index}, and there are {len(table.indexes)}")
                rows.append(SYM.pack(name, info, other, table.indexes.get(index, index), value + table.moved.get(index, 0), length))
            else:
                rows.append(SYM.pack(name, info, other, index, value, length))
        new = b"".join(rows)
        if new != old:
            yield Patch(section.offset, old, new, f"the section indexes of symbols in {section.name}")
