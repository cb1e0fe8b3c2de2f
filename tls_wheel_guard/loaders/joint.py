"""Whether several modules of one wheel load into one process, in the worst of a few orders; by the same steps as a simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tls_wheel_guard.loaders import freebsd, glibc
from tls_wheel_guard.loaders.descriptors import LAST_THAT_LOSES
from tls_wheel_guard.loaders.link_map import Event, Given, Open, Step
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsModule

__all__ = ["MAX_SIMULATED", "Together", "block_of", "load_together", "registers_lost"]

SAFE_COUNT = 13
"""Modules with TLS for which glibc up to 2.21 surely has numbers: 14, less the C library's."""
MAX_SIMULATED = 32
"""Modules whose opening is simulated step by step, which costs the square of their number; of more the blocks alone are placed."""


@dataclass(frozen=True, slots=True)
class Together:
    """Whether all load; bytes asked (with padding, in the worst order) and bytes of room.

    ``too_many``: it is their number that is refused, not their size.
    """

    fits: bool
    asked: int
    room: int
    too_many: bool = False


def load_together(modules: Sequence[TlsModule], target: Target, room: int, live: glibc.State | None = None) -> Together | None:
    """Whether modules of one machine load one after another into one process.

    ``room``: what a glibc process of the target has left; ``live``: the state of one that was read, in its place. None where the
    loader has no room to share (musl, Android), or where none is known.
    """
    if target.libc not in ("glibc", "freebsd") or not modules:
        return None
    results = [_fold(start, list(modules)) for start in _starts(modules[0], target, room, live)]
    return min(results, key=lambda together: (together.fits, -together.asked))


def _starts(module: TlsModule, target: Target, room: int, live: glibc.State | None) -> Iterator[Any]:
    machine, variant = module.demand.machine, module.demand.tls_variant
    if target.libc == "freebsd":
        yield freebsd.fresh_state(target.oldest, machine)
    elif live is not None:
        yield live
    else:
        for version in dict.fromkeys((max(target.oldest or glibc.CURRENT, glibc.OLDEST), glibc.CURRENT)):
            yield glibc.state_with_room(version, machine, variant, room)


def _fold(start: Any, modules: list[TlsModule]) -> Together:
    step = glibc.step if isinstance(start, glibc.State) else freebsd.step
    room: int = start.room
    if isinstance(start, glibc.State) and _surely_fits(start, modules):
        return Together(True, sum(m.demand.block_size for m in modules), room)
    if len(modules) > MAX_SIMULATED:
        orders = {tuple(map(block_of, order)): order for order in _orders(modules)}
        results = [_place_all(start, order) for order in orders.values()]
    else:
        results = [_open_all(step, start, order, Given(modules)) for order in _orders(modules)]
    fits, asked = all(fits for fits, _ in results), max(asked for _, asked in results)
    return Together(fits, asked, room, too_many=not fits and asked <= room and isinstance(start, glibc.State) and start.version < (2, 22))


def registers_lost(modules: Sequence[TlsModule], target: Target, live: glibc.State | None = None) -> frozenset[str]:
    """Paths of the modules whose descriptor calls may lose registers once all are loaded into a glibc process, in any of a few orders."""
    if target.libc != "glibc" or not any(module.calls_that_keep for module in modules) or len(modules) > MAX_SIMULATED:
        return frozenset()
    version = max(target.oldest or LAST_THAT_LOSES, LAST_THAT_LOSES)
    start = live or glibc.fresh_state(version, modules[0].demand.machine, modules[0].demand.tls_variant)
    found: set[str] = set()
    for order in _orders(list(modules)):
        state = start
        for module in order:
            state, step = glibc.step(state, Open(module, Given(modules), assumes=True))
            if step.reason == "registers":
                found.add(module.path)
    return frozenset(found)


def _surely_fits(start: glibc.State, modules: list[TlsModule]) -> bool:
    """Whether no order can fail: every block with its worst padding fits, and no alignment is refused."""
    needed = sum(m.demand.block_size + m.demand.first_byte + max(m.demand.block_align, 1) for m in modules)
    if start.version < (2, 22) and len(modules) > SAFE_COUNT:
        return False
    return needed <= start.room and all(1 <= m.demand.block_align <= start.align for m in modules if m.demand.needs_static)


def _orders(modules: list[TlsModule]) -> Iterator[list[TlsModule]]:
    yield modules
    for key in (lambda m: m.demand.block_size, lambda m: m.demand.block_align):
        yield sorted(modules, key=key)
        yield sorted(modules, key=key, reverse=True)


def block_of(module: TlsModule) -> tuple[int, int, int, int, bool]:
    """All that placing a module's block depends on."""
    demand = module.demand
    return demand.block_size, demand.block_align, demand.first_byte, demand.file_first_byte, demand.needs_static or demand.flagged


def _place_all(start: Any, order: list[TlsModule]) -> tuple[bool, int]:
    """As ``_open_all``, by the blocks alone: each module's own, one after another."""
    state = start
    for module in order:
        demand = module.demand
        if not (demand.block_size and demand.block_align):
            continue
        optional = not (demand.needs_static or demand.flagged)
        placed = glibc.allocate(state, demand, optional=optional) if isinstance(state, glibc.State) else freebsd.allocate(state, demand)
        if placed is None and optional:
            continue
        if placed is None:
            return False, state.used - start.used + demand.block_size
        state = placed[0]
    return True, state.used - start.used


def _open_all(step: Any, start: Any, order: list[TlsModule], given: Given) -> tuple[bool, int]:
    """Whether all load in this order, and the bytes that they ask for up to the first that does not."""
    state = start
    for module in order:
        event: Event = Open(module, given, assumes=True)
        answer: Step
        state, answer = step(state, event)
        if answer.reason in ("room", "slots", "alignment", "dynamic"):
            return False, max(state.used - start.used, 0) + module.demand.block_size
    return True, state.used - start.used
