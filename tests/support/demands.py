"""Modules as values, for models that need no file."""

from __future__ import annotations

from tls_wheel_guard.platforms import machine_called
from tls_wheel_guard.tls import Access, TlsDemand, TlsModule

__all__ = ["module"]


def module(
    name: str,
    size: int = 0,
    align: int = 1,
    *,
    machine: str = "x86_64",
    static: bool = True,
    descriptors: bool = False,
    flagged: bool = False,
    needed: tuple[str, ...] = (),
    exports: tuple[str, ...] = (),
    foreign: tuple[str, ...] = (),
    first_byte: int = 0,
    file_first_byte: int = 0,
    initialised: int = 0,
    nodelete: bool = False,
) -> TlsModule:
    """A late module: ``static`` asks for its own block, ``descriptors`` after that, ``foreign`` for others' variables by initial-exec."""
    known = machine_called(machine)
    assert known is not None
    own = static and size > 0
    demand = TlsDemand(
        module=f"/lib/{name}",
        machine=machine,
        tls_variant=known.tls_variant,
        has_segment=size > 0,
        block_size=size,
        block_align=align if size else 0,
        first_byte=first_byte,
        file_first_byte=file_first_byte,
        initialised=initialised,
        own_static=int(own),
        foreign=(),
        descriptors=int(descriptors),
        dtpoff=0,
        flagged=flagged,
        weak=(),
    )
    accesses = [Access("TPOFF")] * own + [Access("TLSDESC")] * descriptors + [Access("TPOFF", symbol) for symbol in foreign]
    return TlsModule(demand, name, needed, tuple(accesses), frozenset(exports), nodelete)
