"""Whether a file that was repaired is still whole: another tool may have laid it out again, and lost a part without a word."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.elf.constants import PF_W, PF_X
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.repair.descriptors import DESCRIPTOR, descriptor_places
from tls_wheel_guard.repair.elf_file import ElfFile, read_elf_file
from tls_wheel_guard.repair.machine import FoundThunk, MachineRepair
from tls_wheel_guard.repair.plan import MACHINES
from tls_wheel_guard.repair.section_table import BSS_SECTION, TEXT_SECTION
from tls_wheel_guard.repair.whole import header_faults

__all__ = ["SECTIONS", "damage_of"]

SECTIONS = frozenset((TEXT_SECTION, BSS_SECTION))
"""Sections by which a repaired file is known."""
MAX_FAULTS = 8


def damage_of(data: bytes) -> tuple[str, ...]:
    """What is wrong with a file that has one of SECTIONS, a line each; none where it is whole."""
    try:
        file = read_elf_file(data)
        machine = MACHINES.get(file.e_machine)
        faults = [*header_faults(file), *(_faults(file, machine) if machine is not None else ())]
    except MalformedElf as error:
        faults = [error.message]
    return tuple(dict.fromkeys(faults))[:MAX_FAULTS]


def _faults(file: ElfFile, machine: MachineRepair) -> Iterator[str]:
    places = descriptor_places(file, machine)
    for place in places:
        yield from _descriptor_faults(file, place)
    text = file.section(TEXT_SECTION)
    if text is None:
        if file.section(BSS_SECTION) is not None and any(_is_read(file, place) for place in places):
            yield "the section with the new code is gone"
        return
    load = next((s for s in file.loads if s.flags & PF_X and s.vaddr <= text.address and text.end <= s.vaddr + s.filesz), None)
    if load is None:
        yield f"the new code at {text.address:#x} is in no segment with code"
        return
    code = file.at(text.address, text.size, "the new code")
    thunks = list(machine.read_thunks(code, text.address))
    end = thunks[-1].address + thunks[-1].size if thunks else text.address
    if end != text.end:
        yield f"the new code at {end:#x} is not what was written there"
    for thunk in thunks:
        yield from _thunk_faults(file, machine, thunk, places)


def _descriptor_faults(file: ElfFile, place: int) -> Iterator[str]:
    """A descriptor of ours has no bytes in the file; one of a linker's own has, and is none of our business."""
    section = file.section_over(place, DESCRIPTOR)
    if section is not None and section.name != BSS_SECTION:
        return
    load = next((s for s in file.loads if s.vaddr <= place and place + DESCRIPTOR <= s.end), None)
    if load is None or not load.flags & PF_W:
        yield f"the descriptor at {place:#x} is in no writable memory"


def _is_read(file: ElfFile, place: int) -> bool:
    section = file.section(BSS_SECTION)
    return section is not None and section.address <= place < section.end


def _thunk_faults(file: ElfFile, machine: MachineRepair, thunk: FoundThunk, places: frozenset[int]) -> Iterator[str]:
    if not machine.is_redirected(file.at(thunk.site, machine.site_size, "a site"), thunk):
        yield f"the code at {thunk.site:#x} does not lead to its thunk at {thunk.address:#x}"
    if thunk.descriptor not in places:
        yield f"the thunk at {thunk.address:#x} calls a descriptor at {thunk.descriptor:#x} that no relocation fills"
