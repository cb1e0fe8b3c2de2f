"""Every read of a slot in aarch64 code, or a refusal.

The psABI has one access: ``adrp xN, page`` and, behind it, ``ldr xM, [xN, #rest]`` with R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21 and
_LD64_GOTTPREL_LO12_NC. The two may stand far apart, and one ``adrp`` may serve several loads. ``adr`` counts as ``adrp`` where it gives a
slot's page: GNU ld's fix for Cortex-A53 erratum 843419 turns one into the other, or puts the ``ldr`` into a veneer.

A page that is stored, passed on to code that reads a slot with it, or used in a form that is not known, is a refusal, and so is one whose
use is not found: clang's ``-Oz`` puts the ``ldr`` of several functions into one of its own.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tls_wheel_guard.machine_code import Code
from tls_wheel_guard.machine_code.code import Piece
from tls_wheel_guard.machine_code.eh_frame import Frame
from tls_wheel_guard.repair.aarch64.flow import ALL, Flow, Page, State
from tls_wheel_guard.repair.aarch64.operands import Operands
from tls_wheel_guard.repair.aarch64.words import (
    Access,
    access_of,
    added,
    address_made,
    copied,
    is_scalable,
    jump_of,
    names,
    words_of,
)
from tls_wheel_guard.repair.elf_file import ElfFile
from tls_wheel_guard.repair.functions import Functions, Place
from tls_wheel_guard.repair.machine import Site
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["SITE_SIZE", "find_left", "find_sites"]

SITE_SIZE = 4
NEAR = 64
"""Words behind an ``adrp`` in which most pages are gone again."""
_MAKERS = re.compile(rb"[\x10\x30\x50\x70\x90\xb0\xd0\xf0\x18\x58\x98\x1c\x5c\x9c]")
"""The last bytes of ``adr``, ``adrp`` and of loads at a distance from themselves."""
_PAGE_MASK = 0xFFF


def find_sites(file: ElfFile, code: Code, frames: list[Frame], slots: frozenset[int]) -> tuple[Site, ...]:
    """All sites in ascending order; raises CannotRepair where a use is not certain."""
    return _Search(file, code, frames, slots).sites()


def find_left(file: ElfFile, code: Code, frames: list[Frame], slots: frozenset[int]) -> tuple[Site, ...]:
    """Reads that are left in a repaired file, by another way: from each load backwards to the ``adrp`` of its base."""
    functions = Functions(file, frames)
    rests = {slot & _PAGE_MASK for slot in slots}
    found = []
    for piece in code.pieces:
        words = words_of(piece.data)
        for index, word in enumerate(words):
            if word & 0xFFC00000 == 0xF9400000 and (word >> 10 & 0xFFF) << 3 in rests:
                address = piece.address + 4 * index
                slot = _made_before(words, index, address, word)
                if slot in slots and functions.at(address) is not None:
                    found.append(_site(address, slot, word))
    return tuple(found)


def _made_before(words: tuple[int, ...], index: int, address: int, load: int) -> int:
    base = load >> 5 & 31
    for back in range(1, min(NEAR, index) + 1):
        word = words[index - back]
        if jump_of(word, 0) is not None:
            return -1
        if word & 31 == base:
            made = address_made(word, address - 4 * back)
            return -1 if made is None else made + ((load >> 10 & 0xFFF) << 3)
    return -1


def _site(address: int, slot: int, word: int) -> Site:
    base, target, rest = word >> 5 & 31, word & 31, (word >> 10 & 0xFFF) << 3
    return Site(address, slot, "ldr", target, SITE_SIZE, True, f"ldr x{target}, [x{base}, #{rest:#x}]")


class _Search:
    def __init__(self, file: ElfFile, code: Code, frames: list[Frame], slots: frozenset[int]) -> None:
        self._code, self._slots = code, slots
        self._bytes = frozenset(slot + n for slot in slots for n in range(8))
        self._pages = frozenset(slot & ~_PAGE_MASK for slot in slots)
        self._functions = Functions(file, frames)
        self._operands = Operands()
        self._flow = Flow(code, self._functions, self._pages, self._operands.writes)
        self._used: set[int] = set()

    def sites(self) -> tuple[Site, ...]:
        makers: dict[Place, list[int]] = {}
        for piece in self._code.pieces:
            for place, address in self._makers(piece):
                makers.setdefault(place, []).append(address)
        for place in makers:
            self._flow.follow(place)
        found = [site for at, state in self._flow.states.items() if state.held for site in self._examine(at, state)]
        for place, addresses in makers.items():
            self._require_used(place, addresses)
        for target, register, page in sorted(self._flow.calls):
            self._require_unread(target, register, page)
        self._require_no_vectors_of_any_size(found)
        return tuple(sorted(found, key=lambda site: site.address))

    def _makers(self, piece: Piece) -> Iterator[tuple[Place, int]]:
        """Each ``adrp`` of a slot's page that may be followed by a read of the slot, with its function."""
        unpack = struct.Struct("<I").unpack_from
        for hit in _MAKERS.finditer(piece.data[3::4]):
            at = 4 * hit.start()
            (word,) = unpack(piece.data, at)
            address = piece.address + at
            made = address_made(word, address)
            if made is None:
                made = address + 4 * (((word >> 5 & 0x7FFFF) ^ 0x40000) - 0x40000)
                if word & 0x3B000000 == 0x18000000 and self._bytes.isdisjoint(range(made, made + 16)):
                    continue
            elif made not in self._pages and (word >> 31 or made not in self._bytes):
                continue
            place = self._functions.at(address)
            if place is None:
                continue
            if made not in self._pages:
                raise self._refusal("unknown-form", "reaches a slot in a form that is not known", word, address)
            if not self._dies_at_once(piece, at, word & 31, made):
                yield place, address

    def _dies_at_once(self, piece: Piece, at: int, register: int, page: int) -> bool:
        """Whether a page is certainly overwritten before the next jump, and was used for other words of the page."""
        for number, word in enumerate(words_of(piece.data[at + 4 : at + 4 + 4 * NEAR])):
            if jump_of(word, 0) is not None:
                return False
            if not names(word) >> register & 1:
                continue
            access, sum_ = access_of(word), added(word)
            if access is not None and access.base == register and (access.is_load or register not in access.registers):
                used = not self._reaches(page + access.offset, access.size)
            elif sum_ is not None and sum_[0] == register:
                used = page + sum_[1] not in self._bytes
            else:
                used = register not in self._operands.reads(word, piece.address + at + 4 * (number + 1))
            if not used:
                return False
            written = self._operands.writes(word)
            if written is None or register in written:
                return written is not None
        return False

    def _reaches(self, address: int, size: int) -> bool:
        return not self._bytes.isdisjoint(range(address, address + size))

    def _examine(self, at: int, state: State) -> Iterator[Site]:
        """What an instruction does with the pages that it may find in its registers; raises CannotRepair where that is not certain."""
        (word,) = words_of(self._code.at(at, 4))
        if not names(word) & state.held or address_made(word, at) is not None:
            return
        jump = jump_of(word, at)
        if jump is not None and (jump.kind in ("jump", "call", "stop") or word >> 24 == 0x54):
            return
        reads = {register for register in self._operands.reads(word, at) if state.held >> register & 1}
        access = access_of(word)
        if access is not None and access.base in reads:
            yield from self._access(word, at, state, access)
            if access.is_load or access.base not in access.registers:
                reads.discard(access.base)
        if (sum_ := added(word)) is not None and sum_[0] in reads:
            if any(page.page + sum_[1] in self._bytes for page in state.pages[sum_[0]]):
                raise self._refusal("unknown-form", "takes the address of a slot", word, at)
            self._used |= {page.maker for page in state.pages[sum_[0]]}
            reads.discard(sum_[0])
        if (move := copied(word)) is not None:
            reads.discard(move[1])
        # What a register holds that may be overwritten by then is of weight only where a slot would be reached.
        if any(state.is_certain(register) for register in reads):
            raise self._refusal("unknown-form", "uses the page of a slot in a form that is not known", word, at)

    def _access(self, word: int, at: int, state: State, access: Access) -> Iterator[Site]:
        pages = state.pages[access.base]
        self._used |= {page.maker for page in pages}
        reached = {page.page + access.offset for page in pages if self._reaches(page.page + access.offset, access.size)}
        if not reached:
            return
        slot = min(reached)
        if slot not in self._slots or word & 0xFFC00000 != 0xF9400000 or word & 31 == 31:
            raise self._refusal("unknown-form", "reaches a slot in a form that is not known", word, at)
        if not state.is_certain(access.base):
            raise self._refusal("unknown-form", "reads a slot on one way and something else on another", word, at)
        yield _site(at, slot, word)

    def _require_used(self, place: Place, addresses: list[int]) -> None:
        for address in addresses:
            if address not in self._used:
                (word,) = words_of(self._code.at(address, 4))
                raise self._refusal("unknown-form", f"makes the page of a slot, and no use was found from {place.start:#x} on", word, address)

    def _require_unread(self, target: int, register: int, page: Page) -> None:
        """A function that is called with a page in a register must not read a slot with it."""
        inside = Flow(self._code, self._functions, frozenset(), self._operands.writes)
        inside.steps = self._flow.steps
        inside.enter(target, State(ALL & ~(1 << register), {register: frozenset((page,))}))
        self._flow.steps = inside.steps
        for at, state in inside.states.items():
            if state.held:
                (word,) = words_of(self._code.at(at, 4))
                access = access_of(word)
                if access is not None and access.base in state.pages and self._reaches(page.page + access.offset, access.size):
                    raise self._refusal("unknown-form", "reads a slot with a page of another function's", word, at)

    def _require_no_vectors_of_any_size(self, sites: list[Site]) -> None:
        for place in {self._functions.at(site.address) for site in sites}:
            if place is not None:
                for number, word in enumerate(self._flow.words(place)):
                    if is_scalable(word):
                        reason = "is of SVE or SME, whose registers a descriptor's first call does not keep, in a function that reads a slot"
                        raise self._refusal("scalable-vectors", reason, word, place.start + 4 * number)

    def _refusal(self, rule: str, what: str, word: int, address: int) -> CannotRepair:
        return CannotRepair(rule, f"`{self._operands.text(word, address)}` {what}", address=address, found=struct.pack("<I", word))
