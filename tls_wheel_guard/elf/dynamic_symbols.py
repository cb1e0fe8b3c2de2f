"""The dynamic symbols that TLS relocations name, with the versions they ask for. glibc elf/elf.h: Elf64_Sym, Verneed."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tls_wheel_guard.elf.constants import (
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_VERNEED,
    DT_VERNEEDNUM,
    DT_VERSYM,
    SHN_UNDEF,
    STB_GNU_UNIQUE,
    STB_LOCAL,
    STB_WEAK,
    STV_DEFAULT,
)
from tls_wheel_guard.elf.formats import ElfFormat
from tls_wheel_guard.elf.headers import Dynamic, Image
from tls_wheel_guard.elf.shared_object import Symbol
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["Strings", "needed_versions", "read_symbols"]

MAX_NAME = 4096
"""Bytes of a name; longer ones (C++ templates reach 20 KB in .symtab, TLS variables do not) are cut."""


class Strings:
    """The dynamic string table."""

    def __init__(self, source: Source, image: Image, dynamic: Dynamic, limits: Limits = DEFAULT_LIMITS) -> None:
        self._source = source
        self._limits = limits
        self._length = 0
        self.size = dynamic.get(DT_STRSZ)
        self._offset = image.offset_of(dynamic.get(DT_STRTAB), self.size, "the string table") if self.size else 0

    def at(self, index: int) -> str:
        """The string at byte ``index`` of the table."""
        if not 0 <= index < self.size:
            raise MalformedElf(f"string {index} is outside the string table of {self.size} bytes")
        text = b""
        for length in (256, MAX_NAME):
            text = self._source.read(self._offset + index, min(length, self.size - index))
            if b"\0" in text:
                break
        found = text.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        self._length += len(found)
        if self._length > self._limits.names_size:
            raise MalformedElf(f"names of {self._length} or more characters together; {over(self._limits, 'names-size')}")
        return found

    def all_at(self, indexes: Iterable[int]) -> dict[int, str]:
        """The strings at several bytes of the table, read in ascending order: in a stream each step back is a new inflation."""
        return {index: self.at(index) for index in sorted(set(indexes))}


def read_symbols(
    source: Source,
    fmt: ElfFormat,
    image: Image,
    dynamic: Dynamic,
    strings: Strings,
    indexes: Iterable[int],
    limits: Limits = DEFAULT_LIMITS,
) -> dict[int, Symbol]:
    """The symbols of the given indexes (0 left out), each with its version where it is undefined.

    Each table is gone through once and in ascending order, wherever the file has it: patchelf moves them to its end.
    """
    table = dynamic.get(DT_SYMTAB)
    rows: dict[int, tuple[int, ...]] = {}
    for index in sorted(set(indexes) - {0}):
        offset = image.offset_of(table + index * fmt.sym.size, fmt.sym.size, f"symbol {index}")
        rows[index] = fmt.sym.row(source.read(offset, fmt.sym.size), "name", "info", "other", "shndx")
    versions = _versions(source, fmt, image, dynamic, [i for i, row in rows.items() if row[3] == SHN_UNDEF], limits)
    texts = {0: "", **strings.all_at([*(row[0] for row in rows.values() if row[0]), *versions.values()])}
    return {
        index: Symbol(
            texts[name],
            defined=section != SHN_UNDEF,
            weak=info >> 4 == STB_WEAK,
            local=info >> 4 == STB_LOCAL,
            version=texts[versions[index]] if index in versions else None,
            hidden=other & 3 != STV_DEFAULT,
            unique=info >> 4 == STB_GNU_UNIQUE,
        )
        for index, (name, info, other, section) in rows.items()
    }


def _versions(source: Source, fmt: ElfFormat, image: Image, dynamic: Dynamic, indexes: list[int], limits: Limits) -> dict[int, int]:
    """Symbol index -> string index of the version that it needs."""
    if not indexes or not dynamic.get(DT_VERSYM) or not dynamic.get(DT_VERNEED):
        return {}
    numbers = {}
    for index in indexes:
        offset = image.offset_of(dynamic.get(DT_VERSYM) + 2 * index, 2, f"the version of symbol {index}")
        (version,) = struct.unpack(fmt.order + "H", source.read(offset, 2))
        numbers[index] = version & 0x7FFF
    names = _needed_versions(source, fmt, image, dynamic, limits)
    return {index: names[number] for index, number in numbers.items() if number in names}


def needed_versions(
    source: Source, fmt: ElfFormat, image: Image, dynamic: Dynamic, strings: Strings, limits: Limits = DEFAULT_LIMITS
) -> frozenset[str]:
    """The names of all versions that a file needs of its libraries."""
    if not dynamic.get(DT_VERNEED):
        return frozenset()
    return frozenset(strings.all_at(_needed_versions(source, fmt, image, dynamic, limits).values()).values())


def _needed_versions(source: Source, fmt: ElfFormat, image: Image, dynamic: Dynamic, limits: Limits) -> dict[int, int]:
    """Version index -> string index of its name, from DT_VERNEED."""
    names: dict[int, int] = {}
    address = dynamic.get(DT_VERNEED)
    seen = 0
    for _ in range(dynamic.get(DT_VERNEEDNUM)):
        offset = image.offset_of(address, 16, "a version table")
        _, count, _, aux, step = struct.unpack(fmt.order + "HHIII", source.read(offset, 16))
        entry = address + aux
        # A file without versions counts too.
        for place in range(max(count, 1)):
            seen += 1
            if seen > limits.versions:
                raise MalformedElf(f"{seen} or more symbol versions; {over(limits, 'versions')}")
            if place >= count:
                break
            offset = image.offset_of(entry, 16, "a version table")
            _, _, number, name, following = struct.unpack(fmt.order + "IHHII", source.read(offset, 16))
            names[number & 0x7FFF] = name
            if not following:
                break
            entry += following
        if not step:
            break
        address += step
    return names
