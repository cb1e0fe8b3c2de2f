"""Where the page of a slot may be: the registers that hold one, before each instruction that it can reach.

A value is followed from the ``adrp`` that makes it over moves and jumps, also over those that leave the function (cold parts, veneers).
A register holds for certain what every way to an instruction has put there. At the start of a function x0 to x8 hold something of the
caller's (AAPCS64: arguments and the place of a result); the others hold nothing that code would use. Blocks to which no jump leads are
reached by a jump table, with what is there at an indirect jump, or by an unwinder, with what calls preserve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tls_wheel_guard.machine_code import Code
from tls_wheel_guard.repair.aarch64.words import Jump, address_made, copied, jump_of, names, words_of
from tls_wheel_guard.repair.functions import Functions, Place
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["ALL", "Flow", "Page", "State"]

MAX_STEPS = 1 << 20
"""Instructions that are walked over in one file, each as often as something new is known before it; libgomp takes 50,000."""
MAX_PLACE = 8 << 20
"""Bytes of one function."""
MAX_DEPTH = 8
"""Calls within calls whose written registers are told apart."""
ALL = 0x7FFFFFFF
"""All registers, as a mask: bit n is xn."""
AT_START = 0x1FF
RESULTS = 0x40030003
"""x0, x1, x16, x17, x30: results, and what a veneer or the call itself uses."""
LOST_BY_CALLS = 0x4007FFFF
"""x0 to x18 and x30 (AAPCS64)."""


class Page(NamedTuple):
    """A page of slots, and the address of the instruction that made it."""

    page: int
    maker: int


class State:
    """What registers may hold. ``pages``: by register; ``other``: a mask of those that may hold something else; ``held``: of ``pages``."""

    __slots__ = ("held", "other", "pages")

    def __init__(self, other: int, pages: dict[int, frozenset[Page]]) -> None:
        self.other, self.pages = other, pages
        self.held = sum(1 << register for register in pages)

    def is_certain(self, register: int) -> bool:
        """Whether a register in ``pages`` holds the same page whatever way was taken."""
        return not self.other >> register & 1 and len({found.page for found in self.pages[register]}) == 1

    def joined(self, new: State) -> State:
        """What holds where two ways meet; the state itself where the other brings nothing new."""
        other, pages = self.other | new.other, self.pages
        none: frozenset[Page] = frozenset()
        if any(not found <= pages.get(register, none) for register, found in new.pages.items()):
            pages = {r: pages.get(r, none) | new.pages.get(r, none) for r in pages.keys() | new.pages.keys()}
        return self if pages is self.pages and other == self.other else State(other, pages)

    def without(self, mask: int) -> State:
        """The same, with something else in some registers."""
        if not self.held & mask and self.other & mask == mask:
            return self
        return State(self.other | mask, {r: found for r, found in self.pages.items() if not mask >> r & 1})

    def after_call(self, overwritten: int) -> State:
        """What a call leaves that may overwrite some registers: who calls reads none of these before it is written again.

        A result is one that is written for certain; what holds of the others is in doubt.
        """
        if not self.held & overwritten:
            return self if self.other & overwritten == overwritten else State(self.other | overwritten, self.pages)
        return State(self.other | overwritten, {r: found for r, found in self.pages.items() if not RESULTS & overwritten >> r & 1})


class Flow:
    """The walk over one file. ``pages``: those of slots; ``writes(word)``: the registers that a word writes, None where that is not known.

    ``states``: before each instruction that was reached, by address. ``calls``: (function, register, page) of each call that has one.
    ``steps``: how many instructions were walked over, from a number to begin with.
    """

    def __init__(self, code: Code, functions: Functions, pages: frozenset[int], writes: Callable[[int], frozenset[int] | None]) -> None:
        self._code, self._functions, self._pages, self._writes = code, functions, pages, writes
        self.states: dict[int, State] = {}
        self.calls: set[tuple[int, int, Page]] = set()
        self.steps = 0
        self._overwritten: dict[int, int] = {}
        self._words: dict[Place, tuple[int, ...]] = {}

    def words(self, place: Place) -> tuple[int, ...]:
        """The words of a place; raises CannotRepair where it is too large."""
        if place not in self._words:
            if place.end - place.start > MAX_PLACE:
                raise CannotRepair("undecodable", f"a function of {place.end - place.start} bytes", address=place.start)
            self._words[place] = words_of(self._code.at(place.start, place.end - place.start))
        return self._words[place]

    def follow(self, place: Place) -> None:
        """Walk over all code of a place."""
        self.enter(place.start, State(AT_START if place.is_function else ALL, {}))
        roots: set[int] = set()
        addresses = range(place.start, place.start + 4 * len(self.words(place)), 4)
        while True:
            before, beginning = self.steps, self._unreached(place)
            for address in addresses:
                if address in roots or address not in self.states:
                    roots.add(address)
                    self.enter(address, beginning)
            if self.steps == before:
                return

    def _unreached(self, place: Place) -> State:
        """What is known at the start of a block to which no jump leads."""
        joined: State | None = None
        for address, word in enumerate(self.words(place)):
            state, jump = self.states.get(place.start + 4 * address), jump_of(word, 0)
            if state is None or jump is None or ("indirect" not in jump.kind and jump.kind != "call"):
                continue
            left = state if jump.kind == "indirect" else state.after_call(LOST_BY_CALLS).without(LOST_BY_CALLS)
            left = left.without(ALL & ~left.held)
            joined = left if joined is None else joined.joined(left)
        return joined if joined is not None else State(ALL, {})

    def enter(self, address: int, state: State) -> None:
        """Bring knowledge to an address and to all that is reached from there."""
        work = [(address, state)]
        while work:
            at, brought = work.pop()
            place = self._functions.at(at)
            if place is None or at - place.start & 3:
                continue
            words = self.words(place)
            while (at - place.start) >> 2 < len(words):
                word = words[(at - place.start) >> 2]
                old = self.states.get(at)
                now = brought if old is None else old.joined(brought)
                if now is old:
                    break
                self._step(at, now)
                jump = jump_of(word, at)
                if jump is None:
                    at, brought = at + 4, self._after(word, at, now)
                    continue
                work += self._leading(jump, place, now)
                at += 4
                # A call at the very end is of a function that does not return.
                if jump.kind in ("jump", "indirect", "return", "stop") or (jump.kind != "branch" and at - place.start >= 4 * len(words)):
                    break
                brought = now if jump.kind == "branch" else now.after_call(self._overwritten_by(jump.target))
            else:
                if brought.held:
                    work.append((place.start + 4 * len(words), brought))

    def _overwritten_by(self, target: int | None, depth: int = 0) -> int:
        """A mask of the registers that a function may write. gcc reads the others again behind the call (``-fipa-ra``), x0 too."""
        if target is None or depth > MAX_DEPTH:
            return LOST_BY_CALLS
        if target not in self._overwritten:
            self._overwritten[target] = LOST_BY_CALLS  # of a function that calls itself
            self._overwritten[target] = self._written_in(target, depth)
        return self._overwritten[target]

    def _written_in(self, target: int, depth: int) -> int:
        place = self._functions.at(target)
        if place is None or not place.is_function or place.start != target:
            return LOST_BY_CALLS
        mask = 1 << 30
        for number, word in enumerate(self.words(place)):
            jump = jump_of(word, place.start + 4 * number)
            if jump is None:
                written = self._writes(word)
                mask |= names(word) if written is None else sum(1 << register for register in written)
            elif jump.kind == "call":
                mask |= self._overwritten_by(jump.target, depth + 1)
            elif "indirect" in jump.kind or (jump.target is not None and not place.start <= jump.target < place.end):
                return LOST_BY_CALLS
            if mask & LOST_BY_CALLS == LOST_BY_CALLS:
                break
        return mask & LOST_BY_CALLS

    def _step(self, address: int, state: State) -> None:
        self.states[address] = state
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise CannotRepair("undecodable", "its code has too many ways to follow", address=address)

    def _leading(self, jump: Jump, place: Place, state: State) -> list[tuple[int, State]]:
        """Where a jump brings what is known. A way out of the place is only followed with a page."""
        if jump.target is None:
            return []
        if jump.kind == "call":
            self.calls |= {(jump.target, register, page) for register, found in state.pages.items() for page in found}
            return []
        if place.start <= jump.target < place.end:
            return [(jump.target, state)]
        other = self._functions.at(jump.target) if state.held else None
        if other is None:
            return []
        starts = other.is_function and jump.target == other.start
        return [(jump.target, State(state.other | AT_START, state.pages) if starts else state)]

    def _after(self, word: int, address: int, state: State) -> State:
        """What is known behind an instruction that is no jump."""
        register = word & 31
        made = address_made(word, address)
        if made in self._pages and register != 31:
            kept = state.without(1 << register)
            return State(kept.other & ~(1 << register), {**kept.pages, register: frozenset((Page(made, address),))})
        if not names(word) & state.held:
            # Too much where it is a store: of a register that holds no page this is of no weight.
            return state if register == 31 else state.without(1 << register)
        move = copied(word)
        if move is not None and state.held >> move[1] & 1 and move[0] != 31:
            to, source = move
            other = state.other & ~(1 << to) | (state.other >> source & 1) << to
            return State(other, {**state.pages, to: state.pages[source]})
        written = self._writes(word)
        if written is None:
            return State(state.other | names(word) & state.held, state.pages)
        return state.without(sum(1 << number for number in written if number != 31))
