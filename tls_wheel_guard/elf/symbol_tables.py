"""Names of functions and thread-local variables, from .symtab and .dynsym, found by section headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tls_wheel_guard.elf.constants import EM_ARM, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_TLS
from tls_wheel_guard.elf.headers import read_header
from tls_wheel_guard.elf.section_headers import Section
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.records import dataclass

__all__ = ["Function", "Names", "TlsVariable", "read_names", "table_places"]

MAX_TABLE, MAX_STRINGS = 64 << 20, 512 << 20
"""Bytes of one symbol table, and of its strings."""
MAX_NAME = 512
"""Bytes of a name that are kept."""
MAX_NAMES = 256 << 20
"""Characters of all names of one table that are kept; what stands behind them is left out."""


class TlsVariable(NamedTuple):
    """A thread-local variable that the file defines: its place in the TLS segment and its size, in bytes."""

    name: str
    offset: int
    size: int


class Function(NamedTuple):
    """A function that the file defines. ``start``: virtual address; ``size`` in bytes, 0 where the symbol has none."""

    name: str
    start: int
    size: int
    exported: bool


@dataclass(frozen=True, slots=True)
class Names:
    """All that symbol tables say. ``imports``: what the file asks of others."""

    variables: tuple[TlsVariable, ...] = ()
    functions: tuple[Function, ...] = ()
    imports: frozenset[str] = frozenset()


def read_names(source: Source, sections: tuple[Section, ...]) -> Names:
    """The names in both symbol tables; tables that contradict the file are left out."""
    variables: dict[TlsVariable, None] = {}
    functions: dict[tuple[str, int], Function] = {}
    imports: set[str] = set()
    for table, strings in _tables(sections):
        try:
            _read_table(source, table, strings, variables, functions, imports)
        except MalformedElf:
            continue
    return Names(tuple(variables), tuple(functions.values()), frozenset(imports))


def table_places(sections: tuple[Section, ...]) -> Iterator[tuple[int, int]]:
    """(offset, size) of all that ``read_names`` reads."""
    for table, strings in _tables(sections):
        yield table.offset, table.size
        yield strings.offset, strings.size


def _tables(sections: tuple[Section, ...]) -> Iterator[tuple[Section, Section]]:
    """The symbol tables with their strings. A file has two (gABI, sh_type); of more, those are read that are together no larger than two."""
    tables, texts = 2 * MAX_TABLE, 2 * MAX_STRINGS
    for table in sections:
        if table.type in (SHT_DYNSYM, SHT_SYMTAB) and 0 < table.link < len(sections):
            strings = sections[table.link]
            if table.size <= min(MAX_TABLE, tables) and strings.size <= min(MAX_STRINGS, texts):
                tables, texts = tables - table.size, texts - strings.size
                yield table, strings


def _read_table(
    source: Source,
    table: Section,
    strings: Section,
    variables: dict[TlsVariable, None],
    functions: dict[tuple[str, int], Function],
    imports: set[str],
) -> None:
    header = read_header(source)
    data = source.read(table.offset, table.size)
    text = source.read(strings.offset, strings.size)
    exported = table.type == SHT_DYNSYM
    # On ARM the low bit of an address marks Thumb code (ELF for the Arm Architecture, 5.5.3).
    thumb = 1 if header.e_machine == EM_ARM else 0
    length = 0
    for name, info, section, value, size in header.format.sym.rows(data, "name", "info", "shndx", "value", "size"):
        kind = info & 0xF
        if not name or kind not in (STT_NOTYPE, STT_FUNC, STT_TLS, STT_GNU_IFUNC):
            continue
        if length > MAX_NAMES:
            break
        word = text[name : name + MAX_NAME].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        length += len(word)
        if section == SHN_UNDEF:
            imports.add(word)
        elif kind == STT_TLS:
            if info >> 4 != STB_LOCAL or size:
                variables[TlsVariable(word, value, size)] = None
        elif kind != STT_NOTYPE and word:
            functions.setdefault((word, value & ~thumb), Function(word, value & ~thumb, size, exported))
