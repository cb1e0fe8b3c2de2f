"""Android's linker: no room for late modules; before API level 29 no ELF TLS at all.

Follows linker/linker_relocate.cpp:process_relocation_impl and linker/linker_tls.cpp (Android 10 to 15), docs/elf-tls.md. Read
from the source, not measured. Extension modules are always opened with dlopen.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.link_map import Event, Step
from tls_wheel_guard.loaders.simple import FINE, Asked, State, step_by
from tls_wheel_guard.loaders.verdict import Outcome
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["ELF_TLS_SINCE", "fresh_state", "judge", "refuses_segments", "step"]

ELF_TLS_SINCE = (29,)
"""The API level of Android 10, the first with ELF TLS; compilers emulate it below."""


def refuses_segments(target: Target) -> bool:
    """Whether the oldest system that the tag promises has no ELF TLS."""
    return target.oldest is not None and target.oldest < ELF_TLS_SINCE


def judge(demand: TlsDemand, target: Target) -> Outcome:
    """The verdict on one module."""
    strong = [use for use in demand.foreign if not (use.symbol.weak and use.definer.where == "unknown")]
    if demand.own_static or strong:
        symbol = strong[0].symbol.name if strong and not demand.own_static else "(null)"
        definer = strong[0].definer.demand if strong and not demand.own_static else demand
        return Outcome(
            "never",
            taken=(definer or demand).block_size,
            error=_words(symbol, definer.name if definer else "?", demand.name),
            room=0,
        )
    if refuses_segments(target) and demand.block_size:
        return Outcome("never", taken=demand.block_size)
    return Outcome("always")


def _words(symbol: str, definer: str, user: str) -> str:
    return f'dlopen failed: TLS symbol "{symbol}" in dlopened "{definer}" referenced from "{user}" using IE access model'


def fresh_state(version: tuple[int, ...] | None, machine: str) -> State:
    """A process: the linker needs no numbers."""
    return State(version, machine)


def step(state: State, event: Event) -> tuple[State, Step]:
    """What the process is after an event, and what the linker answered."""
    return step_by(_answer, state, event)


def _answer(asked: Asked) -> Step:
    access, module, definer = asked.access, asked.module, asked.definer
    if access is None:
        old = asked.state.version is not None and asked.state.version < ELF_TLS_SINCE
        if old and module.demand.block_size:
            return Step(False, error=f"{module.name}: no ELF TLS before API level {ELF_TLS_SINCE[0]}")
        return FINE
    if definer is None:
        # An undefined weak variable gets the distance 0.
        return FINE if access.weak else Step(False, error=f'dlopen failed: cannot locate symbol "{access.symbol}" referenced by "{module.name}"')
    if access.kind == "TPOFF":
        return Step(False, error=_words(access.symbol or "(null)", definer.name, module.name))
    return FINE
