"""Whether the beginning of a shared object shows that it asks for no static TLS, without its dynamic segment.

A compressed member can be read from its start only, and the dynamic segment that names the relocation tables stands at 77 to 99 % of
a file. The tables themselves stand before the code in what linkers write, behind the symbols and their names. So the bytes from the
program headers on are searched for relocation records by their form, up to 4 KB behind the last one: linkers put all of a file's
tables next to each other.

The answer is *clear* only where nothing else can be: a layout that linkers (GNU ld, gold, lld, mold) write or that patchelf leaves of it,
a table with records beside those of the procedure linkage table, and no record with a TLS type that asks a loader for static room.
Everything else is *asks* or *unknown*, and then the whole member is read. A false *asks* costs bytes; there is no false
*clear* for the layouts of these linkers (tests/ground_truth/test_screening.py builds them).
"""

from __future__ import annotations

import itertools
import re
from typing import Literal

from tls_wheel_guard.elf.constants import EM_AARCH64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_LOAD, PT_TLS
from tls_wheel_guard.elf.headers import Header, Segment, read_header, read_segments
from tls_wheel_guard.elf.record_search import MACHINES, RecordSearch
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.elf.shared_object import TlsSegment
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.records import dataclass

__all__ = ["Screener", "Screening", "screen"]

Answer = Literal["clear", "asks", "unknown"]

STEP = 64 << 10
"""Bytes that are read at a time: what is not read is not inflated, and over a network not fetched."""
FILLED = (b"Z" * 24, b"X" * 24)
"""What patchelf writes over a section that it has moved."""
MOST = 128 << 20
"""Bytes of a file's beginning that are held for it; the largest tables of 2,000 real modules end at 50 MB."""
MARKER = b"GLIBC_ABI_GNU"
"""The beginning of marker versions' names."""
LIBRARY = re.compile(rb"(?<=\x00)[^\x00/]{0,200}\.so[^\x00/]{0,50}(?=\x00)")
"""A library's name in a table of names, which may be the end of a longer one. Every module needs the C library."""
MOST_LIBRARIES = 200


@dataclass(frozen=True, slots=True)
class Screening:
    """An answer, why, and how many bytes of the file's beginning were read for it.

    ``tls``: whether it has a TLS segment or any TLS relocation. ``descriptors``: whether a clear object has TLS descriptors, which some
    loaders refuse; ``segment``: the TLS segment that they reach, which glibc may place into the static block.
    ``libraries``: names of which DT_NEEDED can only hold some, or ends of some; none where the table of names is not in the beginning.
    ``unmarked``: whether it surely needs no marker version of libc.so.6.
    """

    answer: Answer
    why: str
    read: int
    tls: bool = True
    descriptors: bool = False
    segment: TlsSegment | None = None
    libraries: tuple[str, ...] = ()
    unmarked: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where records may stand: file offsets ``start`` to ``end``; ``likely``: where the tables end if the code has a segment of its own.

    ``writable``: addresses from and to; ``loaded``: the address behind all.
    """

    start: int
    end: int
    likely: int | None
    writable: tuple[tuple[int, int], ...]
    loaded: int


def _layout(header: Header, segments: list[Segment]) -> _Layout | str:
    """The layout that a linker gave the file, or why it is none that is known."""
    loads = [s for s in segments if s.type == PT_LOAD]
    if not loads or loads[0].offset or [s.vaddr for s in loads] != sorted(s.vaddr for s in loads):
        return "its first segment does not begin with the file"
    if header.phoff != 16 + header.format.ehdr.size:
        return "its program headers were moved"
    if any((s.vaddr - s.offset) % (s.align or 1) for s in loads) or any(a.offset + a.filesz > b.offset for a, b in itertools.pairwise(loads)):
        return "its segments contradict each other"
    if not any(s.type == PT_DYNAMIC for s in segments):
        return "it has no dynamic segment"
    code = [place for place, s in enumerate(loads) if s.flags & PF_X]
    if len(code) != 1 or code[0] > 1:
        return "its code is not in one segment near the start"
    writable = tuple((s.vaddr, s.vaddr + s.memsz) for s in loads if s.flags & PF_W)
    if not writable or any(s.flags & PF_X and s.flags & PF_W for s in loads):
        return "it has no writable segment, or writable code"
    first, loaded = loads[code[0]], max(s.vaddr + s.memsz for s in loads)
    start = header.phoff + header.phnum * header.phentsize
    if code[0] == 0:
        return _Layout(start, first.offset + first.filesz, None, writable, loaded)
    # GNU ld and gold put what is only read and no table behind the code; lld and mold put it between the tables and the code.
    behind = any(not s.flags & (PF_W | PF_X) for s in loads[2:])
    return _Layout(start, first.offset, loads[0].filesz if behind else None, writable, loaded)


class Screener:
    """One screening, whose bytes come in pieces that follow each other from ``at`` on.

    ``answer``: None as long as more bytes are wanted, at most up to ``end``. ``likely``: the file offset where the tables probably end.
    """

    def __init__(self, header: Header, segments: list[Segment]) -> None:
        self.answer: Screening | None = None
        self.at = self.end = header.phoff + header.phnum * header.phentsize
        self.likely: int | None = None
        kinds = MACHINES.get(header.e_machine)
        layout = _layout(header, segments) if kinds is not None else ""
        if header.e_type == ET_EXEC:
            self.answer = Screening("clear", "a program is no module", self.at, tls=False)
        elif kinds is None or header.e_type != ET_DYN or header.format.little_endian != kinds.little or header.format.word_size != kinds.word:
            self.answer = Screening("unknown", "its machine or its type is read whole", self.at)
        elif isinstance(layout, str):
            self.answer = Screening("unknown", layout, self.at)
        else:
            self._machine, self._tls = header.e_machine, {number: kind for number, (kind, _) in TLS_RELOCS[header.e_machine].items()}
            self._segment = next((s for s in segments if s.type == PT_TLS and s.memsz), None)
            base = -(-layout.start // kinds.word) * kinds.word
            self._search = RecordSearch(kinds, header.format, base, layout.writable, layout.loaded, frozenset(self._tls))
            self.at, self.end, self.likely = base, layout.end, layout.likely
            if base >= layout.end:
                self.answer = self._judge()

    def feed(self, piece: bytes) -> None:
        """The next bytes, none behind ``end``; sets ``answer`` once they suffice."""
        self._search.feed(piece)
        self.at += len(piece)
        if self._search.settled or self.at >= self.end or "TPOFF" in self._kinds():
            self.answer = self._judge()
        elif self.at > MOST:
            self.answer = Screening("unknown", "its relocation tables end too far behind its start", self.at)

    def _kinds(self) -> set[str]:
        return {self._tls[number] for number in self._search.types if number in self._tls}

    def _judge(self) -> Screening:
        found, kinds = self._search, self._kinds()
        if "TPOFF" in kinds:
            return Screening("asks", "a relocation asks for static TLS", self.at)
        if found.end is None:
            return Screening("unknown", "no relocation table was found before its code", self.at)
        if not found.has_table:
            return Screening("unknown", "its only table is that of the PLT", self.at)
        if b"APS2" in found.data or found.data[found.end :][:24] in FILLED:
            return Screening("unknown", "a table is packed, or was moved by patchelf", self.at)
        if self._segment is not None and not kinds and self._machine == EM_AARCH64:
            return Screening("unknown", "it has a TLS segment and no relocation that reaches it", self.at)
        tls, why = self._segment is not None or bool(kinds), "its relocation tables ask for no static TLS"
        s = self._segment if "TLSDESC" in kinds else None
        segment = TlsSegment(s.vaddr, s.offset, s.filesz, s.memsz, s.align) if s is not None else None
        before = bytes(found.data[: found.end])
        names = {hit[0].decode("ascii", "backslashreplace") for hit in LIBRARY.finditer(before)}
        libraries = tuple(sorted(names)) if len(names) <= MOST_LIBRARIES and any(name.startswith(("libc.", "ld-")) for name in names) else ()
        return Screening("clear", why, self.at, tls, "TLSDESC" in kinds, segment, libraries, bool(libraries) and MARKER not in before)


def screen(source: Source) -> Screening:
    """What the beginning of an ELF file shows; raises MalformedElf where there is no header, or what ``source`` raises."""
    header = read_header(source)
    screener = Screener(header, read_segments(source, header))
    while screener.answer is None:
        screener.feed(source.read(screener.at, min(STEP, screener.end - screener.at)))
    return screener.answer
