"""Descriptor calls over which x86-64 code keeps values in vector registers: what glibc before 2.40 may lose there (bug 31372).

A site is a call through a TLS descriptor. A register is *kept* over it when an instruction of this file reads it later before
anything writes it. Code that calls a function of the same file with a site in it counts too: gcc's -fipa-ra keeps values in registers
that it saw the function leave alone. Only a thread's first use of the block is slow, so a site behind another one of the same function
loses nothing. What can't be read is counted and never judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tls_wheel_guard.machine_code.callees import Callees
from tls_wheel_guard.machine_code.callers import Callers
from tls_wheel_guard.machine_code.code import Code, Piece
from tls_wheel_guard.machine_code.control_flow import ControlFlow, UnreadableCodeError
from tls_wheel_guard.machine_code.descriptor_calls import find_descriptor_calls
from tls_wheel_guard.machine_code.function_starts import FunctionStarts
from tls_wheel_guard.machine_code.later_calls import later_calls
from tls_wheel_guard.machine_code.result_users import Users
from tls_wheel_guard.machine_code.vector_effects import Effect
from tls_wheel_guard.machine_code.vector_liveness import ARGUMENTS, RESULTS, filled_before, live_at_starts, live_behind
from tls_wheel_guard.machine_code.vector_registers import ALL, XMM, names, vectors, with_doubles
from tls_wheel_guard.machine_code.vector_steps import steps_of
from tls_wheel_guard.machine_code.x86 import rip_relative
from tls_wheel_guard.records import dataclass

__all__ = ["DescriptorSite", "DescriptorSites", "find_descriptor_sites"]

LOWER = vectors(0, 32, XMM)
"""The xmm part of all registers."""
MACHINES = ("x86_64", "x32")


@dataclass(frozen=True, slots=True)
class DescriptorSite:
    """A descriptor call. ``function``: start of its code in the unwind table. ``kept``: registers that are read behind it for certain.

    ``later``: whether every way to it leads over another call of the function for this file's own block, which is there since.
    ``name``: the function's, where a symbol has it.
    ``unsure``: whether an argument of a call or a result may be kept over it, which the code of this file alone does not tell.
    """

    address: int
    function: int
    kept: tuple[str, ...]
    unsure: bool
    later: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True)
class DescriptorSites:
    """All sites of a file. ``unread``: (address, why) of instructions that take a descriptor's address, whose code could not be followed.

    ``trouble``: why nothing of the file was looked at.
    """

    sites: tuple[DescriptorSite, ...] = ()
    unread: tuple[tuple[int, str], ...] = ()
    trouble: str | None = None

    @property
    def kept(self) -> tuple[DescriptorSite, ...]:
        """The sites over which a vector register is kept for certain and may be lost: those that are :attr:`DescriptorSite.later` left out."""
        return tuple(site for site in self.sites if site.kept and not site.later)


def find_descriptor_sites(
    code: Code, slots: Iterable[int], own: frozenset[int], names_of: Callable[[int], tuple[int | None, str]], room: int
) -> DescriptorSites:
    """The descriptor calls of x86-64 code and what is kept over each; raises UsageError without capstone.

    ``slots``: addresses of the descriptors; ``own``: of those of this file's own variables. ``names_of``: slot of the GOT -> (address in
    this file or None, name) of the function that it holds. ``room``: bytes of code that are followed at most.
    """
    wanted = frozenset(slots)
    search = _Search(code, wanted, own, names_of, room)
    for taker in _takers(code.pieces, wanted):
        search.add(taker)
    return search.result()


def _takers(pieces: Iterable[Piece], slots: frozenset[int]) -> Iterator[int]:
    """Addresses of ``lea slot(%rip), %reg`` as their bytes show them: 8d, a ModRM byte for rip, the distance."""
    for piece in pieces:
        for at in rip_relative(piece, slots):
            place = at - piece.address
            if place >= 2 and piece.data[place - 2] == 0x8D and piece.data[place - 1] & 0xC7 == 0x05:
                yield at - 2


class _Search:
    """Takers of descriptor addresses by function, and what was found of them."""

    def __init__(
        self, code: Code, slots: frozenset[int], own: frozenset[int], names_of: Callable[[int], tuple[int | None, str]], room: int
    ) -> None:
        self._slots, self._own = slots, own
        self._flow = ControlFlow(code, FunctionStarts(code, 8 if code.machine == "x86_64" else 4), room)
        self._callees = Callees(self._flow, slots, names_of)
        self._callers = Callers(code, self._flow)
        self._users = Users(self._flow, self._callees, self._callers, slots)
        self._takers: dict[int, set[int]] = {}
        self._unread: dict[int, str] = {}

    def add(self, taker: int) -> None:
        """Note a ``lea`` by the function that it stands in. One byte before it may be its prefix."""
        function = self._flow.around(taker)
        if function is None or function.trouble is not None:
            self._unread[taker] = function.trouble or "" if function else "no unwind information covers it"
            return
        begins = next((at for at in (taker, taker - 1) if at in function.index), None)
        if begins is not None:
            self._takers.setdefault(function.start, set()).add(begins)

    def result(self) -> DescriptorSites:
        """Each function is judged by itself, with what it jumps to and, where it is a cold part, with what jumps to it."""
        sites: dict[int, DescriptorSite] = {}
        used: set[int] = set()
        for start, takers in self._takers.items():
            try:
                found, unused = self._judge(start)
            except UnreadableCodeError as error:
                self._unread |= dict.fromkeys(takers, str(error))
                continue
            used |= takers - unused
            for site in found:
                sites[site.address] = _joined(sites.get(site.address), site)
        for takers in self._takers.values():
            self._unread |= {taker: "no call was found that uses this address" for taker in takers - used if taker not in self._unread}
        return DescriptorSites(tuple(sites[a] for a in sorted(sites)), tuple(sorted(self._unread.items())))

    def _judge(self, start: int) -> tuple[list[DescriptorSite], frozenset[int]]:
        """The sites of a function, and its takers that no call uses."""
        roots = [start, *self._hot_parts(start)]
        blocks = self._flow.graph(roots)
        calls = find_descriptor_calls(self._flow, blocks, roots, self._slots)
        steps = {at: steps_of(self._flow, block) for at, block in blocks.items()}
        surely, possibly = self._callees.passages(calls.sites)
        certain, possible = self._users.at_return(roots)
        live = [
            live_behind(blocks, steps, live_at_starts(blocks, steps, results, passages), results, passages)
            for results, passages in ((certain, surely), (possible, possibly))
        ]
        entry = ALL if len(roots) > 1 or possible & ~RESULTS else ARGUMENTS
        filled = filled_before(blocks, steps, dict.fromkeys(roots, entry), possibly)
        # What cvtsi2sd and its kind leave of a register is read by moves of the whole, and nobody means it: a caller's value has a low part.
        own = filled_before(blocks, steps, dict.fromkeys(roots, 0 if len(roots) == 1 else ALL), possibly, 0)
        # Code of SSE holds no value above xmm, so none passes through it.
        possible_parts = LOWER if any(_is_sse(step.effect) for block in steps.values() for step in block) else ALL
        function_of = {step.address: block.function for at, block in blocks.items() for step in steps[at]}
        found = []
        # Functions begin with nothing pushed; a cold part that begins with more is entered by jumps alone.
        entries = [root for root in roots if not self._flow.depth(root)]
        later = later_calls(blocks, entries, frozenset(at for at, through in calls.slots.items() if through <= self._own))
        for at in sorted(calls.sites):
            kept = live[0][at] & filled[at]
            meant = kept & own[at] | with_doubles(kept)
            found.append(_site(at, function_of[at], meant, live[1][at] & filled[at] & possible_parts, at in later))
        return found, calls.unused

    def _hot_parts(self, start: int) -> list[int]:
        """The function that a cold part belongs to: the only one that jumps into it."""
        function = self._flow.around(start)
        sources = self._callers.into(function.start, function.end) if function is not None else ()
        jumpers = {jumper.start for source, _ in sources if (jumper := self._flow.around(source)) is not None}
        return list(jumpers) if len(jumpers) == 1 else []


def _site(address: int, function: int, kept: int, possible: int, later: bool) -> DescriptorSite:
    return DescriptorSite(address, function, tuple(names(kept)), bool(possible & ~kept), later)


def _is_sse(effect: Effect) -> bool:
    """Whether an instruction writes a vector register and leaves what lies above xmm."""
    return bool(effect.writes & LOWER) and not effect.writes & ~LOWER


def _joined(old: DescriptorSite | None, new: DescriptorSite) -> DescriptorSite:
    """What two ways to the same site tell: a cold part is read by itself and with its function."""
    if old is None:
        return new
    return DescriptorSite(
        new.address, new.function, tuple(dict.fromkeys((*old.kept, *new.kept))), old.unsure or new.unsure, old.later and new.later
    )
