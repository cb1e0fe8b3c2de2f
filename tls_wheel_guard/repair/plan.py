"""The plan of a repair: every byte that changes, and why. Nothing is changed here.

Slots, then their reads, then the lengths of all new code, then its place, then its bytes: a thunk's length does not depend on addresses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.section_headers import read_sections
from tls_wheel_guard.elf.symbol_tables import read_names
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.call_frames import FrameTable, Row
from tls_wheel_guard.machine_code.eh_frame import Frame, frames
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.repair.aarch64 import MACHINE as AARCH64
from tls_wheel_guard.repair.changes import changes
from tls_wheel_guard.repair.descriptors import Slot, find_slots, require_fixed, require_lonely
from tls_wheel_guard.repair.elf_file import ElfFile, read_elf_file
from tls_wheel_guard.repair.machine import Flavour, MachineRepair, Site
from tls_wheel_guard.repair.new_code import Found, PlannedSite, place_code
from tls_wheel_guard.repair.patch import Patch
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.refuse import flavour_of, refuse_code, refuse_file, refuse_targets
from tls_wheel_guard.repair.segments import Layout, choose_layout, find_descriptor_room, up
from tls_wheel_guard.repair.unwind_info import plan_unwinding
from tls_wheel_guard.repair.x86_64 import MACHINE as X86_64

__all__ = ["MACHINES", "RepairPlan", "plan_repair"]

MACHINES: dict[int, MachineRepair] = {machine.e_machine: machine for machine in (X86_64, AARCH64)}
"""e_machine -> its row."""


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a repair does to one shared object. ``patches`` lie before file offset ``tail``, from which on the file becomes ``appended``.

    ``guard``: its address, 0 without one. ``descriptors``: how room was found for them; ``unwinding``: how their frames are found.
    """

    machine: str
    flavour: Flavour
    slots: tuple[Slot, ...]
    sites: tuple[PlannedSite, ...]
    guard: int
    descriptors: str
    descriptor_address: int
    layout: Layout
    unwinding: str
    patches: tuple[Patch, ...]
    tail: int
    appended: bytes
    size_before: int

    @property
    def bytes_added(self) -> int:
        """How much longer the file becomes."""
        return self.tail + len(self.appended) - self.size_before

    @property
    def forms(self) -> dict[str, int]:
        """Form -> number of sites."""
        return dict(sorted(Counter(planned.site.form for planned in self.sites).items()))

    @property
    def layout_words(self) -> str:
        """The layout in one line."""
        code = {"slack": "the end of the code segment", "new": "a new segment", "end": "a new segment with the program headers"}[self.layout.how]
        where = {"relropad": "read-only relocated padding", "bss": "memory behind .bss"}[self.descriptors]
        return f"code in {code}{f' ({self.layout.place})' if self.layout.place else ''}, descriptors in {where}"


def plan_repair(data: bytes, targets: Sequence[Target] = (), *, allow_dropping_build_id: bool = False) -> RepairPlan | None:
    """The plan for a shared object, None where it has no initial-exec relocation; raises CannotRepair, MalformedElf.

    ``targets``: the systems that load it. ``allow_dropping_build_id``: the program header of the build-id note may go where there is no
    other room.
    """
    file = read_elf_file(data)
    machine = MACHINES.get(file.e_machine)
    if machine is None:
        raise CannotRepair("machine", f"its machine has no repair yet (e_machine {file.e_machine})")
    slots = find_slots(file, machine)
    if not slots:
        return None
    found = _find(file, machine, slots, targets)
    room = find_descriptor_room(file, machine, len(slots))
    unwinding = plan_unwinding(file, found.frames, found.table)
    draft = place_code(found, room, unwinding, up(max(load.end for load in file.loads), 16))
    above = unwinding.start if unwinding.how == "last" else 0
    layout = choose_layout(file, machine, room, len(draft.blob), above, allow_dropping_build_id)
    new = place_code(found, room, unwinding, layout.address)
    if len(new.blob) != len(draft.blob):
        raise AssertionError(f"the new code has {len(new.blob)} bytes and not {len(draft.blob)}")
    patches, appended = changes(found, room, layout, unwinding, new)
    return RepairPlan(
        machine=machine.name,
        flavour=found.flavour,
        slots=slots,
        sites=new.planned,
        guard=layout.address if found.flavour == "guarded" else 0,
        descriptors=room.how,
        descriptor_address=room.address,
        layout=layout,
        unwinding=unwinding.how,
        patches=patches,
        tail=layout.tail,
        appended=appended,
        size_before=len(data),
    )


def _find(file: ElfFile, machine: MachineRepair, slots: tuple[Slot, ...], targets: Sequence[Target]) -> Found:
    refuse_file(file)
    refuse_targets(targets, machine)
    require_lonely(file, slots)
    source = BytesSource(file.data)
    read_shared_object(source)  # the judgement's own reader has more doubts
    names = read_names(source, read_sections(source))
    refuse_code(names)
    code = read_code(source, machine.name)
    section = file.section(".eh_frame")
    place = (section.address, section.size) if section is not None else None
    found = frames(code, 8, True, place)
    table = FrameTable(code.loaded(*place), place[0]) if place is not None else None
    sites = machine.find_sites(file, code, found, frozenset(slot.address for slot in slots))
    if not sites:
        raise CannotRepair(
            "unread", "no code was found that reads one of its slots, so nothing shows how they are used", address=slots[0].address
        )
    require_fixed(file, sites)
    rows = tuple(_row_of(found, table, site) for site in sites)
    return Found(file, machine, flavour_of(file, machine, targets), names, tuple(found), table, slots, sites, rows)


def _row_of(found: Sequence[Frame], table: FrameTable | None, site: Site) -> Row | None:
    """The unwind row at a site; None where the file has none that is understood."""
    place = bisect_right(found, site.address, key=lambda frame: frame.start) - 1
    frame = found[place] if place >= 0 and site.address < found[place].end else None
    try:
        return table.row_at(frame, site.address) if frame is not None and table is not None else None
    except MalformedElf:
        return None
