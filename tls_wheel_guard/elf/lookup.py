"""Which of some TLS variables or functions a shared object defines, asked the way a loader asks: by the symbol hash tables.

DT_GNU_HASH: glibc elf/dl-lookup.c:do_lookup_x; DT_HASH: gABI, "Hash Table".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from tls_wheel_guard.elf.layout import PT_DYNAMIC, Dynamic, Header, Image, read_dynamic, read_header, read_segments
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.elf.symbols import DT_SYMTAB, Strings

__all__ = ["defined_functions", "defined_tls"]

DT_HASH, DT_GNU_HASH = 4, 0x6FFFFEF5
STT_FUNC, STT_TLS, STT_GNU_IFUNC = 2, 6, 10
WIDE_HASH = frozenset({22, 0x9026})
"""e_machine of s390x and alpha, where DT_HASH has words of eight bytes (glibc bits/elfclass.h: Elf_Symndx)."""
MAX_CHAIN = 100_000
"""Symbols looked at for one name; a chain in a real file has fewer than ten."""


def gnu_hash(name: bytes) -> int:
    """dl_new_hash."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def sysv_hash(name: bytes) -> int:
    """The hash of DT_HASH."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


class _Tables:
    def __init__(self, source: Source, header: Header, image: Image, dynamic: Dynamic) -> None:
        self._source, self._fmt, self._image, self._dynamic = source, header.format, image, dynamic
        self._wide_hash = header.format.bits == 64 and header.e_machine in WIDE_HASH
        self._strings = Strings(source, image, dynamic)

    def _words(self, address: int, count: int, letter: str = "I") -> tuple[int, ...]:
        layout = struct.Struct(f"{self._fmt.order}{count}{letter}")
        offset = self._image.offset_of(address, layout.size, "a hash table")
        return layout.unpack(self._source.read(offset, layout.size))

    def candidates(self, name: bytes) -> Iterator[int]:
        """Symbol indexes in the name's bucket."""
        if table := self._dynamic.get(DT_GNU_HASH):
            yield from self._gnu_chain(table, gnu_hash(name))
        elif table := self._dynamic.get(DT_HASH):
            yield from self._sysv_chain(table, sysv_hash(name))

    def _sysv_chain(self, table: int, wanted: int) -> Iterator[int]:
        letter, size = ("Q", 8) if self._wide_hash else ("I", 4)
        buckets, chains = self._words(table, 2, letter)
        index = self._words(table + size * (2 + wanted % buckets), 1, letter)[0] if buckets else 0
        for _ in range(min(chains, MAX_CHAIN)):
            if index == 0:
                return
            yield index
            (index,) = self._words(table + size * (2 + buckets + index), 1, letter)

    def _gnu_chain(self, table: int, wanted: int) -> Iterator[int]:
        buckets, first, bloom, _ = self._words(table, 4)
        if not buckets:
            return
        start = table + 16 + bloom * self._fmt.word_size
        (index,) = self._words(start + 4 * (wanted % buckets), 1)
        for _ in range(MAX_CHAIN):
            if index < first or index == 0:
                return
            (value,) = self._words(start + 4 * (buckets + index - first), 1)
            if value | 1 == wanted | 1:
                yield index
            if value & 1:
                return
            index += 1

    def is_defined(self, index: int, name: str, types: frozenset[int]) -> bool:
        layout = struct.Struct(self._fmt.order + ("IBBHQQ" if self._fmt.bits == 64 else "IIIBBH"))
        offset = self._image.offset_of(self._dynamic.get(DT_SYMTAB) + index * layout.size, layout.size, f"symbol {index}")
        row = layout.unpack(self._source.read(offset, layout.size))
        info, section = (row[1], row[3]) if self._fmt.bits == 64 else (row[3], row[5])
        return info & 0xF in types and section != 0 and self._strings.at(row[0]) == name


def defined_tls(source: Source, names: Iterable[str]) -> set[str]:
    """Those of ``names`` that the shared object defines as thread-local variables; raises MalformedElf."""
    return _defined(source, names, frozenset({STT_TLS}))


def defined_functions(source: Source, names: Iterable[str]) -> set[str]:
    """Those of ``names`` that the shared object exports as functions; raises MalformedElf."""
    return _defined(source, names, frozenset({STT_FUNC, STT_GNU_IFUNC}))


def _defined(source: Source, names: Iterable[str], types: frozenset[int]) -> set[str]:
    header = read_header(source)
    segments = read_segments(source, header)
    dynamic_segment = next((s for s in segments if s.type == PT_DYNAMIC), None)
    if dynamic_segment is None:
        return set()
    tables = _Tables(source, header, Image(segments), read_dynamic(source, header.format, dynamic_segment))
    return {name for name in names if any(tables.is_defined(i, name, types) for i in tables.candidates(name.encode()))}
