"""Find reads of slots on aarch64: ``adrp xN, page`` and, anywhere after it, ``ldr xM, [xN, #rest]``.

The two may stand far apart and one ``adrp`` may serve several loads. So each function with such an ``adrp`` is followed along its
control flow, with one value for each register: a page, or unknown. ``adr`` counts as ``adrp`` where it gives a slot's page: GNU ld's fix for
Cortex-A53 erratum 843419 turns one into the other.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tls_wheel_guard.machine_code.candidate import Candidate
from tls_wheel_guard.machine_code.code import Code, Piece
from tls_wheel_guard.machine_code.disassembly import Disassembler, Instruction, Memory
from tls_wheel_guard.machine_code.functions import FunctionMap, FunctionRange
from tls_wheel_guard.machine_code.slot_reads import adrp_page

__all__ = ["find"]

_ADR_OR_ADRP = re.compile(rb"[\x10\x30\x50\x70\x90\xb0\xd0\xf0]")
MAX_FUNCTION = 1 << 20
"""Longest function, in bytes, that is followed."""
_CALL_CLOBBERS = frozenset(f"x{n}" for n in (*range(19), 30))
_Pages = dict[str, int]


def find(code: Code, slots: frozenset[int], functions: FunctionMap, disassembler: Disassembler) -> Iterator[Candidate]:
    """Each load of a slot, and each adrp of a slot's page that no use was found for."""
    pages = {slot & ~0xFFF for slot in slots}
    for piece in code.pieces:
        places: dict[FunctionRange, None] = {}
        for address in _page_makers(piece, pages):
            if (place := functions.around(address, piece.address, piece.end)) is not None:
                places[place] = None
        for place in places:
            # A page of the GOT holds many words: only functions in which some instruction has a slot's offset in the page are followed.
            if _names_a_slot(code.at(place.start, min(place.end - place.start, MAX_FUNCTION)), slots):
                yield from _follow(code, place, slots, pages, disassembler)
            else:
                yield from _unused(code, place, pages)


def _page_makers(piece: Piece, pages: set[int]) -> Iterator[int]:
    unpack = struct.Struct("<I").unpack_from
    for hit in _ADR_OR_ADRP.finditer(piece.data[3::4]):
        at = 4 * hit.start()
        address = piece.address + at
        if _page_of(unpack(piece.data, at)[0], address) in pages:
            yield address


def _names_a_slot(data: bytes, slots: frozenset[int]) -> bool:
    """Whether a load, a store or an ``add`` has a slot's place in its page as its offset."""
    rests = {slot & 0xFFF for slot in slots}
    for (word,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4]):
        offset = word >> 10 & 0xFFF
        if (word & 0x3B000000 == 0x39000000 and offset << (word >> 30) in rests) or (word & 0x7FC00000 == 0x11000000 and offset in rests):
            return True
    return False


def _unused(code: Code, place: FunctionRange, pages: set[int]) -> Iterator[Candidate]:
    """Instructions whose page no later instruction of the function has as its first source: the page is used elsewhere."""
    data = code.at(place.start, place.end - place.start)
    words = [word for (word,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4])]
    used = {word >> 5 & 31 for word in words if word & 0x9F000000 not in (0x90000000, 0x10000000)}
    for number, word in enumerate(words):
        address = place.start + 4 * number
        if word & 0x1F000000 == 0x10000000 and _page_of(word, address) in pages and word & 31 not in used:
            yield Candidate(address, 0, doubt=f"the page of a slot in x{word & 31} at {address:#x}: its use was not found in {place}")


def _page_of(word: int, address: int) -> int:
    if word & 0x9F000000 == 0x90000000:
        return adrp_page(word, address)
    offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return address + ((offset ^ 0x100000) - 0x100000)


def _follow(code: Code, place: FunctionRange, slots: frozenset[int], pages: set[int], disassembler: Disassembler) -> Iterator[Candidate]:
    """Data flow over one function: the registers that hold a slot's page, before each instruction."""
    listing = _listing(code, place, disassembler)
    states: dict[int, _Pages] = {place.start: {}}
    _flow(listing, states, [place.start], place, pages)
    # Code that no branch leads to is the target of a switch, and knows what its jump knew, or a landing pad, and knows nothing.
    jumps = [states[i.address] for i in listing.values() if i.mnemonic == "br" and i.address in states]
    known = {r: page for r, page in jumps[0].items() if all(state.get(r) == page for state in jumps)} if jumps else {}
    for address in _unreached(listing, states):
        if address not in states:
            states[address] = dict(known)
            _flow(listing, states, [address], place, pages)
    used: set[int] = set()
    for address, state in states.items():
        if address in listing:
            yield from _reads(listing[address], state, slots, used)
    for instruction in listing.values():
        # Most such pages are for other words of the GOT. One that nothing in the function uses is used elsewhere: clang -Oz outlines code.
        if instruction.mnemonic in ("adrp", "adr") and instruction.operands[1] in pages and instruction.operands[1] not in used:
            yield Candidate(instruction.address, 0, doubt=f"`{instruction.text}` at {instruction.address:#x}: its use was not found in {place}")


def _flow(listing: dict[int, Instruction], states: dict[int, _Pages], work: list[int], place: FunctionRange, pages: set[int]) -> None:
    """Follow all paths from the addresses in ``work``. A second path to an address can only remove knowledge, so this ends."""
    while work:
        address = work.pop()
        while (instruction := listing.get(address)) is not None:
            after = _after(instruction, states[address], pages)
            work += [target for target in _targets(instruction, place) if _join(states, target, after)]
            address = instruction.end
            if _ends(instruction) or not _join(states, address, after):
                break


def _unreached(listing: dict[int, Instruction], states: dict[int, _Pages]) -> Iterator[int]:
    for address in sorted(listing):
        if address not in states:
            yield address


def _listing(code: Code, place: FunctionRange, disassembler: Disassembler) -> dict[int, Instruction]:
    """The function's instructions by address; words that do not decode (data in code) are left out."""
    listing: dict[int, Instruction] = {}
    address, end = place.start, min(place.end, place.start + MAX_FUNCTION)
    while address < end:
        for instruction in disassembler.decode(code.at(address, end - address), address):
            listing[instruction.address] = instruction
            address = instruction.end
        address += 4
    return listing


def _reads(instruction: Instruction, state: _Pages, slots: frozenset[int], used: set[int]) -> Iterator[Candidate]:
    """The slot that an instruction loads; pages that any instruction uses go to ``used``."""
    used.update(state[o] for o in instruction.operands[1:] if isinstance(o, str) and o in state)
    for operand in instruction.operands:
        if isinstance(operand, Memory) and operand.base in state and not operand.indexed:
            target = state[operand.base] + operand.displacement
            used.add(state[operand.base])
            if target in slots and instruction.mnemonic.startswith("ld"):
                yield Candidate(instruction.address, target, instruction.text)


def _after(instruction: Instruction, state: _Pages, pages: set[int]) -> _Pages:
    """What the registers hold after an instruction."""
    name, operands = instruction.mnemonic, instruction.operands
    copied = state.get(operands[1]) if name == "mov" and len(operands) == 2 and isinstance(operands[1], str) else None
    cleared = instruction.writes | (_CALL_CLOBBERS if name in ("bl", "blr") else frozenset())
    after = {register: page for register, page in state.items() if register not in cleared}
    if operands and isinstance(operands[0], str):
        if name in ("adrp", "adr") and operands[1] in pages:
            after[operands[0]] = int(operands[1])
        elif copied is not None:
            after[operands[0]] = copied
    return after


def _join(states: dict[int, _Pages], address: int, state: _Pages) -> bool:
    """Merge knowledge at an address where paths meet. Returns whether it changed, so that the code from there must be followed again."""
    if address not in states:
        states[address] = dict(state)
        return True
    old = states[address]
    kept = {register: page for register, page in old.items() if state.get(register) == page}
    if len(kept) == len(old):
        return False
    states[address] = kept
    return True


def _targets(instruction: Instruction, place: FunctionRange) -> list[int]:
    name = instruction.mnemonic
    if name == "b" or name.startswith(("b.", "cbz", "cbnz", "tbz", "tbnz")):
        last = instruction.operands[-1] if instruction.operands else None
        if isinstance(last, int) and place.start <= last < place.end:
            return [last]
    return []


def _ends(instruction: Instruction) -> bool:
    return instruction.mnemonic in ("b", "br", "ret", "brk", "udf", "braa", "brab", "retaa", "retab")
