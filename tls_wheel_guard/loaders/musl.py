"""musl's ld.so: no room at all for late modules.

Follows ldso/dynlink.c:do_relocs and load_library at 1.1.20 to 1.2.5: a TPOFF relocation is refused when the definer's tls_id
is above static_tls_cnt, the number of modules that were there at the start. Up to 1.1.19 there was no such check
(5c2f46a2, 2018-07-16): the module loads, and threads then use memory that is not theirs; no musllinux image is that old.
dlclose does nothing.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.link_map import Event, Step
from tls_wheel_guard.loaders.simple import FINE, Asked, State, step_by
from tls_wheel_guard.loaders.verdict import Outcome
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["CHECKS_SINCE", "REFUSED", "fresh_state", "judge", "step"]

REFUSED = "initial-exec TLS resolves to dynamic definition in"
CHECKS_SINCE = (1, 1, 20)
"""The version that first refuses."""
CRASHES = "Segmentation fault: the loader reads the TLS fields of a definer that is not there"
OVERWRITES = "threads read and write memory that is not theirs"
POINTS_AT_NOTHING = "the distance that is written points at nothing of its own"


def judge(demand: TlsDemand, target: Target) -> Outcome:
    """The verdict on one module. Size and alignment do not matter, nor does the version from 1.1.20 on."""
    del target
    if any(use.symbol.weak and use.definer.where != "wheel" for use in demand.foreign) or demand.weak:
        # The loader reads the TLS fields of a definer that is not there.
        return Outcome("unsafe", error="Segmentation fault")
    if demand.own_static and demand.block_size:
        return Outcome("never", taken=demand.block_size, error=_words(demand, "", demand.name), room=0)
    if demand.foreign:
        use = demand.foreign[0]
        definer = use.definer.demand
        return Outcome(
            "never",
            taken=definer.block_size if definer else 0,
            error=_words(demand, use.symbol.name, definer.name if definer else "?"),
            room=0,
        )
    if demand.own_static:
        # No segment, or an empty one: tls_id 0 passes the check, and the distance that is written points at nothing of its own.
        return Outcome("unsafe")
    return Outcome("always")


def _words(demand: TlsDemand, symbol: str, definer: str) -> str:
    # The loader prints the symbol of an earlier relocation, or none, where this one has no symbol.
    return f"Error relocating {demand.name}: {symbol}: {REFUSED} {definer}"


def fresh_state(version: tuple[int, ...] | None, machine: str) -> State:
    """A process: musl needs no numbers."""
    return State(version, machine)


def step(state: State, event: Event) -> tuple[State, Step]:
    """What the process is after an event, and what the loader answered."""
    return step_by(_answer, state, event, unloads=False)


def _answer(asked: Asked) -> Step:
    access, module, definer = asked.access, asked.module, asked.definer
    if access is None:
        return FINE
    if definer is None:
        if access.weak:
            return Step(False, unsafe=CRASHES)
        return Step(False, error=f"Error relocating {module.name}: {access.symbol}: symbol not found")
    if access.kind != "TPOFF":
        return FINE
    if not definer.demand.block_size:
        return Step(True, unsafe=POINTS_AT_NOTHING)
    if any(row.at_start and row.module.path == definer.path for row in asked.state.loaded):
        return FINE
    version = asked.state.version
    if version is not None and version < CHECKS_SINCE and len(version) > 2:
        return Step(True, unsafe=OVERWRITES)
    return Step(False, error=_words(module.demand, access.symbol or "", definer.name))
