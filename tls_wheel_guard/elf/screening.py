"""Whether the beginning of a shared object shows that it asks for no static TLS, without its dynamic segment.

A compressed member can be read from its start only, and the dynamic segment that names the relocation tables stands at 77 to 99 % of
a file. The tables themselves stand before the code in what linkers write. So the bytes from the program headers to the first
code are searched for relocation records by their form: 24 bytes, a type that the machine's psABI knows, and a place in a
writable segment.

The answer is *clear* only where nothing else can be: a layout that linkers (GNU ld, gold, lld, mold) write or that patchelf leaves of it,
one unbroken run of records that holds both tables, and no record with a TLS type that asks a loader for static room or for a
descriptor. Everything else is *asks* or *unknown*, and then the whole member is read. A false *asks* costs bytes; there is no false
*clear* for the layouts of these linkers (tests/ground_truth/test_screening.py builds them).
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import Literal

from tls_wheel_guard.elf.constants import EM_AARCH64, EM_PPC64, EM_RISCV, EM_X86_64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_LOAD, PT_TLS
from tls_wheel_guard.elf.headers import Header, Segment, read_header, read_segments
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.records import dataclass

__all__ = ["Screening", "screen"]

Answer = Literal["clear", "asks", "unknown"]

BLOCK = 4096
"""Records that are looked at together."""
RELA = 24
"""Bytes of an Elf64_Rela: r_offset, r_info, r_addend."""
STEP = 64 << 10
"""Bytes that are read at a time: what is not read is not inflated, and over a network not fetched."""
FILLED = (b"Z" * RELA, b"X" * RELA)
"""What patchelf writes over a section that it has moved."""
BEHIND = 4096
"""Bytes behind the last record that are searched where code follows in the same segment, as GNU ld and gold lay it out without
separate code."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """Relocation types of a machine: ``plain`` stand in .rela.dyn only, ``lazy`` in .rela.plt too (psABI)."""

    plain: frozenset[int]
    lazy: frozenset[int]


_MACHINES = {
    # R_X86_64_64, GLOB_DAT, RELATIVE, COPY | JUMP_SLOT, IRELATIVE
    EM_X86_64: _Machine(frozenset({1, 5, 6, 8}), frozenset({7, 37})),
    # R_AARCH64_ABS64, COPY, GLOB_DAT, RELATIVE | JUMP_SLOT, IRELATIVE
    EM_AARCH64: _Machine(frozenset({257, 1024, 1025, 1027}), frozenset({1026, 1032})),
    # R_RISCV_64, RELATIVE, COPY | JUMP_SLOT, IRELATIVE
    EM_RISCV: _Machine(frozenset({2, 3, 4}), frozenset({5, 58})),
    # R_PPC64_ADDR64, COPY, GLOB_DAT, RELATIVE | JMP_SLOT, IRELATIVE
    EM_PPC64: _Machine(frozenset({38, 19, 20, 22}), frozenset({21, 248})),
}
"""e_machine -> its table. Others are read whole: they are few."""


@dataclass(frozen=True, slots=True)
class Screening:
    """An answer, why, and how many bytes of the file's beginning were read for it.

    ``descriptors``: whether a clear object has TLS descriptors, which some loaders refuse; ``block``: bytes of the TLS segment that they
    reach, which glibc may place into the static block.
    """

    answer: Answer
    why: str
    read: int
    descriptors: bool = False
    block: int = 0


def screen(source: Source) -> Screening:
    """What the beginning of an ELF file shows; raises MalformedElf where there is no header, or what ``source`` raises."""
    header = read_header(source)
    segments = read_segments(source, header)
    kinds = _MACHINES.get(header.e_machine)
    read = header.phoff + header.phnum * header.phentsize
    if header.e_type == ET_EXEC:
        return Screening("clear", "a program is no module", read)
    if kinds is None or header.format.bits != 64 or not header.format.little_endian or header.e_type != ET_DYN:
        return Screening("unknown", "its machine or its type is read whole", read)
    layout = _layout(header, segments)
    if isinstance(layout, str):
        return Screening("unknown", layout, read)
    segment = next((s for s in segments if s.type == PT_TLS and s.memsz), None)
    return _Search(source, layout, header.e_machine, segment).answer(read)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where records may stand: file offsets ``start`` to ``end``; ``mixed`` where code may follow before ``end``. ``writable``: addresses."""

    start: int
    end: int
    mixed: bool
    writable: tuple[tuple[int, int], ...]


def _layout(header: Header, segments: list[Segment]) -> _Layout | str:
    """The layout that a linker gave the file, or why it is none that is known."""
    loads = [s for s in segments if s.type == PT_LOAD]
    if not loads or loads[0].offset or [s.vaddr for s in loads] != sorted(s.vaddr for s in loads):
        return "its first segment does not begin with the file"
    if header.phoff != 64:
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
    first = loads[code[0]]
    start = header.phoff + header.phnum * header.phentsize
    return _Layout(start, first.offset + first.filesz if code[0] == 0 else first.offset, code[0] == 0, writable)


class _Search:
    """One search for records, in words of 8 bytes from the end of the program headers on."""

    def __init__(self, source: Source, layout: _Layout, e_machine: int, segment: Segment | None) -> None:
        self._source, self._layout, self._kinds, self._segment = source, layout, _MACHINES[e_machine], segment
        self._may_hide_local_exec = e_machine == EM_AARCH64
        self._tls: dict[int, str] = {number: kind for number, (kind, _) in TLS_RELOCS[e_machine].items()}
        self._known = self._kinds.plain | self._kinds.lazy | frozenset(self._tls)
        self._base = -(-layout.start // 8) * 8
        self._data = bytearray()
        self._runs: list[tuple[int, int]] = []
        """Runs of records: indexes of words, from and to."""
        self._types: set[int] = set()

    def answer(self, read: int) -> Screening:
        """Read on until the tables have ended."""
        end, at = self._layout.end, 0
        while self._base + len(self._data) < end:
            here = self._base + len(self._data)
            self._data += self._source.read(here, min(STEP, end - here))
            at = self._grow(at)
            behind = len(self._data) - 8 * self._runs[-1][1] if self._runs else 0
            if self._layout.mixed and behind >= BEHIND:
                break
        return self._judge(max(read, self._base + len(self._data)))

    def _grow(self, at: int) -> int:
        """Follow runs from word ``at`` on, as far as there are data; where to go on."""
        whole = len(self._data) // 8
        with memoryview(self._data)[: 8 * whole].cast("Q") as words:
            while at + 3 <= whole:
                end = self._end_of_run(words, at, whole)
                if end > at:
                    if self._runs and self._runs[-1][1] == at:
                        self._runs[-1] = (self._runs[-1][0], end)
                    else:
                        self._runs.append((at, end))
                    if end + 3 > whole:
                        return end
                    at = end
                found = self._next(at, whole)
                if found is None:
                    return max(at, whole - 2)
                at = found
        return at

    def _next(self, at: int, whole: int) -> int | None:
        """The next word from ``at`` on where a record may begin."""
        for match in self._pattern.finditer(self._data, 8 * at + 8, 8 * whole):
            place = match.start() - 8
            if place % 8 == 0 and self._in_writable(int.from_bytes(self._data[place : place + 8], "little")):
                return place // 8
        return None

    @functools.cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        """r_info of a known type, with a symbol's index below 2**24."""
        types = b"|".join(re.escape(number.to_bytes(4, "little")) for number in sorted(self._known))
        return re.compile(b"(?=(?:" + types + b")...\\x00)", re.DOTALL)

    def _in_writable(self, address: int) -> bool:
        return any(low <= address < high for low, high in self._layout.writable)

    def _is_record(self, place: int, info: int) -> bool:
        return info & 0xFFFFFFFF in self._known and info < 1 << 56 and self._in_writable(place)

    def _end_of_run(self, words: memoryview, at: int, whole: int) -> int:
        """The word behind the last of the records that follow each other from ``at`` on."""
        low, high = min(low for low, _ in self._layout.writable), max(high for _, high in self._layout.writable)
        while (count := min((whole - at) // 3, BLOCK)) > 0:
            places, infos = words[at : at + 3 * count : 3], set(words[at + 1 : at + 3 * count : 3])
            types = {info & 0xFFFFFFFF for info in infos}
            if types <= self._known and max(infos) < 1 << 56 and low <= min(places) and max(places) < high:
                self._types |= types
                at += 3 * count
                continue
            while at + 3 <= whole and self._is_record(words[at], words[at + 1]):
                self._types.add(words[at + 1] & 0xFFFFFFFF)
                at += 3
            break
        return at

    def _judge(self, read: int) -> Screening:
        if not self._runs:
            return Screening("unknown", "no relocation table was found before its code", read)
        kinds = self._tls_kinds()
        if "TPOFF" in kinds:
            return Screening("asks", "a relocation asks for static TLS", read)
        if not self._types & self._kinds.plain:
            return Screening("unknown", "its only table is that of the PLT", read)
        if b"APS2" in self._data or self._data[8 * self._runs[-1][1] :][:RELA] in FILLED:
            return Screening("unknown", "a table is packed, or was moved by patchelf", read)
        if self._segment is not None and not kinds and self._may_hide_local_exec:
            return Screening("unknown", "it has a TLS segment and no relocation that reaches it", read)
        block = self._segment.memsz if self._segment is not None and "TLSDESC" in kinds else 0
        return Screening("clear", "its relocation tables ask for no static TLS", read, "TLSDESC" in kinds, block)

    def _tls_kinds(self) -> set[str]:
        """Kinds of all TLS records, wherever one may stand: at any multiple of 8."""
        found = set()
        for number, kind in self._tls.items():
            for match in re.finditer(re.escape(number.to_bytes(4, "little")) + rb"(?=...\x00)", self._data, re.DOTALL):
                place = match.start() - 8
                if place >= 0 and place % 8 == 0 and self._in_writable(int.from_bytes(self._data[place : place + 8], "little")):
                    found.add(kind)
                    break
        return found
