"""Where the new bytes go, so that strip, objcopy and patchelf may come afterwards.

Descriptors need no bytes in the file, so they lie in memory behind the last writable segment, or in a linker's padding of the read-only
relocated part. Code goes into the unused end of the code segment, else into one new segment whose program header gets
room at the start of the file: GNU strip and eu-strip lose headers that lie elsewhere. gABI chapter 5; glibc elf/dl-load.c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tls_wheel_guard.elf.constants import (
    PF_W,
    PF_X,
    PT_GNU_PROPERTY,
    PT_GNU_RELRO,
    PT_LOAD,
    PT_NOTE,
    PT_PHDR,
    SHT_NOBITS,
)
from tls_wheel_guard.repair.descriptors import DESCRIPTOR
from tls_wheel_guard.repair.elf_file import EHDR, PHDR, SHDR, ElfFile, SegmentHeader
from tls_wheel_guard.repair.machine import MachineRepair
from tls_wheel_guard.repair.movable import headers_end, movable_block, used_offsets
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["DescriptorRoom", "Layout", "Moved", "choose_layout", "find_descriptor_room", "up"]

FILLERS = (b"\0", b"\xcc", b"\x90", b"\xf4")
"""Bytes that linkers fill unused space with."""
BUILD_ID = "the program header of the build-id note is dropped: tools that read the file still find the note, a core dump does not show it"
AT_END = (
    "the program headers lie at the end of the file: strip and objcopy of binutils before 2.44 and eu-strip would break it without a word; "
    "--allow-dropping-build-id makes room for them at the start"
)


def up(value: int, to: int) -> int:
    """The next multiple of ``to``."""
    return -(-value // to) * to


@dataclass(frozen=True, slots=True)
class DescriptorRoom:
    """Where the descriptors lie. ``how``: ``relropad`` or ``bss``; ``segments``: the program headers that give them room.

    ``offset``: the file offset that their section header names, though it has no bytes.
    """

    how: Literal["relropad", "bss"]
    address: int
    offset: int
    segments: tuple[SegmentHeader, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """Read-only tables that give way to a program header: file offsets ``start`` to ``end`` go ``distance`` bytes up, to file offset ``to``."""

    start: int
    end: int
    to: int
    address: int
    distance: int


@dataclass(frozen=True, slots=True)
class Layout:
    """``how``: ``slack`` (the end of the code segment), ``new`` (a new segment), ``end`` (that, and the program headers with it).

    ``place``: how room for a header was made: ``room``, ``phdr``, ``note``, ``move``, ``drop``. ``tail``: the file offset from which the file
    is written anew. ``address``, ``offset``: of the new code.
    """

    how: Literal["slack", "new", "end"]
    place: str
    address: int
    offset: int
    segments: tuple[SegmentHeader, ...]
    phoff: int
    tail: int
    moved: Moved | None = None
    warning: str = ""


def find_descriptor_room(file: ElfFile, machine: MachineRepair, count: int) -> DescriptorRoom:
    """Room for ``count`` descriptors; raises CannotRepair where there is none."""
    need = count * DESCRIPTOR
    padding, relro = file.section(".relro_padding"), file.segment(PT_GNU_RELRO)
    if padding is not None and relro is not None and padding.type == SHT_NOBITS and need + DESCRIPTOR <= padding.size:
        load = next((s for s in file.loads if s.flags & PF_W and s.end == padding.end), None)
        if load is not None and relro.vaddr <= padding.address and padding.end <= relro.end:
            address = (padding.end - need) & -DESCRIPTOR
            return DescriptorRoom("relropad", address, load.offset + address - load.vaddr, file.segments)
    page = _page(file, machine)
    writable = [s for s in file.loads if s.flags & PF_W and not s.flags & PF_X]
    load = max(writable, key=lambda s: s.vaddr, default=None)
    if load is not None:
        address = up(load.end, DESCRIPTOR)
        following = min((s.vaddr // page * page for s in file.loads if s.vaddr > load.vaddr), default=1 << 63)
        protected = relro is not None and relro.vaddr <= address < up(relro.end, 4096)
        if address + need <= following and not protected:
            grown = replace(load, memsz=address + need - load.vaddr)
            segments = tuple(grown if s is load else s for s in file.segments)
            return DescriptorRoom("bss", address, load.offset + address - load.vaddr, segments)
    raise CannotRepair("no-room", "there is no room for descriptors behind its writable data")


def _page(file: ElfFile, machine: MachineRepair) -> int:
    """Bytes of the largest page that the file was linked for, at least one of 4 KiB."""
    return machine.page or max(4096, *(s.align for s in file.loads))


def choose_layout(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, above: int, allow_drop: bool) -> Layout:
    """The first layout that fits ``need`` bytes of code, at an address above ``above``. ``allow_drop``: the build-id's header may go."""
    tail = _tail(file)
    found = _slack(file, machine, room, need, above, tail)
    if found is not None:
        return found
    for place in (_in_room, _for_phdr, _for_note, _by_moving, *([_by_dropping] if allow_drop else [])):
        found = place(file, machine, room, need, tail)
        if found is not None:
            return found
    return _at_end(file, machine, room, need, tail)


def _tail(file: ElfFile) -> int:
    """Where the part of the file begins that is written anew: at the section headers where they are last, with their names."""
    end = file.shoff + SHDR.size * len(file.sections)
    names = file.sections[file.names_index]
    others = max([0, *(s.file_end for s in file.sections if s is not names), *(s.file_end for s in file.segments)])
    if end != len(file.data) or max(others, names.file_end) > file.shoff:
        return len(file.data)
    return names.offset if others <= names.offset else file.shoff


def _slack(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, above: int, tail: int) -> Layout | None:
    for load in file.loads:
        if not load.flags & PF_X or load.flags & PF_W or load.filesz != load.memsz:
            continue
        start, address = up(load.file_end, 16), up(load.end, 16)
        page = _page(file, machine)
        gap = file.data[load.file_end : start + need]
        used = min((at for at in used_offsets(file) if at >= load.file_end), default=len(file.data))
        following = min((s.vaddr // page * page for s in file.loads if s.vaddr > load.vaddr), default=1 << 63)
        fits = start - load.file_end == address - load.end and start + need <= min(used, tail) and address + need <= following
        if fits and address > above and any(gap == filler * len(gap) for filler in FILLERS):
            size = address + need - load.vaddr
            segments = tuple(replace(s, filesz=size, memsz=size) if s is load else s for s in room.segments)
            return Layout("slack", "", address, start, segments, file.phoff, tail)
    return None


def _first_used(file: ElfFile, without: tuple[SegmentHeader, ...] = ()) -> int:
    """The file offset of what comes first behind the program headers."""
    loads = {s.offset for s in file.loads if s.offset == 0} | {file.phoff} | {s.offset for s in without}
    return min((at for at in used_offsets(file) if at not in loads), default=0)


def _new_segment(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, offset: int, size: int) -> SegmentHeader:
    """A header for ``size`` bytes of code at a file offset, at an address behind everything else."""
    page = _page(file, machine)
    highest = max(s.end for s in room.segments if s.type == PT_LOAD)
    address = up(highest, page) + offset % page
    return SegmentHeader(PT_LOAD, 5, offset, address, address, size, size, page)


def _layout(file: ElfFile, place: str, kept: list[SegmentHeader], new: SegmentHeader, tail: int, moved: Moved | None = None) -> Layout:
    """A layout with ``new`` behind the last PT_LOAD among ``kept``, and the code in it behind what was moved."""
    last = max(n for n, s in enumerate(kept) if s.type == PT_LOAD)
    segments = [*kept[: last + 1], new, *kept[last + 1 :]]
    size = PHDR.size * len(segments)
    segments = [replace(s, filesz=size, memsz=size) if s.type == PT_PHDR else s for s in segments]
    ahead = _ahead(moved.start, moved.end) if moved else 0
    return Layout("new", place, new.vaddr + ahead, new.offset + ahead, tuple(segments), file.phoff, tail, moved)


def _ahead(start: int, end: int) -> int:
    """Bytes that a moved block takes: up to the next multiple of 16 behind it."""
    return up(end, 16) - start


def _in_room(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, tail: int) -> Layout | None:
    if file.phoff != EHDR.size or _first_used(file) < headers_end(len(file.segments) + 1):
        return None
    return _layout(file, "room", list(room.segments), _new_segment(file, machine, room, up(tail, 16), need), tail)


def _for_phdr(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, tail: int) -> Layout | None:
    """A shared object does not need PT_PHDR: its header gives its place."""
    if file.phoff != EHDR.size or file.segment(PT_PHDR) is None:
        return None
    kept = [s for s in room.segments if s.type != PT_PHDR]
    return _layout(file, "phdr", kept, _new_segment(file, machine, room, up(tail, 16), need), tail)


def _for_note(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, tail: int) -> Layout | None:
    """PT_GNU_PROPERTY names the same note as a PT_NOTE, whose header can go."""
    known = file.segment(PT_GNU_PROPERTY)
    twin = next((s for s in file.segments if known and s.type == PT_NOTE and (s.vaddr, s.memsz) == (known.vaddr, known.memsz)), None)
    if file.phoff != EHDR.size or twin is None:
        return None
    kept = [s for s in room.segments if s is not twin]
    return _layout(file, "note", kept, _new_segment(file, machine, room, up(tail, 16), need), tail)


def _by_dropping(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, tail: int) -> Layout | None:
    notes = [s for s in file.segments if s.type == PT_NOTE]
    if file.phoff != EHDR.size or len(notes) != 1:
        return None
    kept = [s for s in room.segments if s.type != PT_NOTE]
    found = _layout(file, "drop", kept, _new_segment(file, machine, room, up(tail, 16), need), tail)
    return replace(found, warning=BUILD_ID)


def _by_moving(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, tail: int) -> Layout | None:
    """Move the first read-only tables to the front of the new segment, as one block."""
    block = movable_block(file) if file.phoff == EHDR.size else None
    if block is None:
        return None
    start, end = block
    offset = up(tail, 16) + start % 16
    new = _new_segment(file, machine, room, offset, _ahead(start, end) + need)
    load = next(s for s in file.loads if s.offset <= start and end <= s.file_end)
    address = load.vaddr + start - load.offset
    moved = Moved(start, end, offset, address, new.vaddr - address)
    kept = [_shifted(s, moved) for s in room.segments]
    return _layout(file, "move", kept, new, tail, moved)


def _shifted(segment: SegmentHeader, moved: Moved) -> SegmentHeader:
    if segment.type == PT_LOAD or not (segment.filesz and moved.start <= segment.offset and segment.file_end <= moved.end):
        return segment
    at = segment.offset - moved.start + moved.to
    return replace(segment, offset=at, vaddr=segment.vaddr + moved.distance, paddr=segment.paddr + moved.distance)


def _at_end(file: ElfFile, machine: MachineRepair, room: DescriptorRoom, need: int, tail: int) -> Layout:
    if file.segment(PT_PHDR) is not None:
        raise CannotRepair("no-room", f"its program headers lie at {file.phoff:#x} and can't be made longer")
    size = up(PHDR.size * (len(room.segments) + 1), 16)
    new = _new_segment(file, machine, room, up(tail, 16), size + need)
    found = _layout(file, "", list(room.segments), new, tail)
    return replace(found, how="end", address=new.vaddr + size, offset=new.offset + size, phoff=new.offset, warning=AT_END)
