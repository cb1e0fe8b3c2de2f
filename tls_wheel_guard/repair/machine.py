"""What a machine brings to a repair: its numbers, its access forms, its thunks. One package a machine fills a :class:`MachineRepair`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tls_wheel_guard.machine_code import Code
from tls_wheel_guard.machine_code.eh_frame import Frame
from tls_wheel_guard.repair.elf_file import ElfFile

__all__ = ["Depth", "Flavour", "FoundThunk", "FrameNumbers", "MachineRepair", "Piece", "Proof", "Site", "Step"]

Flavour = Literal["guarded", "plain"]
"""``guarded``: a thread's first call of a descriptor may run C code that overwrites vector registers (glibc before 2.40, bug 31372), so they
are kept around it. ``plain``: it never does (musl since 1.1.22)."""


@dataclass(frozen=True, slots=True)
class Site:
    """One instruction that reads a slot. ``form``: a row of the machine's table; ``register``: the one it writes, by its number.

    ``keep_flags``: code behind it may read flags that were set before it. ``text``: the instruction as the decoder prints it.
    """

    address: int
    slot: int
    form: str
    register: int
    size: int
    keep_flags: bool
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """From byte ``offset`` of a thunk on, the stack pointer is ``pushed`` bytes below the function's. ``rules``: more CFI, as bytes.

    ``return_at``: bytes from the stack pointer to the old value of the return address's register, None while that holds it itself.
    """

    offset: int
    pushed: int
    rules: bytes = b""
    return_at: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Code with its unwind steps. For a guard, whose frame is its own, ``steps`` carry whole rows in ``rules``."""

    code: bytes
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Depth:
    """Before the instruction at an address the stack pointer is ``pushed`` bytes down; ``return_at`` as in :class:`Step`."""

    address: int
    pushed: int
    return_at: int | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """A thunk's proof. ``wrong``: what is wrong with it, "" where nothing is. ``depths``: what holds before each instruction."""

    wrong: str
    depths: tuple[Depth, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundThunk:
    """A thunk in a repaired file: its address and size, the site that it goes back behind, the descriptor that it calls."""

    address: int
    size: int
    site: int
    descriptor: int


@dataclass(frozen=True, slots=True)
class FrameNumbers:
    """What the machine's call frame information is made of: DWARF register numbers, and a CIE's first instructions."""

    code_align: int
    stack_register: int
    return_register: int
    initial: bytes
    returns_on_stack: bool
    stack_opcodes: bytes
    """Bytes of DWARF operations that may read the stack pointer or the frame address: an expression with one of them is not adjusted."""


@dataclass(frozen=True, slots=True)
class MachineRepair:
    """A machine's row. ``tpoff``, ``tlsdesc``: relocation numbers. ``page``: bytes of a page in which code may be added, 0: the largest p_align.

    ``poison``: what a slot holds afterwards, so that a read of it faults. ``site_size``: bytes of a read.
    ``needs_guard``: a descriptor's first call may lose registers. ``no_descriptors``: systems whose loader knows none here, by their libc.
    ``find_sites(file, code, frames, slots)`` raises CannotRepair where a use is not certain; ``find_left``: the same in a repaired file.
    ``thunk(site, flavour, at, descriptor, guard)``: its length does not depend on the addresses.
    ``redirect(site, thunk)``: the site's new bytes. ``prove(site, code, at, thunk, descriptor, guard)``: the same
    bytes read again. ``read_thunks(code, at)`` and ``is_redirected(site's bytes, thunk)``: the same in a file that was repaired before.
    """

    name: str
    e_machine: int
    tpoff: int
    tlsdesc: int
    page: int
    poison: bytes
    site_size: int
    needs_guard: bool
    no_descriptors: Mapping[str, str]
    frame: FrameNumbers
    find_sites: Callable[[ElfFile, Code, list[Frame], frozenset[int]], tuple[Site, ...]]
    find_left: Callable[[ElfFile, Code, list[Frame], frozenset[int]], tuple[Site, ...]]
    guard: Callable[[Flavour], Piece]
    thunk: Callable[[Site, Flavour, int, int, int], Piece]
    redirect: Callable[[Site, int], bytes]
    prove: Callable[[Site, bytes, int, bytes, int, int], Proof]
    read_thunks: Callable[[bytes, int], Iterator[FoundThunk]]
    is_redirected: Callable[[bytes, FoundThunk], bool]
