"""Calls through TLS descriptors on x86-64: a data flow of the addresses of descriptor slots.

The psABI's ``lea slot(%rip), %rax; call *(%rax)`` is one sequence for clang only. gcc computes the address once for many
calls, keeps it in another register, on the stack or in a vector register, and moves it to rax before each call. So the
flow follows what holds a slot's address, over all ways through a function; where ways meet it may hold what any of them brought.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tls_wheel_guard.machine_code.control_flow import Block, ControlFlow, branch_target, plain, rip_target
from tls_wheel_guard.machine_code.disassembly import Line
from tls_wheel_guard.records import dataclass, field

__all__ = ["DescriptorCalls", "find_descriptor_calls"]

_GENERAL = {
    name: wide
    for wide, names in {
        **{f"r{x}x": (f"r{x}x", f"e{x}x", f"{x}x", f"{x}l", f"{x}h") for x in "abcd"},
        **{f"r{x}": (f"r{x}", f"e{x}", x, f"{x}l") for x in ("si", "di", "bp", "sp")},
        **{f"r{n}": (f"r{n}", f"r{n}d", f"r{n}w", f"r{n}b") for n in range(8, 16)},
    }.items()
    for name in names
}
"""Part of a general register -> the whole."""
_VECTOR = re.compile(r"[xyz]mm(\d+)")
_STACK = re.compile(r"[a-z]+ ptr \[(r[sb]p)(?: ([+-]) (?:0x)?([0-9a-f]+))?\]")
_CALL = re.compile(r"qword ptr \[(\w+)\]")
_LOST_IN_CALLS = frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"})
_MOVES = frozenset(
    """
    mov movq movd movabs vmovq vmovd movaps movups movdqa movdqu movapd movupd
    vmovaps vmovups vmovdqa vmovdqu vmovapd vmovupd vmovdqa64 vmovdqu64
""".split()
)
_READ_ONLY = frozenset("cmp test push call jmp bt ucomisd comisd ucomiss comiss".split())

_Held = dict[str, frozenset[int]]


@dataclass(slots=True)
class _State:
    """``held``: place -> addresses of the lea instructions whose slot's address it may hold. ``depth``: bytes pushed, None if unknown."""

    held: _Held
    depth: int | None = 0


@dataclass(slots=True)
class DescriptorCalls:
    """``slots``: address of each call -> the descriptors that it may go through. ``unused``: lea instructions that no call was found for."""

    slots: dict[int, frozenset[int]]
    unused: frozenset[int]

    @property
    def sites(self) -> frozenset[int]:
        """Addresses of the calls."""
        return frozenset(self.slots)


@dataclass(slots=True)
class _Walk:
    """One data flow over the blocks of some functions. ``takers``: address of each lea instruction of a slot -> the slot."""

    flow: ControlFlow
    blocks: dict[int, Block]
    takers: Mapping[int, int]
    states: dict[int, _State] = field(default_factory=dict)
    behind_calls: dict[int | None, _Held] = field(default_factory=dict)
    sites: dict[int, frozenset[int]] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)

    def run(self, entries: Iterable[int]) -> None:
        """Follow all ways from the entries. States only grow, so this ends."""
        self._follow([entry for entry in entries if self._join(entry, _State({}, self.flow.depth(entry)))])
        # Blocks that no jump leads to are landing pads of exceptions: they begin with what calls at the same depth left.
        for start in sorted(self.blocks):
            if start not in self.states:
                depth = self.flow.depth(start)
                self._join(start, _State(self.behind_calls.get(depth, {}), depth))
                self._follow([start])

    def _follow(self, work: list[int]) -> None:
        while work:
            block = self.blocks[work.pop()]
            state = self._through(block)
            work += [target for target in block.successors if target in self.blocks and self._join(target, state)]

    def _join(self, address: int, state: _State) -> bool:
        """Add what one more way brings; whether that is new."""
        old = self.states.get(address)
        if old is None:
            self.states[address] = _State(dict(state.held), state.depth)
            return True
        changed = False
        if old.depth is None and state.depth is not None:
            old.depth, changed = state.depth, True
        for place, takers in state.held.items():
            if not takers <= old.held.get(place, frozenset()):
                old.held[place] = old.held.get(place, frozenset()) | takers
                changed = True
        return changed

    def _through(self, block: Block) -> _State:
        start = self.states[block.start]
        state = _State(dict(start.held), start.depth)
        for line in block.lines:
            name = plain(line.mnemonic)
            if line.address in self.takers:
                state.held[_GENERAL[line.operands.split(",", 1)[0]]] = frozenset({line.address})
            elif name == "call":
                self._call(line, state)
            elif "sp" in line.operands or name in ("push", "pop", "leave"):
                _move_stack(name, line.operands, state)
            elif state.held:
                _move(name, line.operands, state)
        return state

    def _call(self, line: Line, state: _State) -> None:
        register = _CALL.fullmatch(line.operands)
        takers = state.held.get(_GENERAL.get(register[1], "")) if register else None
        if takers:
            slots = frozenset(self.takers[taker] for taker in takers)
            self.sites[line.address] = self.sites.get(line.address, frozenset()) | slots
            self.used |= takers
            state.held.pop("rax", None)
            return
        target = branch_target(line)
        # gcc's -fipa-ra knows which registers a function of the same file leaves alone: none but rax is lost for sure.
        near = target is not None and self.flow.stub_slot(target) is None
        for place in [p for p in state.held if p == "rax" or (not near and (p in _LOST_IN_CALLS or p[0] == "v"))]:
            del state.held[place]
        left = self.behind_calls.setdefault(state.depth, {})
        for place, held in state.held.items():
            left[place] = left.get(place, frozenset()) | held


def _place(operand: str, depth: int | None) -> str | None:
    """The name of what can hold an address: a general register, a vector register, a word of the frame; None for others."""
    if operand in _GENERAL:
        return _GENERAL[operand]
    vector = _VECTOR.fullmatch(operand)
    if vector is not None:
        return f"v{vector[1]}"
    stack = _STACK.fullmatch(operand)
    if stack is None:
        return None
    distance = int(stack[3], 16) if stack[3] else 0
    distance = -distance if stack[2] == "-" else distance
    if stack[1] == "rbp":
        return f"[rbp{distance:+}]"
    return f"[rsp{distance - depth:+}]" if depth is not None else None


def _set(state: _State, place: str | None, held: frozenset[int] | None) -> None:
    if place is None:
        return
    if held:
        state.held[place] = held
    else:
        state.held.pop(place, None)


def _move(name: str, operands: str, state: _State) -> None:
    """An instruction that does not touch the stack pointer: a copy, or a write that ends what its target held."""
    if name in _READ_ONLY or name in ("nop", "endbr64"):
        return
    target, _, source = operands.partition(", ")
    place = _place(target, state.depth)
    if name in _MOVES:
        _set(state, place, state.held.get(_place(source, state.depth) or ""))
    elif name == "xchg":
        other = _place(source, state.depth)
        first, second = state.held.get(place or ""), state.held.get(other or "")
        _set(state, place, second)
        _set(state, other, first)
    elif name.startswith("cmov"):
        held = state.held.get(_place(source, state.depth) or "", frozenset()) | state.held.get(place or "", frozenset())
        _set(state, place, held)
    elif place is not None and place[0] == "v":
        # pinsrq, punpcklqdq: an address in a part of a vector register may stay there.
        held = frozenset().union(*(state.held.get(_place(o, state.depth) or "", frozenset()) for o in operands.split(", ")))
        _set(state, place, held)
    else:
        _set(state, place, None)


_AMOUNT = re.compile(r"rsp, (?:\[rsp ([+-]) )?(?:0x)?([0-9a-f]+)\]?")


def _move_stack(name: str, operands: str, state: _State) -> None:
    """Instructions that name or move the stack pointer."""
    if name == "push":
        if state.depth is not None:
            state.depth += 8
            _set(state, _place("qword ptr [rsp]", state.depth), state.held.get(_place(operands, state.depth - 8) or ""))
    elif name == "pop":
        if state.depth is not None:
            held = state.held.get(_place("qword ptr [rsp]", state.depth) or "")
            state.depth -= 8
            _set(state, _place(operands, state.depth), held)
    elif name in ("sub", "add", "lea") and operands.startswith("rsp, ") and (amount := _AMOUNT.fullmatch(operands)):
        by = int(amount[2], 16)
        grows = amount[1] == "-" if name == "lea" else name == "sub"
        state.depth = None if state.depth is None else state.depth + (by if grows else -by)
    elif name == "and" and operands.startswith("rsp, "):
        # The frame is aligned: from here on words of the frame are counted from the aligned address.
        state.held = {place: held for place, held in state.held.items() if not place.startswith("[rsp")}
    elif name == "leave" or operands.startswith("rsp, "):
        state.depth = None if name != "mov" or operands != "rsp, rbp" else state.depth
    elif state.held:
        _move(name, operands, state)


def find_descriptor_calls(flow: ControlFlow, blocks: dict[int, Block], entries: Iterable[int], slots: frozenset[int]) -> DescriptorCalls:
    """The calls through descriptors in some blocks. ``entries``: addresses at which functions begin; ``slots``: of their words in the GOT."""
    takers = {
        line.address: slot
        for block in blocks.values()
        for line in block.lines
        if line.mnemonic == "lea" and "[rip" in line.operands and (slot := rip_target(line)) in slots and slot is not None
    }
    if not takers:
        return DescriptorCalls({}, frozenset())
    walk = _Walk(flow, blocks, takers)
    walk.run(entries)
    return DescriptorCalls(walk.sites, frozenset(takers) - walk.used)
