"""Which of some symbols a shared object defines, asked the way a loader asks: by the symbol hash tables; and which it lacks.

DT_GNU_HASH: glibc elf/dl-lookup.c:do_lookup_x; DT_HASH: gABI, "Hash Table".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from tls_wheel_guard.elf.constants import DT_GNU_HASH, DT_HASH, DT_SYMTAB, EM_ALPHA, EM_S390, SHN_UNDEF, STB_GLOBAL, STT_TLS
from tls_wheel_guard.elf.dynamic_symbols import Strings
from tls_wheel_guard.elf.headers import LoaderView, dynamic_of
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over
from tls_wheel_guard.records import dataclass

__all__ = ["Linkage", "defined_tls", "linkage"]

WIDE_HASH = frozenset({EM_S390, EM_ALPHA})
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
    def __init__(self, source: Source, view: LoaderView, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits, self._looks = limits, 0
        self._source, self._fmt, self._image, self._dynamic = source, view.header.format, view.image, view.dynamic
        self._wide_hash = self._fmt.bits == 64 and view.header.e_machine in WIDE_HASH
        self._strings = Strings(source, view.image, view.dynamic, limits)

    def _words(self, address: int, count: int, letter: str = "I") -> tuple[int, ...]:
        self._looks += 1
        if self._looks > self._limits.chain:
            raise MalformedElf(f"{self._looks} or more steps in its symbol hash tables; {over(self._limits, 'chain')}")
        layout = struct.Struct(f"{self._fmt.order}{count}{letter}")
        offset = self._image.offset_of(address, layout.size, "a hash table")
        return layout.unpack(self._source.read(offset, layout.size))

    def candidates(self, names: Iterable[str]) -> dict[int, set[str]]:
        """Symbol index -> the names in whose chain it stands."""
        found: dict[int, set[str]] = {}
        for index, name in self._pairs(sorted(set(names))):
            found.setdefault(index, set()).add(name)
        return found

    def _pairs(self, names: list[str]) -> Iterator[tuple[int, str]]:
        if table := self._dynamic.get(DT_GNU_HASH):
            yield from self._gnu_chains(table, {name: gnu_hash(name.encode()) for name in names})
        elif table := self._dynamic.get(DT_HASH):
            for name in names:
                yield from ((index, name) for index in self._sysv_chain(table, sysv_hash(name.encode())))

    def _sysv_chain(self, table: int, wanted: int) -> Iterator[int]:
        letter, size = ("Q", 8) if self._wide_hash else ("I", 4)
        buckets, chains = self._words(table, 2, letter)
        index = self._words(table + size * (2 + wanted % buckets), 1, letter)[0] if buckets else 0
        seen = set()
        for _ in range(min(chains, MAX_CHAIN)):
            if index == 0:
                return
            if index in seen:
                raise MalformedElf("its symbol hash table runs in a circle")
            seen.add(index)
            yield index
            (index,) = self._words(table + size * (2 + buckets + index), 1, letter)

    def _gnu_chains(self, table: int, hashes: dict[str, int]) -> Iterator[tuple[int, str]]:
        # All buckets, then all chains, each in ascending order: in a stream a step back is a new inflation.
        buckets, first, bloom, _ = self._words(table, 4)
        if not buckets:
            return
        start = table + 16 + bloom * self._fmt.word_size
        order = sorted(hashes, key=lambda name: hashes[name] % buckets)
        heads = [(self._words(start + 4 * (hashes[name] % buckets), 1)[0], name) for name in order]
        for head, name in sorted(heads):
            for index in range(head, head + MAX_CHAIN):
                if index < first or index == 0:
                    break
                (value,) = self._words(start + 4 * (buckets + index - first), 1)
                if value | 1 == hashes[name] | 1:
                    yield index, name
                if value & 1:
                    break

    def _rows(self, indexes: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """Index, st_name, st_info and st_shndx of symbols, in ascending order."""
        layout = self._fmt.sym
        for index in sorted(indexes):
            offset = self._image.offset_of(self._dynamic.get(DT_SYMTAB) + index * layout.size, layout.size, f"symbol {index}")
            yield index, *layout.row(self._source.read(offset, layout.size), "name", "info", "shndx")

    def defined(self, names: Iterable[str], kind: int | None) -> set[str]:
        """Those of ``names`` that are defined here, as symbols of the type ``kind``, or of any where that is None."""
        candidates = self.candidates(names)
        found = {
            index: name for index, name, info, section in self._rows(candidates) if section != SHN_UNDEF and (kind is None or info & 0xF == kind)
        }
        texts = self._strings.all_at(found.values())
        return {texts[name] for index, name in found.items() if texts[name] in candidates[index]}

    def undefined(self) -> set[str]:
        """Names of global symbols that another file must define. DT_GNU_HASH leaves them out: they stand in front of what it has."""
        if table := self._dynamic.get(DT_GNU_HASH):
            count = self._words(table, 2)[1]
        elif table := self._dynamic.get(DT_HASH):
            count = self._words(table, 2, "Q" if self._wide_hash else "I")[1]
        else:
            count = 0
        rows = self._rows(range(1, min(count, MAX_CHAIN)))
        wanted = [name for _, name, info, section in rows if section == SHN_UNDEF and info >> 4 == STB_GLOBAL and name]
        return set(self._strings.all_at(wanted).values())


def _tables_of(source: Source, limits: Limits = DEFAULT_LIMITS) -> _Tables | None:
    view = dynamic_of(source, limits)
    return _Tables(source, view, limits) if view.dynamic.values else None


def defined_tls(source: Source, names: Iterable[str], limits: Limits = DEFAULT_LIMITS) -> set[str]:
    """Those of ``names`` that the shared object defines as thread-local variables; raises MalformedElf."""
    tables = _tables_of(source, limits)
    return tables.defined(names, STT_TLS) if tables else set()


@dataclass(frozen=True, slots=True)
class Linkage:
    """What a shared object gives to a process and wants from it: names that it defines among those asked for, and all that it lacks."""

    defined: frozenset[str] = frozenset()
    undefined: frozenset[str] = frozenset()

    @property
    def needs_python(self) -> bool:
        """Whether it wants names of CPython's C API, as extension modules do."""
        return any(name.startswith(("Py", "_Py")) for name in self.undefined)


def linkage(source: Source, names: Iterable[str], limits: Limits = DEFAULT_LIMITS) -> Linkage:
    """Which of ``names`` the shared object defines, of any type, and what it lacks; raises MalformedElf."""
    tables = _tables_of(source, limits)
    return Linkage(frozenset(tables.defined(names, None)), frozenset(tables.undefined())) if tables else Linkage()
