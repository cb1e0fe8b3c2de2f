"""Functions of x86-64 code as blocks: decoded whole, with their cold parts, tail calls and jump tables.

A function is what unwind information covers. A jump that leaves it leads to its cold part or is a tail call: both are followed, as
the code behind the jump goes on in the same frame or returns in its place. A function that does not decode to its last byte,
or that jumps where its instructions do not begin, is unreadable, and so is one with a jump whose targets can't be found.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from tls_wheel_guard.machine_code.code import Code
from tls_wheel_guard.machine_code.disassembly import Line, LineDecoder
from tls_wheel_guard.machine_code.function_starts import FunctionStarts
from tls_wheel_guard.machine_code.taken_addresses import TakenAddresses
from tls_wheel_guard.records import dataclass, field

__all__ = ["Block", "ControlFlow", "Function", "branch_target"]

MAX_TABLE = 1 << 16
"""Entries of one jump table."""
STOPS = frozenset({"ud2", "ud1", "ud0", "int3", "hlt"})
RETURNS = frozenset({"ret", "retf", "iretq"})
_RIP_RELATIVE = re.compile(r"\[rip (?:([+-]) (?:0x)?([0-9a-f]+))?\]")


class UnreadableCodeError(Exception):
    """Why a function can't be followed, in words."""


@dataclass(slots=True)
class Function:
    """Decoded code from ``start`` up to ``end``. ``index``: address -> place in ``lines``. ``trouble``: why it can't be followed."""

    start: int
    end: int
    lines: list[Line] = field(default_factory=list)
    index: dict[int, int] = field(default_factory=dict)
    tables: dict[int, frozenset[int]] = field(default_factory=dict)
    leaving: list[int] | None = None
    trouble: str | None = None


@dataclass(slots=True)
class Block:
    """Instructions that run one after another. ``end``: ``next``, ``jump``, ``return``, ``tail`` (a jump out of what is known) or ``stop``.

    ``successors``: addresses of the blocks behind it. ``function``: the start of its function.
    """

    start: int
    function: int
    lines: list[Line]
    successors: tuple[int, ...]
    end: str


def branch_target(line: Line) -> int | None:
    """The address that a direct jump or call leads to."""
    return int(line.operands, 16) if line.operands.startswith("0x") else None


def rip_target(line: Line) -> int | None:
    """The address of an instruction's rip-relative operand."""
    found = _RIP_RELATIVE.search(line.operands)
    if found is None:
        return None
    distance = int(found[2], 16) if found[2] else 0
    return line.address + line.size + (-distance if found[1] == "-" else distance)


def is_jump(name: str) -> bool:
    """Whether a mnemonic without its prefixes is a jump, conditional ones too."""
    return name[:1] == "j" or name[:4] == "loop" or name == "xbegin"


def plain(mnemonic: str) -> str:
    """A mnemonic without prefixes such as ``notrack`` or ``bnd``."""
    return mnemonic.rsplit(" ", 1)[-1] if " " in mnemonic else mnemonic


class ControlFlow:
    """The decoded functions of one file. ``room``: bytes of code that are decoded at most."""

    def __init__(self, code: Code, starts: FunctionStarts, room: int) -> None:
        self._code, self._starts, self._room = code, starts, room
        self._decoder = LineDecoder(code.machine)
        self._taken = TakenAddresses(code)
        self._functions: dict[int, Function] = {}
        self._stubs: dict[int, int | None] = {}
        self._blocks: dict[tuple[int, frozenset[int]], list[Block]] = {}

    def around(self, address: int) -> Function | None:
        """The function over an address, decoded; None where no unwind information covers it, or it is a stub of a PLT."""
        place = self._starts.around(address)
        if place is None or self.stub_slot(address) is not None:
            return None
        start, end = place
        if start not in self._functions:
            self._functions[start] = self._decode(start, end)
        return self._functions[start]

    def _decode(self, start: int, end: int) -> Function:
        size = end - start
        if size > self._room:
            return Function(start, end, trouble="more code than is followed (limit followed-code)")
        self._room -= size
        data = self._code.at(start, size)
        lines = self._decoder.decode(data, start)
        function = Function(start, end, lines, {line.address: place for place, line in enumerate(lines)})
        reached = lines[-1].address + lines[-1].size if lines else start
        if len(data) != size or reached != end:
            function.trouble = f"the code at {reached:#x} does not decode"
        return function

    def depth(self, address: int) -> int | None:
        """Bytes between the stack pointer and the return address, as the unwind table tells."""
        return self._starts.depth(address)

    def stub_slot(self, address: int) -> int | None:
        """The GOT slot that a stub of a PLT at an address jumps through; None where there is no stub."""
        if address not in self._stubs:
            slot = None
            for line in self._decoder.decode(self._code.at(address, 16), address)[:3]:
                name = plain(line.mnemonic)
                if name == "jmp":
                    slot = rip_target(line)
                if name not in ("endbr64", "mov") or (name == "mov" and not line.operands.startswith("r11d, ")):
                    break
            self._stubs[address] = slot
        return self._stubs[address]

    def graph(self, roots: Iterable[int]) -> dict[int, Block]:
        """Blocks by address of the functions over ``roots`` and of all code that they jump to; raises UnreadableCodeError."""
        entries: dict[int, set[int]] = {}
        work = list(roots)
        while work:
            address = work.pop()
            function = self._known(address)
            if address in entries.setdefault(function.start, set()):
                continue
            new = len(entries[function.start]) == 0
            entries[function.start].add(address)
            if new:
                work += self._leaving(function)
        blocks: dict[int, Block] = {}
        for start, places in entries.items():
            key = (start, frozenset(place for place in places if place != start))
            if key not in self._blocks:
                self._blocks[key] = list(self._split(self._functions[start], places))
            blocks |= {block.start: block for block in self._blocks[key]}
        return blocks

    def _known(self, address: int) -> Function:
        function = self.around(address)
        if function is None:
            raise UnreadableCodeError(f"no unwind information at {address:#x}")
        if function.trouble is not None:
            raise UnreadableCodeError(function.trouble)
        if address not in function.index:
            raise UnreadableCodeError(f"a jump to {address:#x}, between two instructions")
        return function

    def _leaving(self, function: Function) -> list[int]:
        """Where the jumps of a function lead that leave it, but for stubs of a PLT."""
        if function.leaving is None:
            jumps = (place for place, line in enumerate(function.lines) if is_jump(plain(line.mnemonic)))
            targets = {target for place in jumps for target in self._targets(function, place)}
            function.leaving = sorted(target for target in targets if not function.start <= target < function.end)
        return function.leaving

    def _targets(self, function: Function, place: int) -> frozenset[int]:
        """The addresses that a jump may lead to, without stubs of a PLT; empty for a tail call through a register."""
        line = function.lines[place]
        target = branch_target(line)
        if target is not None:
            # clang jumps to a function's end behind calls that never return.
            nowhere = target == function.end and self._starts.around(target) is None
            return frozenset() if nowhere or self.stub_slot(target) is not None else frozenset({target})
        if line.address not in function.tables:
            function.tables[line.address] = self._table_targets(function, place)
        return function.tables[line.address]

    def _table_targets(self, function: Function, place: int) -> frozenset[int]:
        """The targets of an indirect jump: those of its table; none where it is a tail call."""
        jump = function.lines[place]
        if "*" in jump.operands:
            raise UnreadableCodeError(f"the targets of `{jump.mnemonic} {jump.operands}` at {jump.address:#x} were not found")
        if "[" in jump.operands:
            return frozenset()
        loads = [line for line in _before(function, place, 16) if _loads_entry(line)]
        if not loads and not _computed(function, place, jump.operands):
            return frozenset()
        base = re.search(r"\[(\w+) \+", loads[0].operands) if loads else None
        leas = [line for line in function.lines if line.mnemonic == "lea" and "[rip" in line.operands]
        for candidates in (
            _nearest(function, function.index[loads[0].address], base[1]) if base else [],
            [x for x in leas if base and _writes(x, base[1])],
            leas,
        ):
            tables = {table for line in candidates if (table := rip_target(line))}
            targets = {target for table in tables for target in self._read_table(function, table)}
            if targets:
                return frozenset(targets)
        raise UnreadableCodeError(f"the targets of `{jump.mnemonic} {jump.operands}` at {jump.address:#x} were not found")

    def _read_table(self, function: Function, table: int) -> Iterator[int]:
        """The targets in a table of distances from its own address: four bytes each, up to the first that leads to no instruction."""
        last = min(self._taken.behind(table) or table + 4 * MAX_TABLE, table + 4 * MAX_TABLE)
        for entry in range(table, last, 4):
            data = self._code.loaded(entry, 4)
            if len(data) < 4:
                return
            target = table + struct.unpack("<i", data)[0]
            if target not in function.index:
                around = self.around(target) if not function.start <= target < function.end else None
                if around is None or around.trouble is not None or target not in around.index:
                    return
            yield target

    def _split(self, function: Function, entries: Iterable[int]) -> Iterator[Block]:
        """The blocks of one function."""
        lines = function.lines
        leaders = {function.start, *entries}
        jumps: dict[int, frozenset[int]] = {}
        for place, line in enumerate(lines):
            name = plain(line.mnemonic)
            if is_jump(name):
                jumps[place] = self._targets(function, place)
                leaders |= {target for target in jumps[place] if function.start <= target < function.end}
            if (is_jump(name) or name in RETURNS or name in STOPS) and place + 1 < len(lines):
                leaders.add(lines[place + 1].address)
        if not all(leader in function.index for leader in leaders):
            raise UnreadableCodeError(f"a jump between two instructions of the function at {function.start:#x}")
        places = sorted(function.index[leader] for leader in leaders)
        for first, behind in zip(places, [*places[1:], len(lines)], strict=True):
            yield self._block(function, first, behind, jumps)

    @staticmethod
    def _block(function: Function, first: int, behind: int, jumps: dict[int, frozenset[int]]) -> Block:
        lines = function.lines[first:behind]
        name = plain(lines[-1].mnemonic)
        following = (function.lines[behind].address,) if behind < len(function.lines) else ()
        if name in RETURNS:
            return Block(lines[0].address, function.start, lines, (), "return")
        if name in STOPS:
            return Block(lines[0].address, function.start, lines, (), "stop")
        targets = tuple(sorted(jumps.get(behind - 1, ())))
        if name == "jmp":
            return Block(lines[0].address, function.start, lines, targets, "jump" if targets else "tail")
        # A conditional jump to a stub of a PLT is a conditional tail call.
        end = "tail" if is_jump(name) and not targets else "jump" if is_jump(name) else "next"
        return Block(lines[0].address, function.start, lines, (*targets, *following), end)


def _before(function: Function, place: int, count: int) -> Iterator[Line]:
    """Instructions before one, the nearest first, up to the end of the block before."""
    for at in range(place - 1, max(place - 1 - count, -1), -1):
        line = function.lines[at]
        name = plain(line.mnemonic)
        if is_jump(name) or name in RETURNS or name == "call":
            return
        yield line


def _writes(line: Line, register: str) -> bool:
    """Whether an instruction names a register first."""
    return line.operands.startswith(f"{register}, ")


def _nearest(function: Function, place: int, register: str) -> list[Line]:
    """The instruction that gives a register its value before another one, if that is a ``lea`` in the same block."""
    for line in _before(function, place, 24):
        if _writes(line, register):
            return [line] if line.mnemonic == "lea" and "[rip" in line.operands else []
    return []


def _loads_entry(line: Line) -> bool:
    """Whether an instruction loads an entry of a table: its index counts four or eight bytes."""
    return line.mnemonic in ("movsxd", "mov", "add") and line.operands[:1] in "re" and ("*4" in line.operands or "*8" in line.operands)


def _computed(function: Function, place: int, register: str) -> bool:
    """Whether a jump's register is not simply loaded before the jump, and the function reads tables anywhere."""
    for line in _before(function, place, 16):
        if line.operands.startswith(f"{register}, ") and plain(line.mnemonic) not in ("cmp", "test"):
            return plain(line.mnemonic) != "mov" and not line.mnemonic.startswith("cmov")
    return any(_loads_entry(line) and line.mnemonic == "movsxd" for line in function.lines)
