"""What the words of a file's GOT hold once it is loaded: TLS descriptors, and functions by name. For x86-64, by its dynamic relocations."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.elf.constants import DT_JMPREL, DT_PLTRELSZ, DT_RELA, DT_RELASZ, DT_STRTAB, DT_SYMTAB, EM_X86_64
from tls_wheel_guard.elf.headers import LoaderView, dynamic_of
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over
from tls_wheel_guard.records import dataclass

__all__ = ["GotEntries", "read_got_entries"]

GLOB_DAT, JUMP_SLOT, DESCRIPTOR = 6, 7, 36
"""R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, R_X86_64_TLSDESC."""
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class GotEntries:
    """``descriptors``: addresses of the descriptors; ``own``: of those whose variable this file defines.

    ``functions``: address of a word -> (address in this file or None, name).
    """

    descriptors: tuple[int, ...] = ()
    own: frozenset[int] = frozenset()
    functions: tuple[tuple[int, tuple[int | None, str]], ...] = ()


def read_got_entries(source: Source, limits: Limits = DEFAULT_LIMITS) -> GotEntries:
    """The descriptors and functions of an x86-64 file that is held in memory; raises MalformedElf."""
    view = dynamic_of(source, limits)
    descriptors: dict[int, int] = {}
    functions: dict[int, int] = {}
    for number, (offset, kind, symbol) in enumerate(_entries(source, view)):
        if number > limits.relocations:
            raise MalformedElf(f"{number} or more dynamic relocations; {over(limits, 'relocations')}")
        if kind == DESCRIPTOR:
            descriptors[offset] = symbol
        elif symbol:
            functions[offset] = symbol
    named = {symbol: _symbol(source, view, symbol) for symbol in sorted({*functions.values(), *descriptors.values()} - {0})}
    own = frozenset(slot for slot, symbol in descriptors.items() if not symbol or named[symbol][0] is not None)
    return GotEntries(tuple(sorted(descriptors)), own, tuple((slot, named[symbol]) for slot, symbol in sorted(functions.items())))


def _entries(source: Source, view: LoaderView) -> Iterator[tuple[int, int, int]]:
    """(address, number, symbol's index) of each entry of DT_RELA and DT_JMPREL that counts here."""
    fmt, dynamic = view.header.format, view.dynamic
    shift, mask = fmt.symbol_shift, fmt.type_mask(EM_X86_64)
    for tag, size_tag in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        if size := dynamic.get(size_tag):
            data = source.read(view.image.offset_of(dynamic.get(tag), size, "a relocation table"), size)
            for offset, info in fmt.rela.rows(data, "offset", "info"):
                if info & mask in (GLOB_DAT, JUMP_SLOT, DESCRIPTOR):
                    yield offset, info & mask, info >> shift


def _symbol(source: Source, view: LoaderView, index: int) -> tuple[int | None, str]:
    """(address of what this file defines, or None; name) of a dynamic symbol."""
    layout, dynamic = view.header.format.sym, view.dynamic
    at = view.image.offset_of(dynamic.get(DT_SYMTAB) + index * layout.size, layout.size, f"symbol {index}")
    name, value, section = layout.row(source.read(at, layout.size), "name", "value", "shndx")
    place = view.image.offset_of(dynamic.get(DT_STRTAB) + name, 1, "a symbol's name")
    text = source.read(place, min(MAX_NAME, source.size - place)).split(b"\0", 1)[0]
    return (value if section else None), text.decode("utf-8", "backslashreplace")
