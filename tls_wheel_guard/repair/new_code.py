"""All new code of an object at one address: the guard, a thunk a site, and behind them the frames that unwinders read."""

from __future__ import annotations

from dataclasses import dataclass

from tls_wheel_guard.elf.symbol_tables import Names
from tls_wheel_guard.machine_code import FunctionMap
from tls_wheel_guard.machine_code.call_frames import FrameTable, Row
from tls_wheel_guard.machine_code.eh_frame import Frame
from tls_wheel_guard.repair.descriptors import DESCRIPTOR, Slot
from tls_wheel_guard.repair.elf_file import ElfFile
from tls_wheel_guard.repair.machine import Flavour, MachineRepair, Site
from tls_wheel_guard.repair.segments import DescriptorRoom, up
from tls_wheel_guard.repair.unwind_info import NewFrames, Rows, UnwindPlan, frames_for, thunk_rows

__all__ = ["Found", "NewCode", "PlannedSite", "place_code"]


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of a file. ``rows``: the unwind row at each site, None where it is not known."""

    file: ElfFile
    machine: MachineRepair
    flavour: Flavour
    names: Names
    frames: tuple[Frame, ...]
    table: FrameTable | None
    slots: tuple[Slot, ...]
    sites: tuple[Site, ...]
    rows: tuple[Row | None, ...]


@dataclass(frozen=True, slots=True)
class PlannedSite:
    """A read, what its function is called (None where no function is known), and its thunk's address and bytes. ``descriptor``: its address."""

    site: Site
    function: str | None
    descriptor: int
    thunk_address: int
    thunk: bytes


@dataclass(frozen=True, slots=True)
class NewCode:
    """The new code at virtual ``address``. ``rows``: the unwind rows of guard and thunks. ``frames``: None where no unwinder would find them."""

    address: int
    text: bytes
    planned: tuple[PlannedSite, ...]
    rows: Rows
    frames: NewFrames | None

    @property
    def frames_address(self) -> int:
        """Where the frames begin."""
        return up(self.address + len(self.text), 8)

    @property
    def blob(self) -> bytes:
        """Text, frames, and a longer table of frames, as they lie."""
        if self.frames is None:
            return self.text
        return self.text + bytes(-len(self.text) % 8) + self.frames.code + self.frames.table


def place_code(found: Found, room: DescriptorRoom, unwinding: UnwindPlan, address: int) -> NewCode:
    """The new code for an address that is a multiple of 16; its length does not depend on the address."""
    machine, numbers = found.machine, found.machine.frame
    guard = machine.guard(found.flavour)
    descriptors = {slot.address: room.address + DESCRIPTOR * n for n, slot in enumerate(found.slots)}
    functions = FunctionMap(found.names.functions, ((frame.start, frame.end) for frame in found.frames))
    text, planned = bytearray(guard.code), []
    rows: Rows = [(address + step.offset, True, step.rules) for step in guard.steps]
    for site, row in zip(found.sites, found.rows, strict=True):
        here, descriptor = address + len(text), descriptors[site.slot]
        piece = machine.thunk(site, found.flavour, here, descriptor, address)
        place = functions.at(site.address)
        planned.append(PlannedSite(site, str(place) if place else None, descriptor, here, piece.code))
        rows += thunk_rows(numbers, piece, here, row)
        text += piece.code
    end = address + len(text)
    frames = frames_for(numbers, unwinding, rows, end, up(end, 8)) if unwinding.how != "none" and rows else None
    return NewCode(address, bytes(text), tuple(planned), rows, frames)
