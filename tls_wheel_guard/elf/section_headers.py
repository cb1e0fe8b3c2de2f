"""Section headers: what a linker left for tools.

A loader never reads them, so they decide only one thing about a judgement: whether a file is split debug information.
"""

from __future__ import annotations

from tls_wheel_guard.elf.constants import SHF_EXECINSTR, SHT_NOBITS
from tls_wheel_guard.elf.headers import Header, Segment, read_header
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.records import dataclass

__all__ = ["MAX_SECTIONS", "Section", "dynamic_is_nobits", "names_place", "read_sections", "section_bytes", "section_place", "section_rows"]

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
        return bool(self.flags & SHF_EXECINSTR)


def read_sections(source: Source) -> tuple[Section, ...]:
    """All section headers, none where the file has none or they contradict the file."""
    try:
        header = read_header(source)
        return _read(source, header)
    except MalformedElf:
        return ()


def section_rows(source: Source, header: Header, most: int) -> list[tuple[int, ...]]:
    """(name, type, flags, address, offset, size, link) of the first ``most`` section headers; none where the file has none.

    ``name``: byte in the table of names. Raises MalformedElf where they lie outside the file.
    """
    layout = header.format.shdr
    if not header.shoff or header.shentsize != layout.size:
        return []
    count = header.shnum
    if not count:
        # gABI: too many for e_shnum stand in sh_size of section 0.
        count, _ = layout.row(source.read(header.shoff, layout.size), "size", "link")
    data = source.read(header.shoff, layout.size * min(count, most))
    return list(layout.rows(data, "name", "type", "flags", "addr", "offset", "size", "link"))


def _read(source: Source, header: Header) -> tuple[Section, ...]:
    if not header.shnum or header.shnum > MAX_SECTIONS:
        return ()
    rows = section_rows(source, header, MAX_SECTIONS)
    names = source.read(*_names_place(rows, header))
    return tuple(Section(names[row[0] : row[0] + 256].split(b"\0", 1)[0].decode("ascii", "backslashreplace"), *row[1:]) for row in rows)


def names_place(source: Source, header: Header) -> tuple[int, int]:
    """(offset, size) of the table of section names; size 0 where there is none. Raises MalformedElf."""
    return _names_place(section_rows(source, header, MAX_SECTIONS) if header.shnum <= MAX_SECTIONS else [], header)


def _names_place(rows: list[tuple[int, ...]], header: Header) -> tuple[int, int]:
    if header.shstrndx < len(rows) and rows[header.shstrndx][5] <= MAX_NAMES:
        return rows[header.shstrndx][4], rows[header.shstrndx][5]
    return 0, 0


def dynamic_is_nobits(source: Source, header: Header, segment: Segment) -> bool:
    """Whether the section headers say that the dynamic segment has no bytes: a file of split debug information. Raises MalformedElf."""
    rows = section_rows(source, header, header.shnum) if header.shnum else []
    return any(kind == SHT_NOBITS and address == segment.vaddr for _, kind, _, address, _, _, _ in rows)


def section_place(sections: tuple[Section, ...], name: str, limit: int) -> tuple[int, int]:
    """(offset, size) of the first ``limit`` bytes of the section of a name; size 0 where there is none."""
    found = next((s for s in sections if s.name == name and s.type != SHT_NOBITS and s.size), None)
    return (found.offset, min(found.size, limit)) if found is not None else (0, 0)


def section_bytes(source: Source, sections: tuple[Section, ...], name: str, limit: int) -> bytes:
    """The first ``limit`` bytes of the section of a name; empty where there is none or it lies outside the file."""
    try:
        return source.read(*section_place(sections, name, limit))
    except MalformedElf:
        return b""
