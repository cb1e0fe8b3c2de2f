"""What one module asks of static TLS."""

from __future__ import annotations

from typing import Literal

from tls_wheel_guard.elf import SharedObject, Symbol
from tls_wheel_guard.records import dataclass

__all__ = ["Definer", "ForeignUse", "TlsDemand", "demand_of", "is_libc_variable"]

_LIBC_VARIABLES = frozenset({"errno", "h_errno", "__h_errno", "__resp", "__libc_errno", "__libc_tsd_CTYPE_B"})
"""glibc's own thread-local variables that other libraries of glibc reach by initial-exec (csu/Versions: GLIBC_PRIVATE)."""


@dataclass(frozen=True, slots=True)
class Definer:
    """Where a foreign variable is defined. ``demand`` is that module's, where it is in the same wheel."""

    where: Literal["libc", "wheel", "unknown"]
    demand: TlsDemand | None = None


@dataclass(frozen=True, slots=True)
class ForeignUse:
    """An initial-exec relocation for another module's variable."""

    symbol: Symbol
    count: int
    definer: Definer


@dataclass(frozen=True, slots=True)
class TlsDemand:
    """What one module asks of static TLS. Sizes in bytes; ``has_segment`` is False without a PT_TLS.

    ``own_static``: initial-exec relocations for its own variables. ``descriptors``: TLSDESC relocations for its own.
    ``flagged``: DF_STATIC_TLS. ``dtpoff``: DTPOFF relocations. ``weak``: undefined weak symbols under dynamic TLS relocations.
    ``first_byte`` is p_vaddr and ``file_first_byte`` p_offset, modulo the alignment.
    """

    module: str
    machine: str
    tls_variant: int
    has_segment: bool
    block_size: int
    block_align: int
    first_byte: int
    file_first_byte: int
    initialised: int
    own_static: int
    foreign: tuple[ForeignUse, ...]
    descriptors: int
    dtpoff: int
    flagged: bool
    weak: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name without its folder, as loaders print it."""
        return self.module.rsplit("/", 1)[-1]

    @property
    def needs_static(self) -> bool:
        """Whether any initial-exec relocation is there."""
        return bool(self.own_static or self.foreign)

    @property
    def is_degenerate(self) -> bool:
        """Initial-exec for its own variables without a usable TLS segment: loaders crash or overwrite memory on it."""
        return bool(self.own_static) and (self.block_size == 0 or self.block_align == 0)


def is_libc_variable(symbol: Symbol) -> bool:
    """Whether a symbol is one of glibc's own thread-local variables, which are there from the start."""
    return symbol.version == "GLIBC_PRIVATE" or symbol.name in _LIBC_VARIABLES


def demand_of(module: SharedObject, path: str, definers: dict[str, TlsDemand] | None = None) -> TlsDemand:
    """What a module asks. ``definers``: symbol name -> demand of the module in the same wheel that defines it."""
    segment = module.tls_segment
    align = segment.align if segment else 0
    # glibc takes p_align 0 for a first byte of 0 (elf/dl-load.c:_dl_process_phdrs).
    mask = max(align, 1) - 1
    foreign = tuple(ForeignUse(symbol, count, _definer(symbol, definers or {})) for symbol, count in module.initial_exec.foreign_symbols)
    return TlsDemand(
        module=path,
        machine=module.machine_name,
        tls_variant=module.machine.tls_variant if module.machine else 0,
        has_segment=segment is not None,
        block_size=segment.memsz if segment else 0,
        block_align=align,
        first_byte=segment.vaddr & mask if segment else 0,
        file_first_byte=segment.offset & mask if segment else 0,
        initialised=segment.filesz if segment else 0,
        own_static=module.initial_exec.own,
        foreign=foreign,
        descriptors=module.dynamic.tlsdesc_own,
        dtpoff=module.dynamic.dtpoff,
        flagged=module.df_static_tls,
        weak=module.dynamic.undefined_weak,
    )


def _definer(symbol: Symbol, definers: dict[str, TlsDemand]) -> Definer:
    if symbol.name in definers:
        return Definer("wheel", definers[symbol.name])
    return Definer("libc" if is_libc_variable(symbol) else "unknown")
