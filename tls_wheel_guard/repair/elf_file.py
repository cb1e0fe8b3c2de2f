"""A whole 64-bit little-endian ELF file as a repair needs it: all fields of its headers, to be written again.

The reader in ``elf`` keeps what a judgement needs; a repair must also write back what it does not understand.
Layouts and numbers are those of ``elf``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from tls_wheel_guard.elf.constants import PT_DYNAMIC, PT_LOAD, SHF_ALLOC, SHF_TLS, SHT_NOBITS
from tls_wheel_guard.elf.formats import FORMATS
from tls_wheel_guard.errors import MalformedElf

__all__ = ["ElfFile", "SectionHeader", "SegmentHeader", "read_elf_file"]

_FORMAT = FORMATS[64, True]
EHDR = struct.Struct("<16s" + _FORMAT.ehdr.struct.format.removeprefix("<"))
"""The whole header, e_ident and all."""
PHDR, SHDR, SYM, RELA = (layout.struct for layout in (_FORMAT.phdr, _FORMAT.shdr, _FORMAT.sym, _FORMAT.rela))
MAX_HEADERS = 4096
"""Segments, and sections, that are taken: what a repair copies and renumbers."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """One program header, every field; ``offset`` is a file offset, ``vaddr`` and ``paddr`` are addresses, sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        """The address behind its last byte in memory."""
        return self.vaddr + self.memsz

    @property
    def file_end(self) -> int:
        """The file offset behind its last byte."""
        return self.offset + self.filesz

    def pack(self) -> bytes:
        """Its 56 bytes."""
        return PHDR.pack(self.type, self.flags, self.offset, self.vaddr, self.paddr, self.filesz, self.memsz, self.align)


@dataclass(frozen=True, slots=True)
class SectionHeader:
    """One section header, every field; ``name_index`` is its place in the table of names, ``name`` the text there."""

    name: str
    name_index: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.address + self.size

    @property
    def in_memory(self) -> bool:
        """SHF_ALLOC, and not of the TLS template without bytes, whose addresses are nobody's."""
        return bool(self.flags & SHF_ALLOC) and not (self.flags & SHF_TLS and self.type == SHT_NOBITS)

    @property
    def file_end(self) -> int:
        """The file offset behind its last byte; its own offset where it has none."""
        return self.offset + (0 if self.type == SHT_NOBITS else self.size)

    def pack(self) -> bytes:
        """Its 64 bytes."""
        return SHDR.pack(
            self.name_index, self.type, self.flags, self.address, self.offset, self.size, self.link, self.info, self.align, self.entry_size
        )


@dataclass(frozen=True, slots=True)
class ElfFile:
    """The file and its headers. ``dynamic``: (tag, value, file offset of the entry) up to DT_NULL. ``names_index``: e_shstrndx."""

    data: bytes
    ident: bytes
    e_type: int
    e_machine: int
    phoff: int
    shoff: int
    names_index: int
    segments: tuple[SegmentHeader, ...]
    sections: tuple[SectionHeader, ...]
    dynamic: tuple[tuple[int, int, int], ...] = field(default=())

    @property
    def loads(self) -> tuple[SegmentHeader, ...]:
        """The PT_LOADs in file order of their headers."""
        return tuple(s for s in self.segments if s.type == PT_LOAD)

    def segment(self, kind: int) -> SegmentHeader | None:
        """The first program header of a type."""
        return next((s for s in self.segments if s.type == kind), None)

    def section(self, name: str) -> SectionHeader | None:
        """The first section of a name."""
        return next((s for s in self.sections if s.name == name), None)

    def section_over(self, address: int, length: int) -> SectionHeader | None:
        """The section in memory that holds ``length`` bytes at an address."""
        return next((s for s in self.sections if s.in_memory and s.address <= address and address + length <= s.end), None)

    def tag(self, tag: int) -> int:
        """The value of a dynamic tag, 0 where it is absent."""
        return next((value for found, value, _ in self.dynamic if found == tag), 0)

    def tags(self, tag: int) -> Iterator[int]:
        """All values of a dynamic tag."""
        return (value for found, value, _ in self.dynamic if found == tag)

    def offset_of(self, address: int, length: int, what: str) -> int:
        """The file offset of ``length`` bytes at an address; raises MalformedElf where no segment gives them."""
        for load in self.loads:
            if load.vaddr <= address and address + length <= load.vaddr + load.filesz:
                return address - load.vaddr + load.offset
        raise MalformedElf(f"{what} at address {address:#x}, {length} bytes, is in no loaded segment")

    def at(self, address: int, length: int, what: str) -> bytes:
        """``length`` bytes at an address; raises MalformedElf."""
        start = self.offset_of(address, length, what)
        return self.data[start : start + length]

    def string(self, index: int) -> str:
        """The text at byte ``index`` of the dynamic string table."""
        table, size = self.tag(5), self.tag(10)
        if not 0 <= index < size:
            raise MalformedElf(f"string {index} is outside the string table of {size} bytes")
        return self.at(table + index, size - index, "the string table").split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _slice(data: bytes, start: int, length: int, what: str) -> bytes:
    if start < 0 or length < 0 or start + length > len(data):
        raise MalformedElf(f"{what}: bytes {start}..{start + length} lie outside the file of {len(data)} bytes")
    return data[start : start + length]


def read_elf_file(data: bytes) -> ElfFile:
    """All headers of a 64-bit little-endian ELF file; raises MalformedElf where it contradicts itself."""
    ident, e_type, e_machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names_index = EHDR.unpack(
        _slice(data, 0, EHDR.size, "the ELF header")
    )
    if ident[:6] != b"\x7fELF\x02\x01":
        raise MalformedElf("not a 64-bit little-endian ELF file")
    if phentsize != PHDR.size or not 0 < phnum <= MAX_HEADERS or shnum > MAX_HEADERS or (shoff and shentsize != SHDR.size):
        raise MalformedElf(f"{phnum} program headers of {phentsize} bytes, {shnum} section headers of {shentsize}")
    segments = tuple(SegmentHeader(*row) for row in PHDR.iter_unpack(_slice(data, phoff, PHDR.size * phnum, "the program headers")))
    for segment in segments:
        _slice(data, segment.offset, segment.filesz, "a segment")
    sections = _read_sections(data, shoff, shnum, names_index) if shoff and shnum else ()
    file = ElfFile(data, ident, e_type, e_machine, phoff, shoff, names_index, segments, sections)
    dynamic = file.segment(PT_DYNAMIC)
    return file if dynamic is None else _with_dynamic(file, dynamic)


def _with_dynamic(file: ElfFile, segment: SegmentHeader) -> ElfFile:
    entries = []
    for at in range(segment.offset, segment.offset + segment.filesz // 16 * 16, 16):
        tag, value = struct.unpack_from("<qQ", file.data, at)
        if tag == 0:
            break
        entries.append((tag, value, at))
    fields = (file.ident, file.e_type, file.e_machine, file.phoff, file.shoff, file.names_index, file.segments, file.sections)
    return ElfFile(file.data, *fields, tuple(entries))


def _read_sections(data: bytes, shoff: int, count: int, names_index: int) -> tuple[SectionHeader, ...]:
    rows = list(SHDR.iter_unpack(_slice(data, shoff, SHDR.size * count, "the section headers")))
    for row in rows:
        if row[1] not in (0, SHT_NOBITS):
            _slice(data, row[4], row[5], "a section")
    names = data[rows[names_index][4] : rows[names_index][4] + rows[names_index][5]] if names_index < count else b""
    return tuple(SectionHeader(names[row[0] : row[0] + 256].split(b"\0", 1)[0].decode("ascii", "backslashreplace"), *row) for row in rows)
