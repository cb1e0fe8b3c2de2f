"""Addresses that code takes with ``lea distance(%rip)``, found in its bytes: a jump table of PIC begins at one and ends before the next."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right

from tls_wheel_guard.machine_code.code import Code

__all__ = ["TakenAddresses"]

MAX_SEARCHED = 64 << 20
"""Bytes of code that are searched; in a larger file nothing is known."""
_LEA = re.compile(rb"\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]")


class TakenAddresses:
    """The addresses of one file, searched when first asked for."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._sorted: list[int] | None = None

    def behind(self, address: int) -> int | None:
        """The lowest one above an address; None where there is none."""
        if self._sorted is None:
            self._sorted = self._search()
        place = bisect_right(self._sorted, address)
        return self._sorted[place] if place < len(self._sorted) else None

    def _search(self) -> list[int]:
        if sum(len(piece.data) for piece in self._code.pieces) > MAX_SEARCHED:
            return []
        unpack = struct.Struct("<i").unpack_from
        return sorted(
            {
                piece.address + hit.start() + 6 + unpack(piece.data, hit.start() + 2)[0]
                for piece in self._code.pieces
                for hit in _LEA.finditer(piece.data, 0, max(len(piece.data) - 4, 0))
            }
        )
