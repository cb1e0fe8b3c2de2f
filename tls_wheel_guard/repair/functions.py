"""The function over an address: by the unwind table, else what lies between two functions of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from tls_wheel_guard.elf.constants import SHF_EXECINSTR
from tls_wheel_guard.machine_code.eh_frame import Frame
from tls_wheel_guard.repair.elf_file import ElfFile, SectionHeader

__all__ = ["Functions", "Place"]


class Place(NamedTuple):
    """Code from ``start`` up to ``end``. ``is_function``: the unwind table has it; else it is what lies between two functions."""

    start: int
    end: int
    is_function: bool


class Functions:
    """All code of a file in places. Old linkers put data beside the code: what is in no section of code is none."""

    def __init__(self, file: ElfFile, frames: Sequence[Frame]) -> None:
        self._areas: tuple[SectionHeader, ...] = tuple(s for s in file.sections if s.flags & SHF_EXECINSTR and s.in_memory)
        self._frames = frames
        self._starts = [frame.start for frame in frames]

    def at(self, address: int) -> Place | None:
        """The place over an address, None outside of code."""
        area = next((s for s in self._areas if s.address <= address < s.end), None)
        if area is None:
            return None
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._frames[index].end:
            return Place(self._frames[index].start, self._frames[index].end, True)
        start = max([area.address, *(frame.end for frame in self._frames[max(0, index) : index + 1])])
        return Place(start, min([area.end, *self._starts[index + 1 : index + 2]]), False)
