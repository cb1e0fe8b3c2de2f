"""Whether a repaired module of an input is still whole."""

from __future__ import annotations

from tls_wheel_guard.elf import Source
from tls_wheel_guard.inputs.contents import InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.repair.damage import damage_of

__all__ = ["damage_in"]


def damage_in(opened: OpenInput, module: InputModule) -> tuple[str, ...]:
    """What is wrong with a module that was repaired; none for one that was not, or is larger than is read. Raises InputReadError."""

    def faults(source: Source) -> tuple[str, ...]:
        return damage_of(source.read(0, source.size)) if source.size <= opened.limits.traced_size else ()

    return opened.look(module, faults) or ()
