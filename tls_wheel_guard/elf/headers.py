"""The fixed parts of ELF: header, program headers, dynamic segment. gABI chapters 4 and 5."""

from __future__ import annotations

import bisect
import itertools

from tls_wheel_guard.elf.constants import DT_NEEDED, DT_NULL, MAGIC, PF_X, PN_XNUM, PT_DYNAMIC, PT_LOAD
from tls_wheel_guard.elf.formats import FORMATS, ElfFormat
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over
from tls_wheel_guard.records import dataclass, field

__all__ = [
    "Dynamic",
    "ElfFormat",
    "Header",
    "Image",
    "LoaderView",
    "Segment",
    "dynamic_of",
    "dynamic_segment",
    "read_dynamic",
    "read_header",
    "read_segments",
]

MAX_OVERLAPPING = 64
"""Loaded segments that may share addresses: each lookup then goes through all of them."""


@dataclass(frozen=True, slots=True)
class Header:
    """The ELF header. ``phoff`` and ``shoff`` are file offsets; ``phnum`` is the true count, PN_XNUM resolved."""

    format: ElfFormat
    osabi: int
    e_type: int
    e_machine: int
    phoff: int
    phnum: int
    phentsize: int
    shoff: int
    shnum: int
    shentsize: int
    shstrndx: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header; ``offset`` is a file offset, ``vaddr`` a virtual address, sizes in bytes."""

    type: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int
    flags: int = 0

    @property
    def is_code(self) -> bool:
        """Whether it is loaded as code: PT_LOAD with PF_X."""
        return self.type == PT_LOAD and bool(self.flags & PF_X)


def read_header(source: Source, limits: Limits = DEFAULT_LIMITS) -> Header:
    """The ELF header of a file; raises MalformedElf where it is none."""
    ident = source.read(0, 16)
    if ident[:4] != MAGIC:
        raise MalformedElf("no ELF magic")
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise MalformedElf(f"unknown ELF class {ident[4]} or byte order {ident[5]}")
    fmt = FORMATS[64 if ident[4] == 2 else 32, ident[5] == 1]
    fields = fmt.ehdr.struct.unpack(source.read(16, fmt.ehdr.size))
    (e_type, e_machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx) = fields
    if phnum == PN_XNUM:
        # gABI: the true count then stands in sh_info of section 0.
        phnum, _ = fmt.shdr.row(source.read(shoff, fmt.shdr.size), "info", "link")
    if phnum > limits.segments:
        raise MalformedElf(f"{phnum} program headers; {over(limits, 'segments')}")
    return Header(fmt, ident[7], e_type, e_machine, phoff, phnum, phentsize, shoff, shnum, shentsize, shstrndx)


def read_segments(source: Source, header: Header) -> list[Segment]:
    """All program headers, in file order."""
    if header.phnum == 0:
        return []
    layout = header.format.phdr
    if header.phentsize != layout.size:
        raise MalformedElf(f"program headers of {header.phentsize} bytes; they must have {layout.size}")
    data = source.read(header.phoff, layout.size * header.phnum)
    return [Segment(*row) for row in layout.rows(data, "type", "offset", "vaddr", "filesz", "memsz", "align", "flags")]


class Image:
    """Where virtual addresses stand in the file: the PT_LOAD segments."""

    def __init__(self, segments: list[Segment]) -> None:
        self._loads = [s for s in segments if s.type == PT_LOAD and s.filesz]
        ordered = sorted(self._loads, key=lambda s: s.vaddr)
        self._starts = [s.vaddr for s in ordered]
        if any(a.vaddr + a.filesz > b.vaddr for a, b in itertools.pairwise(ordered)):
            # No real file has overlapping segments; the first in the file's order counts.
            if len(ordered) > MAX_OVERLAPPING:
                raise MalformedElf(f"{len(ordered)} loaded segments that overlap; more than {MAX_OVERLAPPING} such are not read")
            self._starts = []
        else:
            self._loads = ordered

    def offset_of(self, vaddr: int, length: int, what: str) -> int:
        """The file offset of ``length`` bytes at ``vaddr``; raises MalformedElf where no segment has them."""
        place = bisect.bisect_right(self._starts, vaddr)
        for load in self._loads[max(0, place - 1) : place] if self._starts else self._loads:
            if load.vaddr <= vaddr and vaddr + length <= load.vaddr + load.filesz:
                return vaddr - load.vaddr + load.offset
        raise MalformedElf(f"{what} at address {vaddr:#x}, {length} bytes, is in no loaded segment")


@dataclass(slots=True)
class Dynamic:
    """The entries of a dynamic segment: the last value of each tag, and all of DT_NEEDED (string offsets)."""

    values: dict[int, int] = field(default_factory=dict)
    needed: list[int] = field(default_factory=list)

    def get(self, tag: int) -> int:
        """The value of a tag, 0 where it is absent."""
        return self.values.get(tag, 0)


def dynamic_segment(segments: list[Segment]) -> Segment | None:
    """The first PT_DYNAMIC, None where there is none."""
    return next((s for s in segments if s.type == PT_DYNAMIC), None)


def read_dynamic(source: Source, fmt: ElfFormat, segment: Segment, limits: Limits = DEFAULT_LIMITS) -> Dynamic:
    """The entries of PT_DYNAMIC up to DT_NULL."""
    if segment.filesz > limits.dynamic_size:
        raise MalformedElf(f"a dynamic segment of {segment.filesz} bytes; {over(limits, 'dynamic-size')}")
    data = source.read(segment.offset, segment.filesz // fmt.dyn.size * fmt.dyn.size)
    found = Dynamic()
    for tag, value in fmt.dyn.rows(data, "tag", "val"):
        if tag == DT_NULL:
            break
        if tag == DT_NEEDED:
            found.needed.append(value)
        else:
            found.values[tag] = value
    if len(found.needed) > limits.needed:
        raise MalformedElf(f"{len(found.needed)} DT_NEEDED entries; {over(limits, 'needed')}")
    return found


@dataclass(frozen=True, slots=True)
class LoaderView:
    """What a loader reads first: the header, all program headers, the mapping of addresses, the dynamic segment's entries.

    ``dynamic`` is empty where there is no such segment.
    """

    header: Header
    segments: list[Segment]
    image: Image
    dynamic: Dynamic


def dynamic_of(source: Source, limits: Limits = DEFAULT_LIMITS) -> LoaderView:
    """The dynamic segment's entries, with the headers that lead to them; raises MalformedElf."""
    header = read_header(source, limits)
    segments = read_segments(source, header)
    segment = dynamic_segment(segments)
    dynamic = read_dynamic(source, header.format, segment, limits) if segment is not None else Dynamic()
    return LoaderView(header, segments, Image(segments), dynamic)
