"""Every read of a slot in x86-64 code, or a refusal.

The psABI allows two instructions with R_X86_64_GOTTPOFF: ``mov slot(%rip),%reg`` and ``add slot(%rip),%reg``, seven bytes each:
REX.W (48 or 4c), 8b or 03, modrm with mod 00 and rm 101, and the displacement. A global-dynamic access that the linker
turned into initial-exec has the same forms.

Candidates are found by their bytes alone, so that no mistake of a decoder hides one: each position from which a
displacement leads to a slot. The code around a candidate is then decoded from the start of its function. A candidate is passed
over only where that decoding has no gap and the bytes before it are not those of a read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from tls_wheel_guard.machine_code import Code
from tls_wheel_guard.machine_code.disassembly import Disassembler
from tls_wheel_guard.machine_code.eh_frame import Frame
from tls_wheel_guard.machine_code.x86 import rip_relative
from tls_wheel_guard.repair.elf_file import ElfFile
from tls_wheel_guard.repair.functions import Functions, Place
from tls_wheel_guard.repair.machine import Site
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.x86_64.flags import flags_live

__all__ = ["FORMS", "SITE_SIZE", "find_sites", "form_of"]

FORMS = {0x8B: "mov", 0x03: "add"}
"""Opcode of ``r64, r/m64`` -> form."""
SITE_SIZE, DISPLACEMENT_AT = 7, 3
RSP = 4
MAX_FUNCTION = 8 << 20
"""Bytes of code that are decoded in one piece."""
_Line = tuple[int, int, str, str]


def form_of(code: bytes) -> tuple[str, int] | None:
    """The form and the register of a read, from the first three bytes of its code; None where they are not one's."""
    if len(code) < 3 or code[0] not in (0x48, 0x4C) or code[1] not in FORMS or code[2] & 0xC7 != 0x05:
        return None
    return FORMS[code[1]], (code[2] >> 3 & 7) | (8 if code[0] == 0x4C else 0)


def find_sites(file: ElfFile, code: Code, frames: list[Frame], slots: frozenset[int]) -> tuple[Site, ...]:
    """All sites in ascending order; raises CannotRepair where a use is in no known form, or the code does not decode for certain."""
    functions = Functions(file, frames)
    places: dict[Place, list[int]] = {}
    for piece in code.pieces:
        for at in sorted(set(rip_relative(piece, slots))):
            if (place := functions.at(at)) is not None:
                places.setdefault(place, []).append(at)
    disassembler = Disassembler("x86_64")
    found = [site for place, at in sorted(places.items()) for site in _in_place(code, place, at, slots, disassembler)]
    return tuple(sorted(found, key=lambda site: site.address))


def _in_place(code: Code, place: Place, candidates: list[int], slots: frozenset[int], disassembler: Disassembler) -> Iterator[Site]:
    start, end = place.start, place.end
    if end - start > MAX_FUNCTION:
        raise CannotRepair("undecodable", f"a function of {end - start} bytes", address=start)
    listing = disassembler.listing(code.at(start, end - start), start)
    reached = listing[-1][0] + listing[-1][1] if listing else start
    begins = [line[0] for line in listing]
    for at in candidates:
        index = bisect_right(begins, at) - 1
        line = listing[index] if index >= 0 and at < begins[index] + listing[index][1] else None
        site = _site(code, listing, index, at, slots) if line is not None else None
        if site is not None:
            yield site
        else:
            _require_harmless(code, line, at, slots, reached, end)


def _site(code: Code, listing: list[_Line], index: int, at: int, slots: frozenset[int]) -> Site | None:
    """The site whose displacement stands at an address, None where the instruction over it is not one in a known form."""
    address, size, name, operands = listing[index]
    data = code.at(address, SITE_SIZE)
    form = form_of(data)
    if size != SITE_SIZE or address + DISPLACEMENT_AT != at or form is None or name != form[0]:
        return None
    slot = address + SITE_SIZE + int.from_bytes(data[DISPLACEMENT_AT:], "little", signed=True)
    if slot not in slots:
        return None
    text = f"{name} {operands}"
    if form[1] == RSP:
        raise CannotRepair("unknown-form", f"`{text}` reads a slot into the stack pointer", address=address, found=data)
    # The sum of an ``add`` writes all flags itself.
    keep = form[0] == "mov" and flags_live(listing[index + 1 :])
    return Site(address, slot, form[0], form[1], SITE_SIZE, keep, text)


def _require_harmless(code: Code, line: _Line | None, at: int, slots: frozenset[int], reached: int, end: int) -> None:
    """Pass over a candidate that is certainly no use of a slot; raises CannotRepair otherwise."""
    if line is None:
        reason = f"bytes that may reach a slot, behind code that does not decode at {reached:#x}"
        raise CannotRepair("undecodable", reason, address=at, found=code.at(at, 4))
    address, size, name, operands = line
    text, found = f"`{name} {operands}`", code.at(address, size)
    if "rip" in operands and found[at - address - 1] & 0xC7 == 0x05:
        # A modrm of mod 00 and rm 101 stands before the bytes: they are the displacement of an operand.
        target = address + size + int.from_bytes(code.at(at, 4), "little", signed=True)
        if any(abs(target - slot) < 8 for slot in slots):
            what = "takes the address of a slot" if name == "lea" else "reaches a slot in a form that is not known"
            raise CannotRepair("unknown-form", f"{text} {what}", address=address, found=found)
    if reached != end:
        raise CannotRepair("undecodable", f"{text} may reach a slot, in a function that does not decode at {reached:#x}", address=at, found=found)
    before = at - DISPLACEMENT_AT
    if form_of(code.at(before, DISPLACEMENT_AT)) is not None:
        raise CannotRepair("undecodable", f"bytes that read a slot, inside of {text}", address=before, found=code.at(before, SITE_SIZE))
