"""The code of a file by virtual address: the bytes of its executable segments."""

from __future__ import annotations

from tls_wheel_guard.elf.constants import DT_PLTGOT, PT_LOAD
from tls_wheel_guard.elf.headers import LoaderView, Segment, dynamic_of
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.records import dataclass

__all__ = ["Code", "CodePlaces", "Piece", "Place", "code_places", "read_code"]

MAX_CODE = 512 << 20
"""Most bytes of code that are held in memory."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One executable segment: its virtual address and its bytes in the file."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True)
class Place:
    """The same without its bytes: its virtual address, its offset in the file and its size there."""

    address: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class CodePlaces:
    """Where the code of a file lies, in the file's order; it is read a window at a time. Fields as in :class:`Code`."""

    machine: str
    places: tuple[Place, ...]
    source: Source
    got: int = 0


@dataclass(frozen=True, slots=True)
class Code:
    """All code of a file. ``machine``: the name of platforms.py. ``segments``: all program headers.

    ``got``: DT_PLTGOT, from which i386 counts, 0 where there is none.
    """

    machine: str
    pieces: tuple[Piece, ...]
    segments: tuple[Segment, ...]
    source: Source
    got: int = 0

    def at(self, address: int, length: int) -> bytes:
        """Up to ``length`` bytes of code at an address; empty where there is no code."""
        for piece in self.pieces:
            if piece.address <= address < piece.end:
                start = address - piece.address
                return piece.data[start : start + max(length, 0)]
        return b""

    def loaded(self, address: int, length: int) -> bytes:
        """The bytes that the file has for an address in any segment; empty where it has none."""
        for s in self.segments:
            if s.type == PT_LOAD and s.vaddr <= address and address + length <= s.vaddr + s.filesz:
                try:
                    return self.source.read(s.offset + address - s.vaddr, length)
                except MalformedElf:
                    return b""
        return b""


def read_code(source: Source, machine: str, most: int = MAX_CODE) -> Code:
    """The code of a file; raises MalformedElf where it lies outside the file or is too large."""
    view = dynamic_of(source)
    pieces = tuple(Piece(s.vaddr, source.read(s.offset, s.filesz)) for s in _executable(view, most))
    return Code(machine, pieces, tuple(view.segments), source, view.dynamic.get(DT_PLTGOT))


def code_places(source: Source, view: LoaderView, machine: str, most: int) -> CodePlaces:
    """Where the code of a file lies; raises MalformedElf where it lies outside the file or is larger than ``most``."""
    found = sorted((Place(s.vaddr, s.offset, s.filesz) for s in _executable(view, most)), key=lambda place: place.offset)
    for place in found:
        if place.offset + place.size > source.size:
            raise MalformedElf(f"code up to byte {place.offset + place.size} of a file of {source.size} bytes")
    return CodePlaces(machine, tuple(found), source, view.dynamic.get(DT_PLTGOT))


def _executable(view: LoaderView, most: int) -> list[Segment]:
    found = [s for s in view.segments if s.is_code and s.filesz]
    if sum(s.filesz for s in found) > most:
        raise MalformedElf(f"more than {most} bytes of code")
    return found
