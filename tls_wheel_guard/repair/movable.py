"""The first tables of a file, which can give way to a program header: loaders and tools find them by addresses that can change.

gABI chapter 5, "Dynamic Section": all but the program headers themselves is found by an address.
"""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.elf.constants import ADDRESS_TAGS, PT_LOAD, PT_PHDR, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.repair.elf_file import EHDR, PHDR, ElfFile, SectionHeader

__all__ = ["headers_end", "movable_block", "used_offsets"]

MOVABLE = frozenset(
    ".note.gnu.property .note.gnu.build-id .note.ABI-tag .hash .gnu.hash .dynsym .dynstr .gnu.version .gnu.version_r .gnu.version_d".split()
)
"""Sections that loaders and tools find by the dynamic segment or by their program header, and code never."""


def used_offsets(file: ElfFile) -> Iterator[int]:
    """File offsets where something begins."""
    yield from (s.offset for s in file.sections if s.type not in (0, SHT_NOBITS) and s.size)
    yield from (s.offset for s in file.segments if s.filesz)
    yield from (file.shoff, file.phoff)
    for tag, value, _ in file.dynamic:
        if tag in ADDRESS_TAGS and value:
            try:
                yield file.offset_of(value, 1, "a dynamic tag")
            except MalformedElf:
                continue


def headers_end(count: int) -> int:
    """The file offset behind so many program headers that follow the ELF header."""
    return EHDR.size + PHDR.size * count


def movable_block(file: ElfFile) -> tuple[int, int] | None:
    """File offsets of the first tables, as many as give room for two headers, else for one; None where they can't be moved."""
    ordered = sorted((s for s in file.sections if s.in_memory and s.size), key=lambda s: s.offset)
    first, needed = headers_end(len(file.segments)), 0
    best: tuple[int, int] | None = None
    for number, section in enumerate(ordered[:-1]):
        if section.name not in MOVABLE or section.flags & (SHF_WRITE | SHF_EXECINSTR | SHF_ALLOC) != SHF_ALLOC:
            break
        start, end, freed = ordered[0].offset, section.file_end, ordered[number + 1].offset - first
        needed = PHDR.size if best is None else 2 * PHDR.size
        if freed >= needed and _splits_nothing(file, start, end, ordered[number + 1]):
            best = (start, end)
            if freed >= 2 * PHDR.size:
                break
    return best


def _splits_nothing(file: ElfFile, start: int, end: int, following: SectionHeader) -> bool:
    """Whether the block can go as a whole: one PT_LOAD covers it, from the file's start, and nothing else has a part of what is freed."""
    others = [s for s in file.segments if s.type not in (PT_LOAD, PT_PHDR) and s.filesz]
    whole = all(s.file_end <= start or s.offset >= end or (start <= s.offset and s.file_end <= end) for s in others)
    freed = range(headers_end(len(file.segments)), following.offset)
    alone = not any(at in freed and not start <= at < end for at in used_offsets(file))
    covered = any(s.offset == 0 and end <= s.file_end for s in file.loads)
    return whole and alone and covered and following.offset >= end and _is_filled(file, freed)


def _is_filled(file: ElfFile, freed: range) -> bool:
    """Whether sections in memory have all that is freed but zeros: a table may be longer than its section says."""
    at = freed.start
    for section in sorted((s for s in file.sections if s.size and s.type != SHT_NOBITS and s.offset in freed), key=lambda s: s.offset):
        if not section.in_memory or any(file.data[at : section.offset]):
            return False
        at = section.file_end
    return not any(file.data[at : freed.stop])
