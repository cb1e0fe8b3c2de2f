"""The verdict on one module: what glibc does with it in a process that has opened nothing late yet."""

from __future__ import annotations

from tls_wheel_guard.loaders.glibc.block import CURRENT, NO_ROOM, OLDEST, State, allocate, fresh_state
from tls_wheel_guard.loaders.verdict import FreshFit, Outcome
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["judge"]


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
