"""musl's ld.so: no room at all for late modules.

Follows ldso/dynlink.c:do_relocs and load_library at 1.1.20 to 1.2.5: a TPOFF relocation is refused when the definer's tls_id
is above static_tls_cnt, the number of modules that were there at the start. Up to 1.1.19 there was no such check
(5c2f46a2, 2018-07-16): the module loads, and threads then use memory that is not theirs; no musllinux image is that old.
dlclose does nothing. reloc_all goes through DT_JMPREL, then DT_REL and DT_RELA, and the first refusal ends it.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.descriptors import descriptors_refused
from tls_wheel_guard.loaders.link_map import POINTS_AT_NOTHING, Event, Step
from tls_wheel_guard.loaders.refusals import LATE
from tls_wheel_guard.loaders.simple import FINE, Asked, State, step_by

__all__ = ["CHECKS_SINCE", "fresh_state", "step"]

CHECKS_SINCE = (1, 1, 20)
"""The version that first refuses."""
CRASHES = "Segmentation fault: the loader reads the TLS fields of a definer that is not there"
OVERWRITES = "threads read and write memory that is not theirs"


def fresh_state(version: tuple[int, ...] | None, machine: str) -> State:
    """A process: musl needs no numbers."""
    return State(version, machine)


def step(state: State, event: Event) -> tuple[State, Step]:
    """What the process is after an event, and what the loader answered."""
    return step_by(_answer, state, event, unloads=False, by_soname=False, plt_first=True)


def _answer(asked: Asked) -> Step:
    access, definer = asked.access, asked.definer
    if access is None:
        return FINE
    if definer is None and not asked.assumed:
        if access.weak:
            return Step(False, unsafe=CRASHES)
        return Step(False, error=f"Error relocating {asked.module.name}: {access.symbol}: symbol not found", reason="undefined")
    if access.kind != "TPOFF":
        words = descriptors_refused("musl", asked.state.version, asked.module) if access.kind == "TLSDESC" else None
        return Step(False, error=words, reason="descriptors") if words else FINE
    if definer is not None and not definer.demand.block_size:
        return Step(True, unsafe=POINTS_AT_NOTHING)
    if definer is not None and any(row.at_start and row.module.path == definer.path for row in asked.state.loaded):
        return FINE
    version = asked.state.version
    if version is not None and version < CHECKS_SINCE and len(version) > 2:
        return Step(True, unsafe=OVERWRITES)
    # The loader prints the symbol of an earlier relocation, or none, where this one has no symbol.
    words = LATE.says(asking=asked.module.name, symbol=access.symbol or "", definer=definer.name if definer else "?")
    return Step(False, error=words, reason="late", asked=definer.demand.block_size if definer else 0)
