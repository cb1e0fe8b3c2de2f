"""Android's linker: no room for late modules; before API level 29 no ELF TLS at all.

Follows linker/linker_relocate.cpp:process_relocation_impl and linker/linker_tls.cpp (Android 10 to 15), docs/elf-tls.md. Read
from the source, not measured. Extension modules are always opened with dlopen.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.verdict import Outcome
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["ELF_TLS_SINCE", "judge", "refuses_segments"]

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
            error=f'dlopen failed: TLS symbol "{symbol}" in dlopened "{definer.name if definer else "?"}" '
            f'referenced from "{demand.name}" using IE access model',
            room=0,
        )
    if refuses_segments(target) and demand.block_size:
        return Outcome("never", taken=demand.block_size)
    return Outcome("always")
