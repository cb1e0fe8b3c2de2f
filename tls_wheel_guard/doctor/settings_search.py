"""Which settings let a sequence of dlopens succeed, found by simulation. Pure: values in, values out.

More room for descriptors (glibc.rtld.optional_static_tls) also lets more modules take it, so that a larger value may fail where a
smaller one works. That is why each value is simulated, and why glibc.rtld.nns comes first where descriptors are present.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tls_wheel_guard.loaders import Given, Loader, Open, freebsd, glibc
from tls_wheel_guard.loaders.glibc.tunables import BOUNDS
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.tls import TlsModule

__all__ = [
    "MANY",
    "Brought",
    "Start",
    "Tuning",
    "best_order",
    "brought",
    "first_refused",
    "least_extra",
    "least_tuning",
    "merged_tunables",
    "orders",
    "preloaded",
    "start_up_order",
]

MARGIN = 512
"""Bytes of room that a padded value leaves for modules that were not seen."""
MANY = 5
"""Imports up to which all their orders are tried: 120 of them."""
MAX_NNS = BOUNDS["rtld.nns"][1]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Values of glibc's two tunables."""

    nns: int
    optional: int

    def changed(self, current: Tuning) -> dict[str, int]:
        """Those that differ, by name."""
        pairs = (("rtld.nns", self.nns, current.nns), ("rtld.optional_static_tls", self.optional, current.optional))
        return {name: value for name, value, now in pairs if value != now}


@dataclass(frozen=True, slots=True)
class Start:
    """A process before its first dlopen: its loader, the state, and the tunables in force (None: the loader has none)."""

    loader: Loader[Any]
    state: Any
    tuning: Tuning | None = None

    @property
    def is_known(self) -> bool:
        """Whether the block has the layout that the model computes from the tunables; with an auditing module, for one, it has another."""
        return self.tuning is not None and self.tuned(self.tuning).limit == self.state.limit

    def tuned(self, tuning: Tuning) -> Any:
        """The state under other tunables."""
        return glibc.tuned(self.state, self.loader.machine, nns=tuning.nns, optional=tuning.optional)


def first_refused(loader: Loader[Any], state: Any, events: Iterable[Open]) -> Open | None:
    """The first dlopen that does not load, or is unsafe; None when all load."""
    for event in events:
        state, step = loader.step(state, event)
        if not step.loads or step.unsafe:
            return event
    return None


@dataclass(frozen=True, slots=True)
class Brought:
    """The part of a sequence that matters. ``events``: those that bring a module which takes room or may; ``modules``: all that is brought."""

    events: tuple[Open, ...]
    modules: tuple[TlsModule, ...]

    @property
    def has_descriptors(self) -> bool:
        """Whether there are accesses that take room only where there is some."""
        return any(access.kind == "TLSDESC" or module.tls_optimised for module in self.modules for access in module.accesses)

    @property
    def enough(self) -> int:
        """Bytes that hold all blocks with all padding."""
        return sum(module.demand.block_size + 2 * module.demand.block_align for module in self.modules)


def brought(loader: Loader[Any], state: Any, events: Iterable[Open]) -> Brought:
    """What the events bring into a process of glibc that has room for all of it."""
    state, kept, modules = replace(state, limit=state.limit + 2**40), [], []
    for event in events:
        before = {row.module.path for row in state.loaded}
        state, _ = loader.step(state, event)
        new = [row.module for row in state.loaded if row.module.path not in before]
        modules += new
        if any(access.kind in ("TPOFF", "TLSDESC") or module.tls_optimised for module in new for access in module.accesses):
            kept.append(event)
    return Brought(tuple(kept), tuple(modules))


def orders(count: int, last: int) -> Iterator[tuple[int, ...]]:
    """Orders of ``count`` imports, those nearest to the original first: ``last`` in front, then others; up to MANY imports in every order."""
    rest = [place for place in range(count) if place != last]
    own = (*rest, last)
    tried = {own}
    candidates = itertools.permutations(own) if count <= MANY else ((place, *(p for p in own if p != place)) for place in own)
    for order in itertools.chain([(last, *rest)], candidates):
        if order not in tried:
            tried.add(order)
            yield order


def best_order(start: Start, groups: Sequence[Sequence[Open]], last: int) -> tuple[int, ...] | None:
    """The first order of imports in which all events load; None where none is. ``groups``: what each import opens."""
    for order in orders(len(groups), last):
        if first_refused(start.loader, start.state, (event for place in order for event in groups[place])) is None:
            return order
    return None


def least_tuning(start: Start, events: Sequence[Open]) -> tuple[Tuning, Tuning] | None:
    """The least tunables under which all events load, and padded ones; None where none help, or none are needed.

    Never below those in force. ``least`` raises one tunable where one is enough.
    """
    now = start.tuning
    if now is None or start.state.optional is None:
        return None
    matters = brought(start.loader, start.state, events)
    search = _Search(start, matters)
    if search.works(now):
        return None
    least = (search.by_spaces(now) or search.by_scanning(now)) if matters.has_descriptors else search.by_halving(now)
    return (least, search.padded(least, now)) if least is not None else None


@dataclass(frozen=True, slots=True)
class _Search:
    start: Start
    matters: Brought

    def works(self, tuning: Tuning) -> bool:
        return first_refused(self.start.loader, self.start.tuned(tuning), self.matters.events) is None

    def by_spaces(self, now: Tuning) -> Tuning | None:
        """The least nns."""
        return next((tuning for nns in range(now.nns + 1, MAX_NNS + 1) if self.works(tuning := Tuning(nns, now.optional))), None)

    def by_halving(self, now: Tuning) -> Tuning | None:
        """The least optional room where no descriptor takes any: more never hurts then."""
        low, high = now.optional, now.optional + self.matters.enough
        if not self.works(Tuning(now.nns, high)):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.works(Tuning(now.nns, middle)) else (middle, high)
        return Tuning(now.nns, high)

    def by_scanning(self, now: Tuning) -> Tuning | None:
        """With the most nns, the least optional room that works, where a larger one may not: each value is simulated."""
        values = range(now.optional, now.optional + self.matters.enough + 1)
        return next((tuning for value in values if self.works(tuning := Tuning(MAX_NNS, value))), None)

    def padded(self, least: Tuning, now: Tuning) -> Tuning:
        """The least values with some room for others, as far as that works too."""
        if least.optional == now.optional:
            tries = [Tuning(nns, now.optional) for nns in (least.nns + 2, least.nns + 1)]
        else:
            whole = -(-(least.optional + MARGIN) // 256) * 256
            tries = [Tuning(least.nns, whole + more) for more in range(0, 4096, 64)]
        return next((tuning for tuning in tries if tuning.nns <= MAX_NNS and self.works(tuning)), least)


def merged_tunables(words: str, values: dict[str, int]) -> str:
    """GLIBC_TUNABLES with these values, by name without ``glibc.``; what else is in it stays."""
    names = {f"glibc.{name}" for name in values}
    kept = [part for part in words.split(":") if part and part.partition("=")[0] not in names]
    return ":".join([*kept, *(f"glibc.{name}={value}" for name, value in values.items())])


def least_extra(start: Start, extra: int, events: Sequence[Open]) -> tuple[int, int] | None:
    """FreeBSD: the least LD_STATIC_TLS_EXTRA under which all events load, and a padded one; None where the release has none.

    ``extra``: the reserve that the process started with. All blocks are placed without a limit; the last end decides.
    """
    if start.loader.name != "freebsd" or start.state.rules < freebsd.TUNABLE_SINCE:
        return None
    state, end = replace(start.state, space=2**60), 0
    for event in events:
        state, step = start.loader.step(state, event)
        if not step.loads or step.unsafe:
            return None
        end = max([end, *(row.block.end for row in state.loaded if row.block is not None)])
    least = max(end - (start.state.space - extra), freebsd.EXTRA)
    return least, -(-(least + MARGIN // 2) // 256) * 256


def start_up_order(program: TlsModule, preloads: Iterable[TlsModule], given: Given) -> tuple[TlsModule, ...]:
    """The start-up set in the order of its link map: the program, what is preloaded, then what they need, breadth first."""
    queue = [program, *preloads]
    there = {module.path for module in queue}
    names = {name for module in queue for name in (module.name, module.soname)}
    for module in queue:
        for name in module.needed:
            other = None if name in names else given.find(name)
            if other is not None and other.path not in there:
                there.add(other.path)
                names |= {other.name, other.soname}
                queue.append(other)
    return tuple(queue)


def preloaded(start: Start, program: TlsModule, before: Sequence[TlsModule], library: TlsModule, given: Given) -> Any | None:
    """The state of a process that is started with one more library in LD_PRELOAD; None where the start can't be computed.

    ``before``: what is preloaded now. It can be computed where the model lays the present start out as the process has it.
    """
    state, loader = start.state, start.loader
    if loader.name != "glibc":
        return replace(state, loaded=(*(there_from_the_start(m) for m in start_up_order(library, (), given)), *state.loaded))
    tunables = {"nns": start.tuning.nns, "optional": start.tuning.optional} if start.tuning is not None else {"optional": None}

    def placed(order: Sequence[TlsModule]) -> Any:
        return glibc.place_at_start((module.demand for module in order), loader.version or glibc.CURRENT, loader.machine, **tunables)

    now = placed(start_up_order(program, before, given))
    if (now.used, now.limit, now.align) != (state.used, state.limit, state.align):
        return None
    order = start_up_order(program, [*before, library], given)
    there = {row.module.path for row in state.loaded}
    rows = (*state.loaded, *(there_from_the_start(module) for module in order if module.path not in there))
    return replace(placed(order), loaded=rows)
