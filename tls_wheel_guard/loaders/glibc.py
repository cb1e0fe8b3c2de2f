"""glibc's ld.so: a surplus of 1664 bytes for all that comes late.

Follows elf/dl-tls.c:_dl_tls_static_surplus_init and _dl_determine_tlsoffset, elf/dl-reloc.c:_dl_try_allocate_static_tls,
sysdeps/*/nptl/tls.h and pthreaddef.h, at 2.5 to 2.43. Proved against the real loader in tests/ground_truth/test_loaders.py.

Room is taken while relocating: the first relocation that needs a module's block to be static takes room for the whole block.
DF_STATIC_TLS is ignored since 2.3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tls_wheel_guard.loaders.verdict import FreshFit, Outcome
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["CURRENT", "NO_ROOM", "SURPLUS", "State", "allocate", "fresh_state", "judge", "load_together", "state_with_room"]

SURPLUS = 1664
"""TLS_STATIC_SURPLUS: 64 + 16 * 100 up to 2.31; 144 * (n - 1) + 144 * n + 512 + 144 with n = 4 since 2.32."""
OPTIONAL = 512
"""rtld.optional_static_tls: what descriptors may take of it, since 2.32. Before: all of it."""
OLDEST = (2, 5)
"""The glibc of manylinux1, the oldest that a tag promises."""
CURRENT = (2, 43)
"""A current version; the newest that was measured."""
NO_ROOM = "cannot allocate memory in static TLS block"


@dataclass(frozen=True, slots=True)
class State:
    """A process's static TLS, in bytes, under the names of the loader's own variables.

    ``used``: _dl_tls_static_used; ``limit``: _dl_tls_static_size, less the TCB in variant II; ``align``: _dl_tls_static_align;
    ``optional``: what is left for descriptors.
    """

    variant: int
    used: int
    limit: int
    align: int
    optional: int = OPTIONAL

    @property
    def room(self) -> int:
        """Bytes left."""
        return self.limit - self.used


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align


def tcb_alignment(version: tuple[int, ...], machine: str) -> int:
    """TCB_ALIGNMENT: the least ``align`` of a process. x86: pthreaddef.h and tls.h; others: 32 since rseq came (2.35)."""
    if machine in ("x86_64", "x32", "i386"):
        if machine != "i386" and version >= (2, 13) and version < (2, 15):
            return 32
        return 64 if version >= (2, 15) else 16
    return 32 if version >= (2, 35) else 16


MEASURED: dict[tuple[tuple[int, int], str], tuple[int, int, int]] = {
    ((2, 31), "x86_64"): (144, 1856, 64),
    ((2, 36), "x86_64"): (144, 1856, 64),
    ((2, 41), "x86_64"): (192, 1856, 64),
    ((2, 43), "x86_64"): (160, 1856, 64),
    ((2, 31), "aarch64"): (160, 1824, 16),
    ((2, 36), "aarch64"): (160, 1824, 32),
    ((2, 41), "aarch64"): (224, 1888, 32),
    ((2, 43), "aarch64"): (192, 1856, 32),
}
"""(version, machine) -> used, limit, align of a process without TLS of its own, by _dl_get_tls_static_info on Debian."""

_LEAST_USED = {1: 16, 2: 0}
"""Where nothing was measured: the thread control block of variant I, the largest there is; nothing in variant II."""


def fresh_state(version: tuple[int, ...], machine: str, variant: int) -> State:
    """The static TLS of a process that runs a program without TLS and has loaded nothing late.

    Exact where it was measured. Elsewhere the least that every version grants: the surplus, and no luck with rounding.
    """
    measured = MEASURED.get((version[:2], machine))  # type: ignore[arg-type]
    if measured is not None:
        return State(variant, *measured)
    used = _LEAST_USED[variant]
    return State(variant, used, used + SURPLUS, tcb_alignment(version, machine), OPTIONAL if version >= (2, 32) else SURPLUS)


def allocate(state: State, demand: TlsDemand, *, optional: bool = False) -> tuple[State, int] | None:
    """Place a module's block: the new state and the bytes taken, or None where the loader refuses.

    ``optional``: for descriptors, which may fail without the load failing. _dl_try_allocate_static_tls@2.43.
    """
    size, align, first = demand.block_size, demand.block_align, demand.first_byte
    if align == 0 or align > state.align:
        return None
    if state.variant == 2:
        free = state.limit - state.used
        if free < size + first:
            return None
        taken = free - (free - size - first) // align * align - first
    else:
        end = _round_up(state.used - first, align) + first + size
        if end > state.limit:
            return None
        taken = end - state.used
    if not optional:
        return replace(state, used=state.used + taken), taken
    if taken > state.optional:
        return None
    return replace(state, used=state.used + taken, optional=state.optional - taken), taken


def state_with_room(version: tuple[int, ...], machine: str, variant: int, room: int) -> State:
    """A process of which only the room left is known, in bytes; what is in front of it counts as aligned."""
    return State(variant, 0, room, tcb_alignment(max(version, OLDEST), machine))


def load_together(demands: list[TlsDemand], target: Target, room: int) -> tuple[bool, int]:
    """Whether all modules load one after another into ``room`` bytes, in the worst of a few orders; and the bytes asked."""
    asks: list[TlsDemand] = []
    for demand in demands:
        asks += [d for d in _static_demands(demand) if d not in asks]
    if not asks:
        return True, 0
    state = state_with_room(target.oldest or CURRENT, asks[0].machine, asks[0].tls_variant, room)
    orders = [
        asks,
        sorted(asks, key=lambda d: d.block_size),
        sorted(asks, key=lambda d: -d.block_size),
        sorted(asks, key=lambda d: d.block_align),
        sorted(asks, key=lambda d: -d.block_align),
    ]
    results = [_fits(state, order) for order in orders]
    return all(fits for fits, _ in results), max(sum(d.block_size for d in asks), *(taken for _, taken in results))


def _static_demands(demand: TlsDemand) -> list[TlsDemand]:
    """The modules whose blocks become static when this one loads: itself, and the definers in the wheel."""
    definers = [use.definer.demand for use in demand.foreign if use.definer.demand is not None]
    return ([demand] if demand.own_static else []) + [d for i, d in enumerate(definers) if d not in definers[:i]]


def _fits(state: State, demands: list[TlsDemand]) -> tuple[bool, int]:
    taken = 0
    for demand in demands:
        placed = allocate(state, demand)
        if placed is None:
            return False, taken + demand.block_size + demand.first_byte
        state, step = placed
        taken += step
    return True, taken


def judge(demand: TlsDemand, target: Target) -> Outcome:
    """The verdict on one module for the oldest glibc of the target and for a current one."""
    oldest = max(target.oldest or OLDEST, OLDEST)
    variant = demand.tls_variant
    states = [fresh_state(version, demand.machine, variant) for version in (oldest, CURRENT)]
    asks = _static_demands(demand)
    if demand.is_degenerate:
        # x86: division by p_align (SIGFPE); variant I: the cursor goes back to 0, over libc's own variables.
        return Outcome("unsafe", error="Floating point exception" if variant == 2 else None)
    unknown = [use for use in demand.foreign if use.definer.where == "unknown" and not use.symbol.weak]
    if not asks and not unknown:
        return Outcome("always", takes_at_most=_descriptors_take(demand, states))
    results = [_fits(state, asks) for state in states]
    definer = asks[-1].name if asks else demand.name
    return Outcome(
        "if-room",
        taken=max(taken for _, taken in results),
        error=f"{definer}: {NO_ROOM}",
        takes_at_most=_descriptors_take(demand, states),
        fits_fresh_process=FreshFit(results[0][0], results[1][0]),
        room=min(state.room for state in states),
        used=states[0].used,
    )


def _descriptors_take(demand: TlsDemand, states: list[State]) -> int:
    """What TLSDESC relocations may take of the room: all or nothing, never a failure."""
    if not demand.descriptors or demand.own_static:
        return 0
    return max((placed[1] for state in states if (placed := allocate(state, demand, optional=True))), default=0)
