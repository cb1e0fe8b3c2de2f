"""Reads of initial-exec slots in their usual form, found without decoding the code around them.

x86-64: ``mov slot(%rip),%reg`` and ``add slot(%rip),%reg`` (psABI, R_X86_64_GOTTPOFF). i386: the same with the slot's distance from
the GOT and any base register but the frame's (R_386_TLS_GOTIE). aarch64: ``adrp`` of the slot's page and a
64-bit ``ldr`` with the rest (ELF for AArch64, R_AARCH64_TLSIE_*). This shows who reads a slot. It does not prove that no other code does.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator

from tls_wheel_guard.elf.source import Source, windows
from tls_wheel_guard.machine_code.code import CodePlaces, Place

__all__ = ["USUAL", "usual_reads"]

_RIP_RELATIVE = bytes(
    1 if byte in b"\x48\x4c" else 2 if byte in b"\x8b\x03" else 3 if byte in b"\x05\x0d\x15\x1d\x25\x2d\x35\x3d" else 0 for byte in range(256)
)
"""What a byte may be: REX.W prefix, operation, ModRM of a RIP-relative operand. Three such bytes in a row are found without a pattern."""
# mod 10, any register, any base but esp (which means a SIB byte) and ebp.
_GOT_RELATIVE = re.compile(
    b"(?=[\\x8b\\x03][" + re.escape(bytes(0x80 | register << 3 | base for register in range(8) for base in (0, 1, 2, 3, 6, 7))) + b"])", re.DOTALL
)
_ADRP = re.compile(rb"[\x90\xb0\xd0\xf0]")
NEAR = 24
"""Instructions after an adrp among which its ldr is looked for."""
FEW = 8
"""Pages of slots that are each searched for by themselves. A GOT has one or two."""


def usual_reads(code: CodePlaces, slots: Collection[int]) -> Iterator[tuple[int, int]]:
    """(address of the instruction, slot) for each read in the usual form; none for other machines."""
    if code.machine in USUAL and slots:
        for place in code.places:
            yield from USUAL[code.machine](code.source, place, frozenset(slots), code.got)


def _x86_64(source: Source, place: Place, slots: frozenset[int], got: int) -> Iterator[tuple[int, int]]:
    del got
    unpack = struct.Struct("<i").unpack_from
    # A read that is whole begins in a window's own bytes: one byte less than it has stands behind them.
    for start, _, data in windows(source, place.offset, place.size, 6):
        address, last = place.address + start, len(data) - 7
        kinds = data.translate(_RIP_RELATIVE)
        at = kinds.find(b"\1\2\3")
        while 0 <= at <= last:
            slot = address + at + 7 + unpack(data, at + 3)[0]
            if slot in slots:
                yield address + at, slot
            at = kinds.find(b"\1\2\3", at + 3)


def _i386(source: Source, place: Place, slots: frozenset[int], got: int) -> Iterator[tuple[int, int]]:
    """The displacement has four bytes even where one would do, since the linker filled it in. One pass, however many slots."""
    if not got:
        return
    unpack = struct.Struct("<i").unpack_from
    for start, _, data in windows(source, place.offset, place.size, 5):
        last = len(data) - 6
        for hit in _GOT_RELATIVE.finditer(data):
            at = hit.start()
            if at <= last and (slot := got + unpack(data, at + 2)[0]) in slots:
                yield place.address + start + at, slot


def _aarch64(source: Source, place: Place, slots: frozenset[int], got: int) -> Iterator[tuple[int, int]]:
    del got
    pages = sorted({slot & ~0xFFF for slot in slots})
    unpack = struct.Struct("<I").unpack_from
    for start, own, data in windows(source, place.offset, place.size, 4 * NEAR):
        address = place.address + start
        for at in _adrps_of_few(data, own, address, pages) if len(pages) <= FEW else _adrps_of_many(data, own, address, frozenset(pages)):
            (word,) = unpack(data, at)
            page, register = adrp_page(word, address + at), word & 31
            for later in range(at + 4, min(at + 4 * NEAR, len(data) - 3), 4):
                (load,) = unpack(data, later)
                if load & 0xFFC00000 == 0xF9400000 and load >> 5 & 31 == register and page + (load >> 10 & 0xFFF) * 8 in slots:
                    yield address + later, page + (load >> 10 & 0xFFF) * 8
                    break


def _adrps_of_few(data: bytes, own: int, address: int, pages: list[int]) -> Iterator[int]:
    """Places of ``adrp`` of some pages. In one page of code all that give the same page have three bytes in common, but for the register."""
    start = 0
    while start < own:
        end = min(own, start + 0x1000 - (address + start) % 0x1000)
        found = []
        for page in pages:
            far = (page >> 12) - (address + start >> 12)
            word = struct.pack("<I", 0x90000000 | (far & 3) << 29 | (far >> 2 & 0x7FFFF) << 5)
            at = data.find(word[1:], start + 1, end + 3) - 1 if -(1 << 20) <= far < 1 << 20 else -1
            while at >= 0:
                if at % 4 == 0 and data[at] & 0xE0 == word[0]:
                    found.append(at)
                at = data.find(word[1:], at + 2, end + 3) - 1
        yield from sorted(found)
        start = end


def _adrps_of_many(data: bytes, own: int, address: int, pages: frozenset[int]) -> Iterator[int]:
    """The same for any number of pages: each ``adrp`` is looked at."""
    for hit in _ADRP.finditer(data[3 : own + 3 : 4]):
        at = 4 * hit.start()
        if adrp_page(int.from_bytes(data[at : at + 4], "little"), address + at) in pages:
            yield at


def adrp_page(word: int, address: int) -> int:
    """The page that an ``adrp`` at an address gives."""
    offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return (address & ~0xFFF) + ((offset ^ 0x100000) - 0x100000 << 12)


USUAL: dict[str, Callable[[Source, Place, frozenset[int], int], Iterator[tuple[int, int]]]] = {
    "x86_64": _x86_64, "i386": _i386, "aarch64": _aarch64,
}  # fmt: skip
"""Machine -> what finds its usual reads."""
