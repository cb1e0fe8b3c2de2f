"""Android's linker: no room for late modules; before API level 29 no ELF TLS at all.

Follows linker/linker_relocate.cpp:process_relocation_impl and linker/linker_tls.cpp (Android 10 to 15), docs/elf-tls.md. Read
from the source, not measured. Extension modules are always opened with dlopen.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.descriptors import descriptors_refused
from tls_wheel_guard.loaders.link_map import Event, Step
from tls_wheel_guard.loaders.refusals import LATE_ANDROID, SEGMENT_ANDROID
from tls_wheel_guard.loaders.simple import FINE, Asked, State, step_by

__all__ = ["ELF_TLS_SINCE", "fresh_state", "step"]

ELF_TLS_SINCE = (29,)
"""The API level of Android 10, the first with ELF TLS; compilers emulate it below."""


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
            return Step(False, error=SEGMENT_ANDROID.says(asking=module.name), reason="segment", asked=module.demand.block_size)
        return FINE
    if definer is None and not asked.assumed:
        # An undefined weak variable gets the distance 0.
        words = f'dlopen failed: cannot locate symbol "{access.symbol}" referenced by "{module.name}"'
        return FINE if access.weak else Step(False, error=words, reason="undefined")
    if access.kind != "TPOFF":
        unknown = descriptors_refused("bionic", asked.state.version, module) if access.kind == "TLSDESC" else None
        return Step(False, error=unknown, reason="descriptors") if unknown else FINE
    words = LATE_ANDROID.says(symbol=access.symbol or "(null)", definer=definer.name if definer else "?", asking=module.name)
    return Step(False, error=words, reason="late", asked=definer.demand.block_size if definer else 0)
