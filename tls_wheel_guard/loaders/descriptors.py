"""Which loaders know TLS descriptors (TLSDESC) on which machines: one row a loader and machine, where it is not "always".

glibc sysdeps/*/dl-machine.h:elf_machine_rela; FreeBSD libexec/rtld-elf/*/reloc.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from tls_wheel_guard.platforms import Libc

__all__ = ["SUPPORT", "Support", "descriptors_refused"]


@dataclass(frozen=True, slots=True)
class Support:
    """``since``: the first version that knows them, None where none does. ``words``: an older one's, ``{asking}`` the file."""

    since: tuple[int, ...] | None
    words: str


SUPPORT: dict[tuple[Libc, str], Support] = {
    ("glibc", "riscv64"): Support(None, "{asking}: unexpected reloc type 0x0c"),
    ("glibc", "riscv32"): Support(None, "{asking}: unexpected reloc type 0x0c"),
    ("glibc", "loongarch64"): Support((2, 40), "{asking}: unexpected reloc type 0x0e"),
    ("freebsd", "x86_64"): Support((16,), "Unknown relocation type 24 in PLT"),
    ("freebsd", "i386"): Support((16,), "Unknown relocation type 29 in PLT"),
}
"""(loader, machine) -> since when. What has no row knows them in all versions, or its compilers make none."""


def descriptors_refused(loader: Libc, version: tuple[int, ...] | None, machine: str, asking: str) -> str | None:
    """The loader's words for a descriptor in the file ``asking``; None where it knows them. ``version``: None for the newest."""
    row = SUPPORT.get((loader, machine))
    if row is None or (row.since is not None and (version is None or version >= row.since)):
        return None
    return row.words.format(asking=asking)
