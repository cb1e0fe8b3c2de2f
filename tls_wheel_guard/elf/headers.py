"""The fixed parts of ELF: header, program headers, dynamic segment. gABI chapters 4 and 5; glibc elf/elf.h for numbers."""

from __future__ import annotations

import bisect
import itertools
import struct
from dataclasses import dataclass, field

from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["ElfFormat", "Header", "Image", "Segment", "read_dynamic", "read_header", "read_segments"]

MAGIC = b"\x7fELF"
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_TLS = 1, 2, 3, 4, 7
PN_XNUM = 0xFFFF
SHT_NOBITS = 8

MAX_OVERLAPPING = 64
"""Loaded segments that may share addresses: each lookup then goes through all of them."""


@dataclass(frozen=True, slots=True)
class ElfFormat:
    """Class and byte order: how numbers are laid out in the file."""

    bits: int
    little_endian: bool

    @property
    def order(self) -> str:
        """The byte order mark of ``struct``."""
        return "<" if self.little_endian else ">"

    @property
    def word(self) -> str:
        """The letter of ``struct`` for an address."""
        return "Q" if self.bits == 64 else "I"

    @property
    def word_size(self) -> int:
        """Bytes in an address."""
        return self.bits // 8


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
        return self.type == PT_LOAD and bool(self.flags & 1)


def read_header(source: Source, limits: Limits = DEFAULT_LIMITS) -> Header:
    """The ELF header of a file; raises MalformedElf where it is none."""
    ident = source.read(0, 16)
    if ident[:4] != MAGIC:
        raise MalformedElf("no ELF magic")
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise MalformedElf(f"unknown ELF class {ident[4]} or byte order {ident[5]}")
    fmt = ElfFormat(64 if ident[4] == 2 else 32, ident[5] == 1)
    layout = struct.Struct(f"{fmt.order}HHI{fmt.word}{fmt.word}{fmt.word}IHHHHHH")
    (e_type, e_machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, _) = layout.unpack(source.read(16, layout.size))
    if phnum == PN_XNUM:
        # gABI: the true count then stands in sh_info of section 0.
        offset = shoff + (44 if fmt.bits == 64 else 28)
        (phnum,) = struct.unpack(fmt.order + "I", source.read(offset, 4))
    if phnum > limits.segments:
        raise MalformedElf(f"{phnum} program headers; {over(limits, 'segments')}")
    return Header(fmt, ident[7], e_type, e_machine, phoff, phnum, phentsize, shoff, shnum, shentsize)


def read_segments(source: Source, header: Header) -> list[Segment]:
    """All program headers, in file order."""
    if header.phnum == 0:
        return []
    fmt = header.format
    size = 56 if fmt.bits == 64 else 32
    if header.phentsize != size:
        raise MalformedElf(f"program headers of {header.phentsize} bytes; they must have {size}")
    data = source.read(header.phoff, size * header.phnum)
    if fmt.bits == 64:
        rows = struct.iter_unpack(fmt.order + "IIQQQQQQ", data)
        return [Segment(t, offset, vaddr, filesz, memsz, align, flags) for t, flags, offset, vaddr, _, filesz, memsz, align in rows]
    rows = struct.iter_unpack(fmt.order + "IIIIIIII", data)
    return [Segment(t, offset, vaddr, filesz, memsz, align, flags) for t, offset, vaddr, _, filesz, memsz, flags, align in rows]


class Image:
    """Where virtual addresses stand in the file: the PT_LOAD segments."""

    def __init__(self, segments: list[Segment]) -> None:
        self._loads = [s for s in segments if s.type == PT_LOAD and s.filesz]
        ordered = sorted(self._loads, key=lambda s: s.vaddr)
        self._starts = [s.vaddr for s in ordered]
        if any(a.vaddr + a.filesz > b.vaddr for a, b in itertools.pairwise(ordered)):
            # Nothing real has this; the first in the file's order counts.
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


DT_NEEDED = 1


def read_dynamic(source: Source, fmt: ElfFormat, segment: Segment, limits: Limits = DEFAULT_LIMITS) -> Dynamic:
    """The entries of PT_DYNAMIC up to DT_NULL."""
    if segment.filesz > limits.dynamic_size:
        raise MalformedElf(f"a dynamic segment of {segment.filesz} bytes; {over(limits, 'dynamic-size')}")
    entry = 2 * fmt.word_size
    data = source.read(segment.offset, segment.filesz // entry * entry)
    found = Dynamic()
    for tag, value in struct.iter_unpack(f"{fmt.order}{fmt.word}{fmt.word}", data):
        if tag == 0:
            break
        if tag == DT_NEEDED:
            found.needed.append(value)
        else:
            found.values[tag] = value
    if len(found.needed) > limits.needed:
        raise MalformedElf(f"{len(found.needed)} DT_NEEDED entries; {over(limits, 'needed')}")
    return found


def dynamic_is_nobits(source: Source, header: Header, segment: Segment) -> bool:
    """Whether the section headers say that the dynamic segment has no bytes: a file of split debug information."""
    fmt = header.format
    size = 64 if fmt.bits == 64 else 40
    if not header.shoff or not header.shnum or header.shentsize != size:
        return False
    layout = struct.Struct(f"{fmt.order}II{fmt.word}{fmt.word}{fmt.word}{fmt.word}")
    data = source.read(header.shoff, size * header.shnum)
    for start in range(0, len(data), size):
        _, kind, _, addr, _, _ = layout.unpack_from(data, start)
        if kind == SHT_NOBITS and addr == segment.vaddr:
            return True
    return False
