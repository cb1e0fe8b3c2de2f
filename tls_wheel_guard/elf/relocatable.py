"""Object files and archives of them, before the linker: which of them ask for initial-exec, and who compiled them.

Numbers: the psABIs' relocations that load a variable's distance from the GOT; ``ar``: System V with GNU's long names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tls_wheel_guard.elf.constants import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_LOONGARCH,
    EM_PPC64,
    EM_RISCV,
    EM_S390,
    EM_X86_64,
    ET_REL,
    MAGIC,
    SHN_UNDEF,
    SHT_REL,
    SHT_RELA,
)
from tls_wheel_guard.elf.headers import Header, read_header
from tls_wheel_guard.elf.section_headers import section_rows
from tls_wheel_guard.elf.source import BytesSource
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.records import dataclass

__all__ = ["InitialExecObject", "initial_exec_objects"]

INITIAL_EXEC: dict[int, frozenset[int]] = {
    EM_386: frozenset({15, 16, 33}),  # R_386_TLS_IE, _GOTIE, _IE_32
    EM_PPC64: frozenset({87, 88, 89, 90, 150}),  # R_PPC64_GOT_TPREL16_DS, _LO_DS, _HI, _HA, R_PPC64_GOT_TPREL_PCREL34
    EM_S390: frozenset({42, 43, 44, 47, 48, 49, 60}),  # R_390_TLS_GOTIE12, 32, 64, _IE32, _IE64, _IEENT, _GOTIE20
    EM_ARM: frozenset({107, 111}),  # R_ARM_TLS_IE32, _IE12GP
    EM_X86_64: frozenset({22, 44, 47, 50}),  # R_X86_64_GOTTPOFF, _CODE_4_, _CODE_5_, _CODE_6_
    EM_AARCH64: frozenset(range(539, 544)),  # R_AARCH64_TLSIE_*
    EM_RISCV: frozenset({21}),  # R_RISCV_TLS_GOT_HI20
    EM_LOONGARCH: frozenset(range(87, 95)),  # R_LARCH_TLS_IE_*
}
"""e_machine -> relocation types of an initial-exec access in an object file."""

AR_MAGIC, AR_HEADER = b"!<arch>\n", 60
MAX_SECTIONS = 200_000


@dataclass(frozen=True, slots=True)
class InitialExecObject:
    """An object file with initial-exec accesses. ``member``: its name in an archive, None for a file of its own.

    ``compilers``: the lines of .comment, which compilers write and assembler sources have not. ``own``: whether a variable
    that the object itself defines is reached so; without -fPIC a compiler does so only to variables of others.
    """

    member: str | None
    compilers: tuple[str, ...]
    own: bool


def initial_exec_objects(data: bytes) -> Iterator[InitialExecObject]:
    """Those in an object file or an archive; what can't be read is left out."""
    members: Iterator[tuple[str | None, bytes]]
    if data[:4] == MAGIC:
        members = iter([(None, data)])
    elif data[: len(AR_MAGIC)] == AR_MAGIC:
        members = _archive_members(data)
    else:
        return
    for name, content in members:
        try:
            found = _read(name, content)
        except (MalformedElf, struct.error):
            continue
        if found is not None:
            yield found


def _archive_members(data: bytes) -> Iterator[tuple[str | None, bytes]]:
    at, long_names = len(AR_MAGIC), b""
    while at + AR_HEADER <= len(data):
        name, size = data[at : at + 16].decode("utf-8", "replace").rstrip(), data[at + 48 : at + 58].strip()
        if not size.isdigit():
            return
        content = data[at + AR_HEADER : at + AR_HEADER + int(size)]
        at += AR_HEADER + int(size) + int(size) % 2
        if name == "//":
            long_names = content
        elif re.fullmatch("/[0-9]{1,15}", name):
            yield long_names[int(name[1:]) :].split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("/"), content
        elif name not in ("/", "/SYM64/"):
            yield name.rstrip("/"), content


@dataclass(frozen=True, slots=True)
class _Section:
    type: int
    offset: int
    size: int
    link: int


def _sections(data: bytes, header: Header) -> list[_Section]:
    return [_Section(kind, offset, size, link) for _, kind, _, _, offset, size, link in section_rows(BytesSource(data), header, MAX_SECTIONS)]


def _read(member: str | None, data: bytes) -> InitialExecObject | None:
    header = read_header(BytesSource(data))
    wanted = INITIAL_EXEC.get(header.e_machine)
    if header.e_type != ET_REL or wanted is None:
        return None
    sections = _sections(data, header)
    symbols: set[tuple[int, int]] = set()
    for section in sections:
        if section.type in (SHT_REL, SHT_RELA):
            found = _symbols_reached(data, header, section, wanted)
            symbols |= {(section.link, index) for index in found}
    if not symbols:
        return None
    own = any(_is_defined(data, header, sections[table], index) for table, index in symbols if table < len(sections))
    return InitialExecObject(member, _compilers(data), own)


def _symbols_reached(data: bytes, header: Header, section: _Section, wanted: frozenset[int]) -> set[int]:
    fmt = header.format
    shift, mask = fmt.symbol_shift, fmt.type_mask(header.e_machine)
    rows = (fmt.rela if section.type == SHT_RELA else fmt.rel).rows(data[section.offset : section.offset + section.size], "info", "offset")
    return {info >> shift for info, _ in rows if info & mask in wanted}


def _is_defined(data: bytes, header: Header, table: _Section, index: int) -> bool:
    layout = header.format.sym
    at = table.offset + index * layout.size
    if at > len(data):
        raise MalformedElf(f"symbol {index} lies outside the file")
    section, _ = layout.row(data, "shndx", "name", at=at)
    return section != SHN_UNDEF


def _compilers(data: bytes) -> tuple[str, ...]:
    """The lines of .comment, found by what all compilers begin them with: names of sections may be cut."""
    found = []
    for mark in (b"GCC: (", b"clang version ", b"rustc version ", b"Intel(R) ", b"NVC", b"PGC"):
        at = data.find(mark)
        if at >= 0:
            found.append(data[at : at + 200].split(b"\0", 1)[0].decode("ascii", "replace"))
    return tuple(found)
