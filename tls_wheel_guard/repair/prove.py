"""A repaired file read again: nothing is taken from the plan but the places to look at."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

from tls_wheel_guard.elf import BytesSource, SharedObject, read_shared_object
from tls_wheel_guard.elf.constants import PF_W, PT_GNU_EH_FRAME, SHT_DYNSYM, SHT_SYMTAB
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.call_frames import FrameTable, Row, sleb
from tls_wheel_guard.machine_code.eh_frame import Frame, frames
from tls_wheel_guard.repair.descriptors import DESCRIPTOR
from tls_wheel_guard.repair.elf_file import RELA, SYM, ElfFile, SectionHeader, read_elf_file
from tls_wheel_guard.repair.machine import Depth, FrameNumbers, MachineRepair
from tls_wheel_guard.repair.patch import apply_to
from tls_wheel_guard.repair.plan import MACHINES, RepairPlan
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.section_table import FRAME_SECTION
from tls_wheel_guard.repair.whole import header_faults

__all__ = ["faults", "repaired"]

Depths = dict[int, tuple[Depth, ...]]
"""Address of a site -> what holds before each instruction of its thunk."""


def repaired(data: bytes, plan: RepairPlan) -> bytes:
    """The repaired file, proved. Raises Refused where the file is not the one that was planned for, CannotRepair where the proof fails."""
    result = apply_to(data, plan.patches, plan.tail, plan.appended)
    found = next(faults(data, result, plan), None)
    if found is not None:
        raise CannotRepair("unproved", f"the repaired file could not be proved: {found}", hint="please report this line with the wheel's name")
    return result


def faults(before: bytes, after: bytes, plan: RepairPlan) -> Iterator[str]:
    """What is wrong with a repaired file, a line each."""
    try:
        old, new = read_elf_file(before), read_elf_file(after)
        machine = MACHINES[new.e_machine]
        yield from _facts(read_shared_object(BytesSource(before)), read_shared_object(BytesSource(after)))
        yield from header_faults(new)
        yield from _symbols(old, new)
        yield from _rest(before, after, plan)
        yield from _descriptors(old, new, plan, machine)
        depths: Depths = {}
        yield from _code(new, plan, machine, depths)
        yield from _unwinding(old, new, plan, machine, depths)
    except MalformedElf as error:
        yield error.message


def _facts(old: SharedObject, new: SharedObject) -> Iterator[str]:
    if new.initial_exec.count:
        yield f"{new.initial_exec.count} initial-exec relocations are left"
    if new.df_static_tls:
        yield "DF_STATIC_TLS is left"
    if new.dynamic.tlsdesc != old.dynamic.tlsdesc + old.initial_exec.count:
        yield f"{new.dynamic.tlsdesc} descriptors"
    for name in ("tls_segment", "soname", "needed", "dynamic_relocations", "relr_relative", "nodelete", "textrel"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name} was {getattr(old, name)} and is {getattr(new, name)}"


def _symbols(old: ElfFile, new: ElfFile) -> Iterator[str]:
    """The symbols are the same but for the index of their section, which must have the same name."""
    for kind in (SHT_DYNSYM, SHT_SYMTAB):
        before, after = ([s for s in file.sections if s.type == kind] for file in (old, new))
        if [s.size for s in before] != [s.size for s in after]:
            yield "a table of symbols changed its size"
            return
        for was, now in zip(before, after, strict=True):
            rows = zip(SYM.iter_unpack(_whole(old, was)), SYM.iter_unpack(_whole(new, now)), strict=True)
            for one, other in rows:
                same = one[:3] == other[:3] and one[5] == other[5] and (one[4] == other[4] or _moved_as(old, new, one, other))
                if not same or _section_name(old, one[3]) != _section_name(new, other[3]):
                    yield f"a symbol in {was.name} was {one} and is {other}"


def _whole(file: ElfFile, section: SectionHeader) -> bytes:
    return file.data[section.offset : section.offset + section.size // SYM.size * SYM.size]


def _moved_as(old: ElfFile, new: ElfFile, one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether a symbol keeps its place in a section that moved."""
    if not (0 < one[3] < len(old.sections) and 0 < other[3] < len(new.sections)):
        return False
    return one[4] - old.sections[one[3]].address == other[4] - new.sections[other[3]].address


def _section_name(file: ElfFile, index: int) -> str:
    return file.sections[index].name if 0 < index < len(file.sections) else str(index)


def _rest(before: bytes, after: bytes, plan: RepairPlan) -> Iterator[str]:
    """Between the patches no byte changed."""
    at = 0
    for start, length in [*((patch.offset, len(patch.new)) for patch in plan.patches), (plan.tail, 0)]:
        if before[at:start] != after[at:start]:
            yield f"bytes between {at} and {start} changed"
        at = start + length


def _descriptors(old: ElfFile, new: ElfFile, plan: RepairPlan, machine: MachineRepair) -> Iterator[str]:
    seen: set[int] = set()
    for slot in plan.slots:
        place, info, addend = RELA.unpack_from(new.data, slot.entry)
        if (info & 0xFFFFFFFF, info >> 32, addend) != (machine.tlsdesc, slot.symbol, slot.addend):
            yield f"the relocation at file offset {slot.entry} is no descriptor of the same variable"
        load = next((s for s in new.loads if s.vaddr <= place and place + DESCRIPTOR <= s.end), None)
        if load is None or not load.flags & PF_W or place < load.vaddr + load.filesz or place % DESCRIPTOR or place in seen:
            yield f"the descriptor at {place:#x} has no writable memory of its own"
        seen.add(place)
        if any(s.in_memory and s.size and s.address < place + DESCRIPTOR and place < s.end for s in old.sections if s.name != ".relro_padding"):
            yield f"the descriptor at {place:#x} lies in a section of the old file"
        if new.at(slot.address, 8, "a slot") != machine.poison:
            yield f"the slot at {slot.address:#x} is not poisoned"


def _code(new: ElfFile, plan: RepairPlan, machine: MachineRepair, depths: Depths) -> Iterator[str]:
    places = {slot.address: RELA.unpack_from(new.data, slot.entry)[0] for slot in plan.slots}
    source = BytesSource(new.data)
    code = read_code(source, machine.name)
    section = new.section(".eh_frame")
    table = frames(code, 8, True, (section.address, section.size) if section else None)
    try:
        left = machine.find_left(new, code, table, frozenset(places))
        if left:
            yield f"{len(left)} reads of a slot are left, the first at {left[0].address:#x}"
    except CannotRepair as error:
        yield f"a read of a slot is left: {error.message}"
    guard = machine.guard(plan.flavour).code
    if code.at(plan.guard, len(guard)) != guard:
        yield f"the guard at {plan.guard:#x} is not whole"
    for planned in plan.sites:
        site = planned.site
        redirected, thunk = code.at(site.address, site.size), code.at(planned.thunk_address, len(planned.thunk))
        proof = machine.prove(site, redirected, planned.thunk_address, thunk, places[site.slot], plan.guard)
        depths[site.address] = proof.depths
        if proof.wrong:
            yield f"`{site.text}` at {site.address:#x}: {proof.wrong}"


def _unwinding(old: ElfFile, new: ElfFile, plan: RepairPlan, machine: MachineRepair, depths: Depths) -> Iterator[str]:
    """At each instruction of each thunk: the row of its site, with the stack pointer as far down as it is."""
    if plan.unwinding == "none":
        return
    section, added = old.section(".eh_frame"), new.section(FRAME_SECTION)
    if section is None or added is None:
        yield "the frames of the thunks are gone"
        return
    before, known = _frames_of(old, machine, section)
    after, found = _frames_of(new, machine, added)
    if len(found) != 1 or not _is_in_table(new, found[0]):
        yield f"the table of frames does not lead to the {len(found)} frames of the thunks"
        return
    rows = after.rows(found[0])
    starts = [start for start, _ in rows]
    for planned in plan.sites:
        site = planned.site.address
        place = bisect_right(known, site, key=lambda frame: frame.start) - 1
        frame = known[place] if place >= 0 and site < known[place].end else None
        expected = _row_at(before, frame, site) if frame is not None else None
        for depth in depths.get(site, ()):
            row = rows[bisect_right(starts, depth.address) - 1][1]
            if row != _lowered(expected, depth, machine.frame) and (machine.frame.return_register, ("undefined", 0)) not in row.rules:
                yield f"the frame at {depth.address:#x}, in the thunk of {site:#x}, is {row}"


def _row_at(table: FrameTable, frame: Frame, address: int) -> Row | None:
    """None where the file's own rows are not understood; its thunk then has no caller."""
    try:
        return table.row_at(frame, address)
    except MalformedElf:
        return None


def _frames_of(file: ElfFile, machine: MachineRepair, section: SectionHeader) -> tuple[FrameTable, list[Frame]]:
    code = read_code(BytesSource(file.data), machine.name)
    table = FrameTable(code.loaded(section.address, section.size), section.address)
    return table, frames(code, 8, True, (section.address, section.size))


def _lowered(row: Row | None, depth: Depth, numbers: FrameNumbers) -> Row | None:
    """The row of a site as it must be at an instruction of its thunk."""
    if row is None:
        return None
    if depth.return_at is not None and not any(register == numbers.return_register for register, _ in row.rules):
        place = bytes((0x70 + numbers.stack_register,)) + sleb(depth.return_at)  # DW_OP_breg
        row = replace(row, rules=tuple(sorted([*row.rules, (numbers.return_register, ("expression", place))])))
    if isinstance(row.cfa, bytes) or row.cfa[0] != numbers.stack_register:
        return row
    return replace(row, cfa=(row.cfa[0], row.cfa[1] + depth.pushed))


def _is_in_table(file: ElfFile, frame: Frame) -> bool:
    """Whether .eh_frame_hdr, whose entries must ascend, has the frame."""
    segment = file.segment(PT_GNU_EH_FRAME)
    if segment is None:
        return False
    data = file.data[segment.offset : segment.file_end]
    (count,) = struct.unpack_from("<I", data, 8)
    entries = [(segment.vaddr + a, segment.vaddr + b) for a, b in struct.iter_unpack("<ii", data[12 : 12 + 8 * count])]
    return (frame.start, frame.fde) in entries and entries == sorted(entries)
