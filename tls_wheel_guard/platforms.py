"""The axes that all tables are keyed by: machines, libcs, and the targets that a platform tag promises.

Machine numbers: the gABI's e_machine registry. TLS variant: which side of the thread pointer a module's block is on
(Drepper, "ELF Handling For Thread-Local Storage", section 3; glibc sysdeps/*/nptl/tls.h: TLS_TCB_AT_TP is variant II,
TLS_DTV_AT_TP is variant I).
"""

from __future__ import annotations

from typing import Literal

from tls_wheel_guard.records import dataclass

__all__ = ["LIBCS", "MACHINES", "SYSTEMS", "Libc", "Machine", "Target", "machine_called", "machine_of"]

Libc = Literal[
    "glibc",
    "musl",
    "bionic",
    "freebsd",
    "netbsd",
    "openbsd",
    "dragonfly",
    "illumos",
    "haiku",
    "darwin",
    "windows",
    "wasm",
    "unknown",
]
"""Whose loader opens the module. ``darwin``, ``windows`` and ``wasm`` have no static TLS block: nothing to judge."""

SYSTEMS: dict[Libc, tuple[str, str]] = {
    "glibc": ("Linux with glibc", "glibc"), "musl": ("Linux with musl (Alpine)", "musl"), "bionic": ("Android", "Android"),
    "freebsd": ("FreeBSD", "FreeBSD"), "netbsd": ("NetBSD", "NetBSD"), "openbsd": ("OpenBSD", "OpenBSD"),
    "dragonfly": ("DragonFly", "DragonFly"), "illumos": ("illumos", "illumos"), "haiku": ("Haiku", "Haiku"), "darwin": ("macOS", "macOS"),
    "windows": ("Windows", "Windows"), "wasm": ("WebAssembly", "WebAssembly"), "unknown": ("Linux", "Linux"),
}  # fmt: skip
"""A libc -> its system's name in a sentence, and at the head of a column."""

LIBCS: tuple[Libc, ...] = tuple(SYSTEMS)


@dataclass(frozen=True, slots=True)
class Machine:
    """An instruction set with its ELF class and byte order.

    ``tls_variant`` is 1 (blocks above the thread pointer) or 2 (below it).
    """

    name: str
    e_machine: int
    bits: int
    little_endian: bool
    tls_variant: Literal[1, 2]


MACHINES: tuple[Machine, ...] = (
    Machine("x86_64", 62, 64, True, 2),
    Machine("x32", 62, 32, True, 2),
    Machine("i386", 3, 32, True, 2),
    Machine("aarch64", 183, 64, True, 1),
    Machine("aarch64_be", 183, 64, False, 1),
    Machine("arm", 40, 32, True, 1),
    Machine("armeb", 40, 32, False, 1),
    Machine("ppc64le", 21, 64, True, 1),
    Machine("ppc64", 21, 64, False, 1),
    Machine("ppc", 20, 32, False, 1),
    Machine("s390x", 22, 64, False, 2),
    Machine("s390", 22, 32, False, 2),
    Machine("riscv64", 243, 64, True, 1),
    Machine("riscv32", 243, 32, True, 1),
    Machine("loongarch64", 258, 64, True, 1),
    Machine("mips", 8, 32, False, 1),
    Machine("mipsel", 8, 32, True, 1),
    Machine("mips64", 8, 64, False, 1),
    Machine("mips64el", 8, 64, True, 1),
    Machine("sparc64", 43, 64, False, 2),
    Machine("sparc", 2, 32, False, 2),
    Machine("sparc32plus", 18, 32, False, 2),
    Machine("alpha", 0x9026, 64, True, 1),
    Machine("hppa", 15, 32, False, 1),
    Machine("m68k", 4, 32, False, 1),
    Machine("sh4", 42, 32, True, 1),
    Machine("arc", 195, 32, True, 1),
    Machine("arceb", 195, 32, False, 1),
)

_BY_HEADER = {(m.e_machine, m.bits, m.little_endian): m for m in MACHINES}
_BY_NAME = {m.name: m for m in MACHINES}

_ALIASES = {
    "amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64", "arm64_v8a": "aarch64",
    "i486": "i386", "i586": "i386", "i686": "i386", "x86": "i386", "i86pc": "i386", "i86pc_32bit": "i386", "i86pc_64bit": "x86_64",
    "armv5l": "arm", "armv6": "arm", "armv6l": "arm", "armv7": "arm", "armv7l": "arm", "armv8l": "arm", "armhf": "arm", "armel": "arm",
    "armeabi_v7a": "arm", "earmv6hf": "arm", "earmv7hf": "arm", "evbarm": "arm",
    "powerpc64le": "ppc64le", "ppc64el": "ppc64le", "powerpc64": "ppc64", "powerpc": "ppc",
    "riscv": "riscv64", "riscv64sf": "riscv64", "sparcv9": "sparc64", "sun4v": "sparc64", "sun4u": "sparc64", "parisc": "hppa",
    "sh": "sh4", "sh4a": "sh4", "octeon": "mips64",
}  # fmt: skip
"""Names of the same machine in platform tags and in ``uname -m`` of the systems."""


def machine_of(e_machine: int, bits: int, little_endian: bool) -> Machine | None:
    """The machine that an ELF header names, or None when it has no row."""
    return _BY_HEADER.get((e_machine, bits, little_endian))


def machine_called(name: str) -> Machine | None:
    """The machine that a platform tag or ``uname -m`` calls so, or None."""
    return _BY_NAME.get(_ALIASES.get(name, name))


@dataclass(frozen=True, slots=True)
class Target:
    """One system that must be able to load a module: what a platform tag promises, or what the module itself shows.

    ``tag`` is the platform tag as written. ``machine`` is None where the tag names none (``any``). ``oldest`` is the
    oldest version of the libc, or API level, that the tag allows, as (major, minor); None where it names none.
    """

    tag: str
    machine: str | None
    libc: Libc
    oldest: tuple[int, ...] | None

    @property
    def has_static_tls(self) -> bool:
        """Whether the target's object format knows static TLS at all."""
        return self.libc not in ("darwin", "windows", "wasm")
