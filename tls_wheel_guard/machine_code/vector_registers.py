"""Vector registers of x86 as bits of one number: five parts of each of zmm0 to zmm31, then the mask registers k0 to k7.

A part is what instructions read or leave alone by itself: bits 0-31 (a float), 32-63 (the rest of a double), 64-127 (the rest of xmm),
128-255 (of ymm) and 256-511 (of zmm). So ``cvtsi2sd %eax, %xmm0`` writes the two lower parts, and its use of the others' old
value counts only where code reads them later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = [
    "ALL",
    "DOUBLE",
    "FLOAT",
    "HIGH",
    "MASKS",
    "PARTS",
    "UPPER",
    "XMM",
    "YMM",
    "ZMM",
    "names",
    "of_register",
    "register_bits",
    "vectors",
    "with_doubles",
]

PARTS = 5
FLOAT, DOUBLE, HIGH, XMM, YMM, ZMM = 0b1, 0b11, 0b100, 0b111, 0b1111, 0b11111
"""Parts of one register: its lowest 4, 8 bytes, its second 8 bytes, and the whole of it by width."""
_VECTORS = 32
MASKS = 0xFF << PARTS * _VECTORS
"""All mask registers."""
ALL = (1 << PARTS * _VECTORS) - 1 | MASKS
UPPER = sum((ZMM & ~XMM) << PARTS * n for n in range(16))
"""What vzeroupper clears: all above xmm of the first sixteen."""

_NAME = re.compile(r"([xyz])mm(\d+)|k([0-7])")
_WIDTHS = {"x": XMM, "y": YMM, "z": ZMM}


def register_bits(number: int, parts: int = ZMM) -> int:
    """The bits of parts of one vector register."""
    return parts << PARTS * number


def vectors(first: int, count: int, parts: int = ZMM) -> int:
    """The bits of ``count`` registers in a row."""
    return sum(register_bits(first + n, parts) for n in range(count))


def with_doubles(bits: int) -> int:
    """Those bits whose register has its lowest eight bytes, or a part of them, among the bits; mask registers too."""
    doubles = bits & vectors(0, _VECTORS, DOUBLE)
    return bits & MASKS | sum(register_bits(n, bits >> PARTS * n & ZMM) for n in range(_VECTORS) if doubles >> PARTS * n & DOUBLE)


def of_register(name: str) -> tuple[int, int] | None:
    """(number, parts of its width) of ``xmm3``; (number, 0) of a mask register, whose number is above the vectors'; None for others."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    if found[3]:
        return _VECTORS + int(found[3]), 0
    return int(found[2]), _WIDTHS[found[1]]


def mask_bit(number: int) -> int:
    """The bit of a mask register by the number that :func:`of_register` gives."""
    return 1 << PARTS * _VECTORS + number - _VECTORS


def names(bits: int) -> Iterator[str]:
    """``xmm0``, ``ymm1``, ``k2``: each register of which a part is set, by the widest part."""
    for number in range(_VECTORS):
        parts = bits >> PARTS * number & ZMM
        if parts:
            yield f"{'xyz'[(parts > XMM) + (parts > YMM)]}mm{number}"
    for number in range(8):
        if bits >> PARTS * _VECTORS + number & 1:
            yield f"k{number}"
