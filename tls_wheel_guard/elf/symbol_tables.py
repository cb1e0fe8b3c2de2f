"""Names of functions and thread-local variables, from .symtab and .dynsym, found by section headers."""

from __future__ import annotations

from tls_wheel_guard.elf.constants import EM_ARM, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_TLS
from tls_wheel_guard.elf.headers import read_header
from tls_wheel_guard.elf.section_headers import Section
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.records import dataclass

__all__ = ["Function", "Names", "TlsVariable", "read_names"]

MAX_TABLE, MAX_STRINGS = 64 << 20, 512 << 20
"""Bytes of one symbol table, and of its strings."""
MAX_NAME = 512
"""Bytes of a name that are kept."""
MAX_NAMES = 256 << 20
"""Characters of all names of one table that are kept; what stands behind them is left out."""


@dataclass(frozen=True, slots=True)
class TlsVariable:
    """A thread-local variable that the file defines: its place in the TLS segment and its size, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the file defines. ``start``: virtual address; ``size`` in bytes, 0 where the symbol has none."""

    name: str
    start: int
    size: int
    exported: bool


@dataclass(frozen=True, slots=True)
class Names:
    """All that symbol tables say. ``whole``: there is a .symtab, so a variable without a name here has none in the file."""

    variables: tuple[TlsVariable, ...] = ()
    functions: tuple[Function, ...] = ()
    imports: frozenset[str] = frozenset()
    whole: bool = False


def read_names(source: Source, sections: tuple[Section, ...]) -> Names:
    """The names in both symbol tables; tables that contradict the file are left out."""
    variables: dict[TlsVariable, None] = {}
    functions: dict[tuple[str, int], Function] = {}
    imports: set[str] = set()
    whole = False
    for section in sections:
        if section.type not in (SHT_DYNSYM, SHT_SYMTAB) or not 0 < section.link < len(sections):
            continue
        try:
            _read_table(source, section, sections[section.link], variables, functions, imports)
        except MalformedElf:
            continue
        whole = whole or section.type == SHT_SYMTAB
    return Names(tuple(variables), tuple(functions.values()), frozenset(imports), whole)


def _read_table(
    source: Source,
    table: Section,
    strings: Section,
    variables: dict[TlsVariable, None],
    functions: dict[tuple[str, int], Function],
    imports: set[str],
) -> None:
    if table.size > MAX_TABLE or strings.size > MAX_STRINGS:
        return
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
