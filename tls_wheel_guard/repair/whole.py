"""Whether a file's headers agree with each other: what loaders need, and what tools that lay a file out again must not have broken."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from tls_wheel_guard.elf.constants import DT_SYMTAB, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB
from tls_wheel_guard.repair.elf_file import EHDR, PHDR, SHDR, SYM, ElfFile, SectionHeader

__all__ = ["header_faults", "table_faults"]


def header_faults(file: ElfFile) -> Iterator[str]:
    """What is wrong with the segments and sections, a line each; nothing where all is well."""
    for load in file.loads:
        if load.align & (load.align - 1):
            yield f"the segment at {load.vaddr:#x} has an alignment of {load.align:#x}, which is no power of two"
        if load.filesz > load.memsz:
            yield f"the segment at {load.vaddr:#x} has {load.filesz} bytes in the file and {load.memsz} in memory"
        if load.align > 1 and (load.vaddr - load.offset) % min(load.align, 4096):
            yield f"the segment at {load.vaddr:#x} lies at file offset {load.offset:#x}, which its alignment does not allow"
    for first, second in itertools.pairwise(file.loads):
        if first.end > second.vaddr or first.vaddr >= second.vaddr:
            yield f"the segments at {first.vaddr:#x} and {second.vaddr:#x} overlap or are not in order"
    headers = range(file.phoff, file.phoff + PHDR.size * len(file.segments))
    if not any(load.offset <= headers.start and headers.stop <= load.file_end for load in file.loads):
        yield "the program headers are in no loaded segment"
    for section in file.sections:
        if section.in_memory and section.size:
            yield from _section_faults(file, section, headers)
    yield from _overlaps(file)
    yield from _name_faults(file)


def _name_faults(file: ElfFile) -> Iterator[str]:
    """A name that begins or runs on behind the table of names would become another one where names are added."""
    if not 0 < file.names_index < len(file.sections):
        return
    table = file.sections[file.names_index]
    names = file.data[table.offset : table.file_end]
    if names and names[-1]:
        yield f"the last name in {table.name} does not end"
    for number, section in enumerate(file.sections):
        if section.name_index >= max(len(names), 1):
            yield f"the name of section {number} lies outside {table.name}"


def _section_faults(file: ElfFile, section: SectionHeader, headers: range) -> Iterator[str]:
    name = section.name
    load = next((s for s in file.loads if s.vaddr <= section.address and section.end <= s.end), None)
    if load is None:
        yield f"the section {name} at {section.address:#x} is in no loaded segment"
        return
    if section.type == SHT_NOBITS:
        return
    if section.offset - load.offset != section.address - load.vaddr or section.file_end > load.file_end:
        yield f"the section {name} lies at file offset {section.offset:#x}, its segment maps {section.address:#x} elsewhere"
    if section.offset < headers.stop and headers.start < section.file_end:
        yield f"the section {name} lies under the program headers"
    if section.offset < EHDR.size:
        yield f"the section {name} lies under the ELF header"


def _overlaps(file: ElfFile) -> Iterator[str]:
    ordered = sorted((s for s in file.sections if s.in_memory and s.size), key=lambda s: s.address)
    for first, second in itertools.pairwise(ordered):
        if first.end > second.address:
            yield f"the sections {first.name} and {second.name} overlap"
    parts = [(0, EHDR.size, "the ELF header"), (file.phoff, file.phoff + PHDR.size * len(file.segments), "the program headers")]
    parts.append((file.shoff, file.shoff + SHDR.size * len(file.sections), "the section headers"))
    parts += [(s.offset, s.file_end, f"the section {s.name}") for s in file.sections if s.type not in (0, SHT_NOBITS) and s.size]
    for (_, end, one), (start, _, other) in itertools.pairwise(sorted(part for part in parts if part[0] < part[1])):
        if end > start:
            yield f"{one} and {other} share bytes of the file"


def table_faults(file: ElfFile) -> Iterator[str]:
    """Tables of symbols that are not what they are said to be: what a repair moves and renumbers must be all of them, and nothing else.

    Hash tables by glibc elf/dl-setup_hash.c:_dl_setup_hash and elf/dl-lookup.c:do_lookup_x: what loaders and tools read of one that leads out of
    itself changes with what lies behind it.
    """
    for section in file.sections:
        if not (section.in_memory and section.size):
            continue
        check = {".gnu.hash": _gnu_hash_ends, ".hash": _old_hash_ends}.get(section.name)
        if check is not None and not check(file.data[section.offset : section.file_end]):
            yield f"the hash table {section.name} leads out of itself"
        is_named = section.address == file.tag(DT_SYMTAB)
        if section.type in (SHT_SYMTAB, SHT_DYNSYM) and not is_named:
            yield f"the section {section.name} is said to be a table of symbols, and the dynamic segment names another one"
        if is_named and section.size % SYM.size:
            yield f"the section {section.name} ends inside a symbol"


def _gnu_hash_ends(data: bytes) -> bool:
    """Whether the chain of each bucket ends inside the table: a chain's last word is odd."""
    if len(data) < 16:
        return False
    buckets, first, bloom, _ = struct.unpack_from("<4I", data)
    start = 16 + 8 * bloom
    chains = start + 4 * buckets
    if chains > len(data):
        return False
    count = (len(data) - chains) // 4
    used: list[int] = [bucket for bucket in struct.unpack_from(f"<{buckets}I", data, start) if bucket]
    return not used or (min(used) >= first and max(used) < first + count and data[chains + 4 * count - 4] & 1 == 1)


def _old_hash_ends(data: bytes) -> bool:
    """Whether all indexes of DT_HASH are of symbols that it knows."""
    if len(data) < 8:
        return False
    buckets, chains = (int(word) for word in struct.unpack_from("<2I", data))
    if 8 + 4 * (buckets + chains) > len(data):
        return False
    indexes: tuple[int, ...] = struct.unpack_from(f"<{buckets + chains}I", data, 8)
    return max(indexes, default=0) < max(chains, 1)
