"""The bytes of a plan: the patches of the old part of a file, and the part that is written anew."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tls_wheel_guard.elf.constants import DT_GNU_HASH, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERNEED, DT_VERSYM, PT_GNU_EH_FRAME
from tls_wheel_guard.repair.descriptors import DESCRIPTOR, descriptor_patches
from tls_wheel_guard.repair.elf_file import EHDR, PHDR, ElfFile, SectionHeader, SegmentHeader
from tls_wheel_guard.repair.new_code import Found, NewCode
from tls_wheel_guard.repair.patch import Patch
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.section_table import BSS_SECTION, FRAME_SECTION, TEXT_SECTION, NewTable, new_section, new_table, symbol_patches
from tls_wheel_guard.repair.segments import DescriptorRoom, Layout, Moved
from tls_wheel_guard.repair.unwind_info import UnwindPlan, debug_frame

__all__ = ["changes"]

MOVABLE_TAGS = (DT_HASH, DT_STRTAB, DT_SYMTAB, DT_GNU_HASH, DT_VERSYM, DT_VERDEF, DT_VERNEED)


def changes(found: Found, room: DescriptorRoom, layout: Layout, unwinding: UnwindPlan, new: NewCode) -> tuple[tuple[Patch, ...], bytes]:
    """Patches in ascending order that do not overlap and lie before the layout's tail, and the bytes from the tail on."""
    file = found.file
    segments = layout.segments
    if new.frames is not None and new.frames.table:
        segments = tuple(_of_longer_table(s, layout, new) for s in segments)
    patches = [*descriptor_patches(file, found.machine, found.slots, room.address), *_redirected(found, new)]
    if new.frames is not None and unwinding.how == "last":
        patches.append(_last_entry(file, unwinding, new.frames.fde))
    if layout.how == "slack":
        patches.append(_patch(file, layout.offset, new.blob, "the thunks and their frames, in the unused end of the code segment"))
    patches += _moving(file, layout)
    table = _table(found, room, layout, unwinding, new)
    moved, symbols = _moved_bytes(file, layout.moved, symbol_patches(file, table))
    patches += symbols
    appended = bytearray(_new_segment(layout, segments, moved, new)) if layout.how != "slack" else bytearray()
    shoff = _append_table(appended, layout.tail, table, new, found)
    patches.append(_patch(file, 0, _elf_header(file, layout, table, len(segments), shoff), "the ELF header"))
    if layout.how != "end":
        patches.append(_patch(file, file.phoff, b"".join(s.pack() for s in segments), "the program headers"))
    return _in_order(patches, layout.tail), bytes(appended)


def _patch(file: ElfFile, offset: int, new: bytes, why: str) -> Patch:
    return Patch(offset, file.data[offset : offset + len(new)], new, why)


def _redirected(found: Found, new: NewCode) -> Iterator[Patch]:
    for planned in new.planned:
        site = planned.site
        place = found.file.offset_of(site.address, site.size, "a site")
        why = f"`{site.text}` at {site.address:#x} becomes a jump to {planned.thunk_address:#x}"
        yield _patch(found.file, place, found.machine.redirect(site, planned.thunk_address), why)


def _last_entry(file: ElfFile, unwinding: UnwindPlan, fde: int) -> Patch:
    at = unwinding.table + 12 + 8 * (len(unwinding.entries) - 1)
    if not -(1 << 31) <= fde - unwinding.table < 1 << 31:
        raise CannotRepair("too-far", f"{abs(fde - unwinding.table)} bytes between frames and their table, which spans 2 GiB")
    new = struct.pack("<ii", unwinding.start - unwinding.table, fde - unwinding.table)
    return _patch(file, file.offset_of(at, 8, "the table of frames"), new, "the last entry of .eh_frame_hdr leads to the frames of the thunks")


def _of_longer_table(segment: SegmentHeader, layout: Layout, new: NewCode) -> SegmentHeader:
    if segment.type != PT_GNU_EH_FRAME or new.frames is None:
        return segment
    address, size = new.frames.table_address, len(new.frames.table)
    return replace(segment, offset=layout.offset + address - layout.address, vaddr=address, paddr=address, filesz=size, memsz=size)


def _moved_bytes(file: ElfFile, moved: Moved | None, symbols: Iterator[Patch]) -> tuple[bytes, list[Patch]]:
    """What moves, with the patches of symbol tables in it; and those of the tables that stay."""
    if moved is None:
        return b"", list(symbols)
    block, stay = bytearray(file.data[moved.start : moved.end]), []
    for patch in symbols:
        if moved.start <= patch.offset < moved.end:
            at = patch.offset - moved.start
            block[at : at + len(patch.new)] = patch.new
        else:
            stay.append(patch)
    return bytes(block), stay


def _new_segment(layout: Layout, segments: Sequence[SegmentHeader], moved: bytes, new: NewCode) -> bytes:
    """The bytes from the tail up to the end of the new segment."""
    out = bytearray()
    if layout.how == "end":
        out += bytes(layout.phoff - layout.tail) + b"".join(s.pack() for s in segments)
    elif layout.moved is not None:
        out += bytes(layout.moved.to - layout.tail) + moved
    out += bytes(layout.offset - layout.tail - len(out))
    return bytes(out + new.blob)


def _moving(file: ElfFile, layout: Layout) -> Iterator[Patch]:
    """The dynamic tags of tables that moved, and zeros where they were."""
    moved = layout.moved
    if moved is None:
        return
    for tag, value, at in file.dynamic:
        if tag in MOVABLE_TAGS and 0 <= value - moved.address < moved.end - moved.start:
            yield _patch(file, at + 8, struct.pack("<Q", value + moved.distance), "a table moved to the new segment")
    start = max(moved.start, EHDR.size + PHDR.size * len(layout.segments))
    if start < moved.end:
        yield _patch(file, start, bytes(moved.end - start), "what moved to the new segment was here")


def _table(found: Found, room: DescriptorRoom, layout: Layout, unwinding: UnwindPlan, new: NewCode) -> NewTable:
    file = found.file
    changed = dict(_moved_sections(file, layout.moved))
    if room.how == "relropad":
        index = next(n for n, s in enumerate(file.sections) if s.name == ".relro_padding")
        changed[index] = replace(file.sections[index], size=room.address - file.sections[index].address)
    added = [
        new_section(TEXT_SECTION, new.address, layout.offset, len(new.text)),
        new_section(BSS_SECTION, room.address, room.offset, DESCRIPTOR * len(found.slots)),
    ]
    if not new.text:
        added.pop(0)
    if new.frames is not None:
        added.append(new_section(FRAME_SECTION, new.frames_address, layout.offset + new.frames_address - new.address, len(new.frames.code)))
        if new.frames.table:
            index = _section_at(file, unwinding.table)
            address = new.frames.table_address
            place = layout.offset + address - new.address
            changed[index] = replace(file.sections[index], address=address, offset=place, size=len(new.frames.table))
    if new.rows and file.section(".debug_frame") is None:
        added.append(new_section(".debug_frame", 0, 0, 0))
    return new_table(file, changed, added)


def _section_at(file: ElfFile, address: int) -> int:
    """The index of the section that begins at an address; raises CannotRepair."""
    for index, section in enumerate(file.sections):
        if section.address == address and section.in_memory and section.size:
            return index
    raise CannotRepair("layout", "no section has the table of frames", address=address)


def _moved_sections(file: ElfFile, moved: Moved | None) -> Iterator[tuple[int, SectionHeader]]:
    for index, section in enumerate(file.sections):
        if moved is not None and section.in_memory and section.size and moved.start <= section.offset < moved.end:
            at = section.offset - moved.start + moved.to
            yield index, replace(section, address=section.address + moved.distance, offset=at)


def _append_table(appended: bytearray, tail: int, table: NewTable, new: NewCode, found: Found) -> int:
    """Append what is not loaded: the frames for debuggers, the names, the section headers. Gives the file offset of the headers."""

    def append(data: bytes, align: int) -> int:
        appended.extend(bytes(-(tail + len(appended)) % align))
        at = tail + len(appended)
        appended.extend(data)
        return at

    sections = list(table.sections)
    if new.rows and found.file.section(".debug_frame") is None:
        frames = debug_frame(found.machine.frame, new.rows, new.address + len(new.text))
        sections = [replace(s, offset=append(frames, 8), size=len(frames)) if s.name == ".debug_frame" else s for s in sections]
    names = table.indexes[found.file.names_index]
    sections[names] = replace(sections[names], offset=append(table.names, 1), size=len(table.names))
    return append(b"".join(section.pack() for section in sections), 8)


def _elf_header(file: ElfFile, layout: Layout, table: NewTable, segments: int, shoff: int) -> bytes:
    fields = list(EHDR.unpack_from(file.data))
    fields[5], fields[6], fields[10] = layout.phoff, shoff, segments
    fields[12], fields[13] = len(table.sections), table.indexes[file.names_index]
    return EHDR.pack(*fields)


def _in_order(patches: Sequence[Patch], tail: int) -> tuple[Patch, ...]:
    """Sorted by offset, without those that change nothing. Two that overlap come of a file whose parts share bytes: raises CannotRepair."""
    ordered = sorted((p for p in patches if p.old != p.new), key=lambda patch: patch.offset)
    ends = [patch.offset + len(patch.new) for patch in ordered]
    for end, following in zip(ends, ordered[1:], strict=False):
        if end > following.offset:
            raise CannotRepair("layout", f"parts of the file share bytes: two changes meet at file offset {following.offset}")
    if ends and ends[-1] > tail:
        raise CannotRepair("layout", f"parts of the file share bytes: a change ends at file offset {ends[-1]}, behind {tail}")
    return tuple(ordered)
