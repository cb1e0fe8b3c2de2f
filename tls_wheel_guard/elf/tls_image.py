"""Initial values as the loader finds them: words in the image, and those that a relocation fills with an address."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Iterator

from tls_wheel_guard.elf.constants import DT_REL, DT_RELA, DT_RELASZ, DT_RELR, DT_RELRSZ, DT_RELSZ, PF_W, PT_GNU_RELRO, PT_LOAD
from tls_wheel_guard.elf.headers import Image, dynamic_of, read_header, read_segments
from tls_wheel_guard.elf.shared_object import TlsSegment
from tls_wheel_guard.elf.source import Source, pieces
from tls_wheel_guard.errors import MalformedElf

__all__ = ["Words", "tls_pointers"]


MAX_POINTERS = 1 << 20
"""Places in one TLS image that get an address by DT_RELR; a table may name one place many times over."""


class Words:
    """The words of a file's image, by virtual address. The headers are read once for all of them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._image: Image | None = None
        try:
            header = read_header(source)
            self._size, self._order = header.format.word_size, header.format.little_endian
            self._image = Image(read_segments(source, header))
        except MalformedElf:
            pass

    def place(self, address: int) -> tuple[int, int]:
        """(offset in the file, size) of the word at a virtual address; raises MalformedElf."""
        if self._image is None:
            raise MalformedElf("a file without headers")
        return self._image.offset_of(address, self._size, "a word"), self._size

    def at(self, address: int) -> int | None:
        """The signed word at a virtual address, None where the file has no bytes for it."""
        try:
            data = self._source.read(*self.place(address))
        except MalformedElf:
            return None
        return int.from_bytes(data, "little" if self._order else "big", signed=True)


def tls_pointers(source: Source, segment: TlsSegment, wanted: Collection[int]) -> dict[int, bool]:
    """Those of some offsets in the TLS segment that get an address by a relocation -> whether it is one of read-only data.

    Read-only: in a segment that is not writable, or in the part that the loader protects once it has relocated it (PT_GNU_RELRO).
    """
    if not segment.filesz:
        return {}
    try:
        segments = read_segments(source, read_header(source))
        fixed = [(s.vaddr, s.vaddr + s.memsz) for s in segments if s.type == PT_GNU_RELRO or (s.type == PT_LOAD and not s.flags & PF_W)]
        targets: dict[int, int | None] = {}
        for place, addend in _relocations(source, segment.vaddr, segment.vaddr + segment.filesz):
            if place - segment.vaddr in wanted:
                targets.setdefault(place - segment.vaddr, addend)
        # In ascending order and once the tables are read: a member of a wheel is not started again for each word.
        words, found = Words(source), {}
        for offset, addend in sorted(targets.items()):
            target = addend if addend is not None else words.at(segment.vaddr + offset)
            found[offset] = target is not None and any(start <= target < end for start, end in fixed)
        return found
    except (MalformedElf, struct.error):
        return {}


def _relocations(source: Source, first: int, last: int) -> Iterator[tuple[int, int | None]]:
    """(place, addend; None where it stands in the place itself) of plain dynamic relocations and of DT_RELR's in an address range."""
    view = dynamic_of(source)
    fmt, image, dynamic = view.header.format, view.image, view.dynamic
    for tag, size_tag, layout in ((DT_RELA, DT_RELASZ, fmt.rela), (DT_REL, DT_RELSZ, fmt.rel)):
        if size := dynamic.get(size_tag):
            for table in pieces(source, image.offset_of(dynamic.get(tag), size, "a relocation table"), size, layout.size):
                for row in layout.rows(table, *layout.names):
                    if first <= row[0] < last:
                        yield row[0], row[2] if layout is fmt.rela else None
    if size := dynamic.get(DT_RELRSZ):
        table = source.read(image.offset_of(dynamic.get(DT_RELR), size, "a RELR table"), size // fmt.word_size * fmt.word_size)
        for place in itertools.islice(_relr_offsets(table, fmt.order + fmt.word, fmt.word_size, first, last), MAX_POINTERS):
            yield place, None


def _relr_offsets(table: bytes, layout: str, word: int, first: int, last: int) -> Iterator[int]:
    """DT_RELR: an even entry is an address, an odd one a bitmap of the words behind it (gABI, "Relative Relocation Table")."""
    where = 0
    for (entry,) in struct.iter_unpack(layout, table):
        if entry & 1 == 0:
            if first <= entry < last:
                yield entry
            where = entry + word
        else:
            if where < last and where + word * (8 * word - 1) > first:
                for bit in range(1, 8 * word):
                    if entry >> bit & 1 and first <= where + word * (bit - 1) < last:
                        yield where + word * (bit - 1)
            where += word * (8 * word - 1)
