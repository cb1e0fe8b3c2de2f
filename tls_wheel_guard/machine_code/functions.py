"""Which function an address belongs to: by a symbol's name and size, else by the unwind table's range."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from tls_wheel_guard.elf.symbol_tables import Function
from tls_wheel_guard.records import dataclass

__all__ = ["FunctionMap", "FunctionRange"]


@dataclass(frozen=True, slots=True)
class FunctionRange:
    """Code from ``start`` up to ``end``. ``name``: None where only the unwind table knows it. ``by``: symbol, fde, or gap."""

    start: int
    end: int
    name: str | None
    by: str

    def __str__(self) -> str:
        return self.name or f"function at {self.start:#x}"


class FunctionMap:
    """Functions by address. ``areas``: (start, end) of the sections with code; none without section headers."""

    def __init__(self, functions: Iterable[Function], ranges: Iterable[tuple[int, int]], areas: Iterable[tuple[int, int]] = ()) -> None:
        # Of several names for one address the last in sorted order counts: an exported one rather than a local one.
        ordered = sorted((f for f in functions if f.size), key=lambda f: (f.start, f.exported, f.size))
        named = {f.start: f for f in ordered}
        self._names = list(named.values())
        self._name_starts = [f.start for f in self._names]
        self._ranges = sorted(set(ranges))
        self._starts = [start for start, _ in self._ranges]
        self._areas = tuple(areas)

    def at(self, address: int) -> FunctionRange | None:
        """The function over an address, None where neither symbols nor unwind tables have one."""
        place = bisect_right(self._starts, address) - 1
        fde = self._ranges[place] if place >= 0 and address < self._ranges[place][1] else None
        place = bisect_right(self._name_starts, address) - 1
        symbol = self._names[place] if place >= 0 and address < self._names[place].start + self._names[place].size else None
        if symbol is not None and (fde is None or symbol.start >= fde[0]):
            return FunctionRange(symbol.start, symbol.start + symbol.size, symbol.name, "symbol")
        if fde is not None:
            return FunctionRange(fde[0], fde[1], symbol.name if symbol else None, "fde")
        return None

    def around(self, address: int, first: int, last: int) -> FunctionRange | None:
        """The function over an address, or the code around it that no function covers, within a segment of ``first`` to ``last``.

        None where section headers say that it is data: old linkers put .rodata and .eh_frame beside the code.
        """
        if self._areas:
            area = next((area for area in self._areas if area[0] <= address < area[1]), None)
            if area is None:
                return None
            first, last = area
        found = self.at(address)
        if found is not None:
            return found
        before = [end for _, end in self._ranges[: bisect_right(self._starts, address)][-1:]]
        before += [f.start + f.size for f in self._names[: bisect_right(self._name_starts, address)][-1:]]
        after = self._starts[bisect_right(self._starts, address) :][:1] + self._name_starts[bisect_right(self._name_starts, address) :][:1]
        start = max([first, *(end for end in before if end <= address)])
        return FunctionRange(start, min([last, *after]), None, "gap")
