"""Section headers: what a linker left for tools. A loader never reads them, so nothing here decides whether a file is judged."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tls_wheel_guard.elf.headers import SHT_NOBITS, Header, read_header
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf

__all__ = ["Section", "read_sections", "section_bytes"]

SHT_SYMTAB, SHT_DYNSYM = 2, 11
MAX_SECTIONS = 20_000
MAX_NAMES = 1 << 20
"""Bytes of the table of section names."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section header. ``offset``: file offset; ``address``: virtual address, 0 where it is not loaded; ``link``: index."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int

    @property
    def is_code(self) -> bool:
        """SHF_EXECINSTR."""
        return bool(self.flags & 4)


def read_sections(source: Source) -> tuple[Section, ...]:
    """All section headers, none where the file has none or they contradict the file."""
    try:
        header = read_header(source)
        return _read(source, header)
    except MalformedElf:
        return ()


def _read(source: Source, header: Header) -> tuple[Section, ...]:
    fmt = header.format
    size = 64 if fmt.bits == 64 else 40
    if not header.shoff or not header.shnum or header.shentsize != size or header.shnum > MAX_SECTIONS:
        return ()
    layout = struct.Struct(f"{fmt.order}II{fmt.word * 4}II{fmt.word * 2}")
    rows = list(layout.iter_unpack(source.read(header.shoff, size * header.shnum)))
    (names_index,) = struct.unpack(fmt.order + "H", source.read(62 if fmt.bits == 64 else 50, 2))
    names = b""
    if names_index < len(rows) and rows[names_index][5] <= MAX_NAMES:
        names = source.read(rows[names_index][4], rows[names_index][5])
    return tuple(
        Section(names[name : name + 256].split(b"\0", 1)[0].decode("ascii", "backslashreplace"), kind, flags, address, offset, length, link)
        for name, kind, flags, address, offset, length, link, _, _, _ in rows
    )


def section_bytes(source: Source, sections: tuple[Section, ...], name: str, limit: int) -> bytes:
    """The first ``limit`` bytes of the section of a name; empty where there is none or it lies outside the file."""
    for section in sections:
        if section.name == name and section.type != SHT_NOBITS and section.size:
            try:
                return source.read(section.offset, min(section.size, limit))
            except MalformedElf:
                return b""
    return b""
