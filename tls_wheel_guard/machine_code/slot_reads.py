"""Reads of initial-exec slots in their usual form, found without decoding the code around them.

x86-64: ``mov slot(%rip),%reg`` and ``add slot(%rip),%reg`` (psABI, R_X86_64_GOTTPOFF). i386: the same with the slot's distance from
the GOT and any base register but the frame's (R_386_TLS_GOTIE). aarch64: ``adrp`` of the slot's page and a
64-bit ``ldr`` with the rest (ELF for AArch64, R_AARCH64_TLSIE_*). This shows who reads a slot. It does not prove that no other code does.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator

from tls_wheel_guard.machine_code.code import Code, Piece

__all__ = ["USUAL", "usual_reads"]

_RIP_RELATIVE = re.compile(rb"(?=[\x48\x4c][\x8b\x03][\x05\x0d\x15\x1d\x25\x2d\x35\x3d])", re.DOTALL)
# mod 10, any register, any base but esp (which means a SIB byte) and ebp.
_GOT_RELATIVE = re.compile(
    b"(?=[\\x8b\\x03][" + re.escape(bytes(0x80 | register << 3 | base for register in range(8) for base in (0, 1, 2, 3, 6, 7))) + b"])", re.DOTALL
)
_ADRP = re.compile(rb"[\x90\xb0\xd0\xf0]")
NEAR = 24
"""Instructions after an adrp among which its ldr is looked for."""


def usual_reads(code: Code, slots: Collection[int]) -> Iterator[tuple[int, int]]:
    """(address of the instruction, slot) for each read in the usual form; none for other machines."""
    if code.machine in USUAL and slots:
        for piece in code.pieces:
            yield from USUAL[code.machine](piece, frozenset(slots), code.got)


def _x86_64(piece: Piece, slots: frozenset[int], got: int) -> Iterator[tuple[int, int]]:
    del got
    data, base = piece.data, piece.address + 7
    unpack = struct.Struct("<i").unpack_from
    last = len(data) - 7
    for hit in _RIP_RELATIVE.finditer(data):
        at = hit.start()
        if at <= last and base + at + unpack(data, at + 3)[0] in slots:
            yield piece.address + at, base + at + unpack(data, at + 3)[0]


def _i386(piece: Piece, slots: frozenset[int], got: int) -> Iterator[tuple[int, int]]:
    """The displacement has four bytes even where one would do, since the linker filled it in. One pass, however many slots."""
    if not got:
        return
    data, unpack = piece.data, struct.Struct("<i").unpack_from
    last = len(data) - 6
    for hit in _GOT_RELATIVE.finditer(data):
        at = hit.start()
        if at <= last and (slot := got + unpack(data, at + 2)[0]) in slots:
            yield piece.address + at, slot


def _aarch64(piece: Piece, slots: frozenset[int], got: int) -> Iterator[tuple[int, int]]:
    del got
    data, pages = piece.data, {slot & ~0xFFF for slot in slots}
    unpack = struct.Struct("<I").unpack_from
    for hit in _ADRP.finditer(data[3::4]):
        at = 4 * hit.start()
        (word,) = unpack(data, at)
        page, register = adrp_page(word, piece.address + at), word & 31
        if page not in pages:
            continue
        for later in range(at + 4, min(at + 4 * NEAR, len(data) - 3), 4):
            (load,) = unpack(data, later)
            if load & 0xFFC00000 == 0xF9400000 and load >> 5 & 31 == register and page + (load >> 10 & 0xFFF) * 8 in slots:
                yield piece.address + later, page + (load >> 10 & 0xFFF) * 8
                break


def adrp_page(word: int, address: int) -> int:
    """The page that an ``adrp`` at an address gives."""
    offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return (address & ~0xFFF) + ((offset ^ 0x100000) - 0x100000 << 12)


USUAL: dict[str, Callable[[Piece, frozenset[int], int], Iterator[tuple[int, int]]]] = {"x86_64": _x86_64, "i386": _i386, "aarch64": _aarch64}
"""Machine -> what finds its usual reads."""
