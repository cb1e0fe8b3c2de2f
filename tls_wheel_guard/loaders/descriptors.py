"""TLS descriptors (TLSDESC) loader by loader: who knows them on which machine, who keeps registers over them, who has the version for it.

Sources: glibc sysdeps/*/dl-machine.h:elf_machine_rela, sysdeps/x86_64/dl-tlsdesc.S, elf/dl-version.c; musl arch/*/reloc.h; bionic
linker/linker_relocate.cpp; FreeBSD and DragonFly libexec/rtld-elf/*/reloc.c; NetBSD libexec/ld.elf_so/arch/*/mdreloc.c.
docs/loaders.md says which rows were measured.
"""

from __future__ import annotations

from tls_wheel_guard.platforms import Libc
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsModule

__all__ = [
    "KEEPS_REGISTERS_SINCE",
    "LAST_THAT_LOSES",
    "LOSES_REGISTERS",
    "SUPPORT",
    "Support",
    "descriptors_refused",
    "loses_registers",
    "version_refused",
]


@dataclass(frozen=True, slots=True)
class Support:
    """``since``: the first version that knows them, None where none does. ``words``: an older one's, ``{asking}`` the file.

    ``in_plt``: its words where the linker put the relocation into DT_JMPREL; the same without.
    """

    since: tuple[int, ...] | None
    words: str
    in_plt: str | None = None


def _bsd(since: tuple[int, ...] | None, number: int) -> Support:
    """FreeBSD and DragonFly: the number is decimal in one table, hexadecimal in the other."""
    other = f"{{asking}}: Unsupported relocation type {number} in non-PLT relocations"
    return Support(since, other, f"Unknown relocation type {number:x} in PLT")


def _netbsd(number: int) -> Support:
    return Support(None, f"{{asking}}: Unsupported relocation type {number} in non-PLT relocations")


def _musl(since: tuple[int, ...] | None, number: int) -> Support:
    return Support(since, f"Error relocating {{asking}}: unsupported relocation type {number}")


def _android(since: tuple[int, ...] | None, number: int) -> Support:
    return Support(since, f'dlopen failed: unknown reloc type {number} in "{{asking}}"')


SUPPORT: dict[tuple[Libc, str], Support] = {
    ("glibc", "riscv64"): Support(None, "{asking}: unexpected reloc type 0x0c"),
    ("glibc", "riscv32"): Support(None, "{asking}: unexpected reloc type 0x0c"),
    ("glibc", "loongarch64"): Support((2, 40), "{asking}: unexpected reloc type 0x0e"),
    ("musl", "arm"): _musl((1, 1, 21), 13),
    ("musl", "riscv64"): _musl((1, 2, 5), 12),
    ("musl", "riscv32"): _musl(None, 12),
    ("musl", "loongarch64"): _musl((1, 2, 6), 14),
    ("musl", "x32"): _musl(None, 36),
    ("bionic", "x86_64"): _android(None, 36),
    ("bionic", "i386"): _android(None, 41),
    ("bionic", "arm"): _android(None, 13),
    ("freebsd", "x86_64"): _bsd((16,), 36),
    ("freebsd", "i386"): _bsd((16,), 41),
    ("dragonfly", "x86_64"): _bsd(None, 36),
    ("netbsd", "x86_64"): _netbsd(36),
    ("netbsd", "i386"): _netbsd(41),
}
"""(loader, machine) -> since when. What has no row knows them in all versions, or its compilers make none."""

MUSL_1_1 = (1, 1, 24)
"""The musl of the oldest image of musllinux_1_1; its tag names two numbers only."""

LAST_THAT_LOSES = (2, 39)
KEEPS_REGISTERS_SINCE = (2, 40)
"""glibc on x86-64: descriptor calls keep vector registers on the slow path too (bug 31372; branches of 2.38 and 2.39 have it late)."""
LOSES_REGISTERS = "the first use in each thread may compute wrong values: the loader loses vector registers (glibc bug 31372)"
MARKERS_SINCE = (2, 43)
"""glibc on x86: the first release with the versions GLIBC_ABI_GNU2_TLS and GLIBC_ABI_GNU_TLS; branches since August 2025 have them too."""


def descriptors_refused(loader: Libc, version: tuple[int, ...] | None, module: TlsModule) -> str | None:
    """The loader's words for a descriptor in a module; None where it knows them. ``version``: None for the newest."""
    row = SUPPORT.get((loader, module.demand.machine))
    if loader == "musl" and version == MUSL_1_1[:2]:
        version = MUSL_1_1
    if row is None or (row.since is not None and (version is None or version >= row.since)):
        return None
    words = row.in_plt if module.descriptors_in_plt and row.in_plt else row.words
    return words.format(asking=module.name)


def version_refused(version: tuple[int, ...], module: TlsModule) -> str | None:
    """Glibc's words for a version of libc.so.6 that a module needs and that this release has not; the path is the library's, as found."""
    if not module.markers or version >= MARKERS_SINCE:
        return None
    return f"libc.so.6: version `{module.markers[0]}' not found (required by {module.name})"


def loses_registers(version: tuple[int, ...], module: TlsModule) -> bool:
    """Whether glibc's slow path takes away what a module's code keeps in vector registers, where its block is not static."""
    return bool(module.calls_that_keep) and version < KEEPS_REGISTERS_SINCE and not module.markers
