"""Source lines of addresses, from a file's DWARF, by pyelftools."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

__all__ = ["lines_of"]

MAX_UNITS = 20_000
"""Most compilation units that are looked through where no .debug_aranges leads to the right one."""


def lines_of(data: bytes, addresses: Iterable[int]) -> dict[int, str]:
    """Address -> ``file.c:12`` for those that debug information covers; empty where there is none or it can't be read."""
    wanted = sorted(set(addresses))
    try:
        # Nothing else reads debug information, and where it is broken the report must not end.
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415

        elf = ELFFile(io.BytesIO(data))
        if not wanted or not elf.has_dwarf_info():
            return {}
        dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
        found: dict[int, str] = {}
        for unit in _units(dwarf, wanted):
            found.update(_lines(dwarf, unit, wanted))
            if len(found) == len(wanted):
                break
    except Exception:
        return {}
    return found


def _units(dwarf: Any, wanted: list[int]) -> Iterable[Any]:
    ranges = dwarf.get_aranges()
    if ranges is not None:
        offsets = {ranges.cu_offset_at_addr(address) for address in wanted}
        if None not in offsets:
            return [dwarf.get_CU_at(offset) for offset in sorted(offsets)]
    return (unit for unit, _ in zip(dwarf.iter_CUs(), range(MAX_UNITS), strict=False))


def _lines(dwarf: Any, unit: Any, wanted: list[int]) -> dict[int, str]:
    """The lines of one unit. A row of its table covers the addresses up to the next row of the same sequence."""
    program = dwarf.line_program_for_CU(unit)
    found: dict[int, str] = {}
    if program is None:
        return found
    before: Any = None
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if before is not None:
            for address in wanted[bisect_right(wanted, before.address - 1) : bisect_right(wanted, state.address - 1)]:
                found[address] = f"{_file(program, before.file)}:{before.line}"
        before = None if state.end_sequence else state
    return found


def _file(program: Any, number: int) -> str:
    """A file's name without folders; DWARF 5 counts files from 0, older versions from 1."""
    entries = program["file_entry"]
    index = number if program["version"] >= 5 else number - 1
    name = entries[index].name if 0 <= index < len(entries) else b"?"
    return name.decode("utf-8", "replace").rsplit("/", 1)[-1]
