"""How ELF's structures are laid out: class x byte order, four rows of ready structs. gABI chapters 4 and 5; the fields have its names."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from tls_wheel_guard.elf.constants import EM_SPARCV9
from tls_wheel_guard.records import dataclass

__all__ = ["FORMATS", "ElfFormat", "Layout"]


class Layout:
    """One structure: ``size`` in bytes, and its fields by name."""

    def __init__(self, order: str, fields: str) -> None:
        pairs = [field.split(":") for field in fields.split()]
        self.names = tuple(name for name, _ in pairs)
        self.struct = struct.Struct(order + "".join(letter for _, letter in pairs))
        self.size = self.struct.size
        self._pickers: dict[tuple[str, ...], Any] = {}

    def _pick(self, names: tuple[str, ...]) -> Any:
        """A function that takes the named fields out of an unpacked structure, as a tuple in this order."""
        if names not in self._pickers:
            self._pickers[names] = itemgetter(*(self.names.index(name) for name in names))
        return self._pickers[names]

    def rows(self, data: bytes | memoryview, *names: str) -> Iterator[tuple[int, ...]]:
        """The named fields, two or more, of each structure in ``data``; a last part of one is left out."""
        return map(self._pick(names), self.struct.iter_unpack(data[: len(data) // self.size * self.size]))

    def row(self, data: bytes | memoryview, *names: str, at: int = 0) -> tuple[int, ...]:
        """The named fields, two or more, of the structure at byte ``at``; raises struct.error where ``data`` ends before."""
        found: tuple[int, ...] = self._pick(names)(self.struct.unpack_from(data, at))
        return found


@dataclass(frozen=True, slots=True)
class ElfFormat:
    """Class and byte order: how numbers and structures are laid out in the file. ``order`` and ``word`` are letters of ``struct``.

    ``word_size``: bytes in an address. The ELF header's layout begins behind the 16 bytes of e_ident.
    """

    bits: int
    little_endian: bool
    order: str
    word: str
    word_size: int
    ehdr: Layout
    phdr: Layout
    shdr: Layout
    sym: Layout
    dyn: Layout
    rel: Layout
    rela: Layout

    @property
    def symbol_shift(self) -> int:
        """How far the symbol index is shifted in an r_info word; what is below it is the type."""
        return 32 if self.bits == 64 else 8

    def type_mask(self, e_machine: int) -> int:
        """The bits of an r_info word that are the relocation's type. sparc64 keeps data above its low byte (SPARC psABI: ELF64_R_TYPE_ID)."""
        return 0xFF if self.bits == 32 or e_machine == EM_SPARCV9 else 0xFFFFFFFF


def _format(bits: int, little_endian: bool) -> ElfFormat:
    order, word = "<" if little_endian else ">", "Q" if bits == 64 else "I"
    wide = bits == 64

    def layout(fields: str) -> Layout:
        return Layout(order, fields.replace(":w", f":{word}"))

    return ElfFormat(
        bits,
        little_endian,
        order,
        word,
        bits // 8,
        ehdr=layout("type:H machine:H version:I entry:w phoff:w shoff:w flags:I ehsize:H phentsize:H phnum:H shentsize:H shnum:H shstrndx:H"),
        phdr=layout(
            "type:I flags:I offset:Q vaddr:Q paddr:Q filesz:Q memsz:Q align:Q"
            if wide
            else "type:I offset:I vaddr:I paddr:I filesz:I memsz:I flags:I align:I"
        ),
        shdr=layout("name:I type:I flags:w addr:w offset:w size:w link:I info:I addralign:w entsize:w"),
        sym=layout("name:I info:B other:B shndx:H value:Q size:Q" if wide else "name:I value:I size:I info:B other:B shndx:H"),
        dyn=layout("tag:w val:w"),
        rel=layout("offset:w info:w"),
        rela=layout(f"offset:w info:w addend:{word.lower()}"),
    )


FORMATS = {(bits, little_endian): _format(bits, little_endian) for bits in (64, 32) for little_endian in (True, False)}
"""(bits, little-endian) -> the format."""
