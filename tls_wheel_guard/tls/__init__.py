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
fails when there is none: code loads the address of two words of its GOT, and calls through the first. Not every loader
knows it, and one gets it wrong: compilers keep values in vector registers over that call, and glibc on x86 before 2.40
loses them when a thread calls for the first time and the block is not static. Then a module loads, and what it computes
is wrong. DF_STATIC_TLS is a linker's note that a file has initial-exec accesses. glibc, musl and Android ignore it, GNU
ld leaves it out on aarch64; FreeBSD and illumos act on it.

Sources: Drepper, "ELF Handling For Thread-Local Storage" (2013); glibc elf/dl-tls.c, elf/dl-reloc.c; musl ldso/dynlink.c.
"""

from __future__ import annotations

from tls_wheel_guard.tls.demand import Definer, ForeignUse, TlsDemand, demand_of, is_libc_variable
from tls_wheel_guard.tls.module import Access, TlsModule, UniqueNames, names_asked, tls_module

__all__ = [
    "Access",
    "Definer",
    "ForeignUse",
    "TlsDemand",
    "TlsModule",
    "UniqueNames",
    "demand_of",
    "is_libc_variable",
    "names_asked",
    "tls_module",
]
