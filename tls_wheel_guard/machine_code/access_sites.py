"""Access sites: the instructions that read an initial-exec slot, and the functions that they stand in.

A slot is the word of the GOT that the loader fills with a variable's distance from the thread pointer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tls_wheel_guard.machine_code import aarch64, riscv64, x86
from tls_wheel_guard.machine_code.candidate import Candidate
from tls_wheel_guard.machine_code.code import Code
from tls_wheel_guard.machine_code.disassembly import MACHINES, Disassembler
from tls_wheel_guard.machine_code.functions import FunctionMap, FunctionRange
from tls_wheel_guard.records import dataclass

__all__ = ["Site", "Sites", "find_sites"]


@dataclass(frozen=True, slots=True)
class Site:
    """One instruction that reaches a slot. ``function``: None where neither symbols nor unwind tables cover it.

    ``line``: of the source, as ``file.c:12``, where debug information has it.
    """

    address: int
    slot: int
    text: str
    function: FunctionRange | None
    line: str | None = None


@dataclass(frozen=True, slots=True)
class Sites:
    """All that was found in one module. ``decoded``: whether the machine's code is decoded at all.

    ``variables``: slot -> its variable, in words. ``doubts``: places that may reach a slot and did not decode to an access, one line each.
    """

    decoded: bool
    sites: tuple[Site, ...] = ()
    doubts: tuple[str, ...] = ()
    variables: tuple[tuple[int, str], ...] = ()


_FINDERS: dict[str, Callable[[Code, frozenset[int], FunctionMap, Disassembler], Iterator[Candidate]]] = {
    "x86_64": x86.find,
    "i386": x86.find,
    "aarch64": aarch64.find,
    "riscv64": riscv64.find,
}


def find_sites(code: Code, slots: Iterable[int], functions: FunctionMap) -> Sites:
    """The access sites of the slots; raises UsageError without capstone."""
    if code.machine not in MACHINES:
        return Sites(False)
    found = list(_FINDERS[code.machine](code, frozenset(slots), functions, Disassembler(code.machine)))
    sites = {(f.address, f.slot): Site(f.address, f.slot, f.text, functions.at(f.address)) for f in found if f.text}
    doubts = tuple(dict.fromkeys(f.doubt for f in found if f.doubt))
    return Sites(True, tuple(sites[key] for key in sorted(sites)), doubts)
