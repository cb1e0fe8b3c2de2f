"""Thread-local storage in shared objects: what a module asks of the loader.

A thread-local variable lives at a different address in every thread. A module's variables are laid out in its TLS segment
(PT_TLS): a template of ``filesz`` initialised bytes, ``memsz`` in all. Every thread gets a copy of it, the module's *block*.
Code reaches a variable by one of four access models:

  global-dynamic   ask the loader, by (module, offset), through __tls_get_addr or a TLS descriptor. Always works.
  local-dynamic    the same for a variable of one's own: ask once for the block, add offsets. Always works.
  initial-exec     add a distance to the thread pointer; the loader writes that distance into a slot (a TPOFF relocation).
  local-exec       the distance is in the instruction. Programs only.

The last two need a distance that is the same in all threads, so the block must be in the *static TLS block*: one piece of
memory beside the thread pointer, which each thread gets when it is born. Its size is fixed when the process starts, from
the program and the libraries that it was linked with. A Python extension comes later, with dlopen. Then

  glibc    has kept a small surplus (1664 bytes), shared by all that come late: first come, first served;
  FreeBSD  has kept 128 bytes, NetBSD 64;
  musl, Android, OpenBSD  have kept nothing.

One relocation is enough: the first one that needs a distance makes the *whole* segment of the module that defines the
variable static. Ten cost the same as one. So the demand of a module is the size, alignment and first byte of its segment,
and the question whether any initial-exec relocation names it; whose variable it is counts, not who refers to it.

Layout. Variant II (x86, s390, sparc): blocks lie below the thread pointer, a block's offset is the distance of its start
down from it. Variant I (ARM, RISC-V, PowerPC, MIPS ...): blocks lie above, behind the thread control block. A segment must
keep its address modulo its alignment: ``first_byte`` is p_vaddr & (p_align - 1).

A TLS descriptor (TLSDESC) is a dialect of the dynamic models: it may use the static block when there is room, and never
fails when there is none. DF_STATIC_TLS is a linker's note that a file has initial-exec accesses. glibc, musl and Android
ignore it, GNU ld leaves it out on aarch64; FreeBSD and illumos act on it.

Sources: Drepper, "ELF Handling For Thread-Local Storage" (2013); glibc elf/dl-tls.c, elf/dl-reloc.c; musl ldso/dynlink.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tls_wheel_guard.elf import SharedObject, Symbol

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
    mask = max(align, 1) - 1 if align else -1
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
