"""What the proofs of a repair need of a machine: compilers, linkers, probes, loaders. The proofs themselves are the same for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import repair_probes, repair_probes_aarch64
from tests.support.runtimes import Runtime, emulated, musl, native, release
from tls_wheel_guard.platforms import Target

__all__ = ["AARCH64", "NO_FRAMES", "TESTED", "X86_64", "TestedMachine", "machine_of"]

NO_FRAMES = "-fno-asynchronous-unwind-tables"
"""Code without frames and names is refused where a linker's padding between functions decodes as something else."""
LLVM = Path("/usr/lib/llvm-19/bin")


@dataclass(frozen=True)
class TestedMachine:
    """A machine's row. ``compilers``: the names gcc, g++, clang-19, clang++-19 -> words.

    ``linkers``: name of a layout -> the flags that make it, for both compilers; ``levels``: flags of each compiler, one of them an object;
    ``more``: flags of which each object gets one; ``may_refuse``: flags that explain a refusal; ``refusal_words``: the same in words.
    ``truth``: a pattern of the linker's relocations of reads, with the address as its group; ``truth_shift``: from there back to the read;
    ``truth_word``: (mask, value) of the word there, for a linker whose relocations may lie elsewhere.
    ``binutils``: what stands before the names of binutils; ``probe_flags``: of objects of probes;
    ``for_tools``: the layouts that other tools get, all where there is none. ``rust``: flags of rustc.
    """

    name: str
    e_machine: int
    glibc: Target
    musl: Target
    runtime: Callable[[], Runtime]
    musl_runtime: Callable[[], Runtime]
    compilers: Mapping[str, tuple[str, ...]]
    linkers: Mapping[str, tuple[str, ...]]
    levels: Mapping[str, tuple[str, ...]]
    more: tuple[str, ...]
    may_refuse: tuple[str, ...]
    refusal_words: str
    truth: re.Pattern[str]
    truth_shift: int
    truth_word: tuple[int, int]
    probes: Any
    binutils: str = ""
    probe_flags: tuple[str, ...] = ("-nostdlib",)
    for_tools: tuple[str, ...] = ()
    rust: tuple[str, ...] = ()
    widths: tuple[str, ...] = ()
    releases: tuple[str, ...] = ("bullseye", "trixie", "sid")

    @property
    def triplet(self) -> str:
        """What stands before the names of a cross compiler's tools."""
        return f"{self.name}-linux-gnu"

    @property
    def binutils_package(self) -> str:
        """Debian's package of binutils for this machine."""
        return f"binutils-{self.triplet.replace('_', '-')}"

    def places(self) -> Sequence[Callable[[], Runtime]]:
        """Every loader: the one that originals run in first, then other releases' glibc, then musl."""
        others = [lambda suite=suite: release(suite, self.name) for suite in self.releases]
        return [self.runtime, *others, self.musl_runtime]

    def command(self, compiler: str, flags: Sequence[str]) -> list[str]:
        """The words that start a compiler for this machine; lld and mold must lie where gcc looks for them."""
        words = list(self.compilers[compiler])
        if not compiler.startswith("clang"):
            if any("fuse-ld=lld" in flag for flag in flags):
                words.append(f"-B{LLVM}")
            if self.binutils and "-fuse-ld=mold" in flags:
                # A cross gcc knows mold by its folder alone.
                return [*words, "-B/usr/libexec/mold", *(flag for flag in flags if flag != "-fuse-ld=mold")]
        return [*words, *flags]


X86_GCC = ("-O0", "-O1", "-O2", "-O3", "-Os", "-O2 -flto", "-O2 -march=x86-64-v4", "-O3 -march=haswell", "-O2 -fno-omit-frame-pointer")
X86_CLANG = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Oz", "-O2 -march=x86-64-v3", "-O2 -fno-omit-frame-pointer")
X86_64 = TestedMachine(
    name="x86_64",
    e_machine=62,
    glibc=Target("manylinux_2_17_x86_64", "x86_64", "glibc", (2, 17)),
    musl=Target("musllinux_1_2_x86_64", "x86_64", "musl", (1, 2)),
    runtime=native,
    musl_runtime=musl,
    compilers={name: (name,) for name in ("gcc", "g++", "clang-19", "clang++-19")},
    linkers={
        "bfd": ("-fuse-ld=bfd",),
        "bfd, one segment": ("-fuse-ld=bfd", "-Wl,-z,noseparate-code"),
        "bfd, 2 MiB": ("-fuse-ld=bfd", "-Wl,-z,noseparate-code,-z,max-page-size=0x200000"),
        "bfd, now": ("-fuse-ld=bfd", "-Wl,-z,now,--build-id"),
        "bfd, relr": ("-fuse-ld=bfd", "-Wl,-z,pack-relative-relocs"),
        "bfd, cet": ("-fuse-ld=bfd", "-fcf-protection=full", "-Wl,-z,ibt,-z,shstk"),
        "bfd, no relro": ("-fuse-ld=bfd", "-Wl,-z,norelro"),
        "bfd, sysv hash": ("-fuse-ld=bfd", "-Wl,--hash-style=sysv"),
        "bfd, no table": ("-fuse-ld=bfd", "-Wl,--no-eh-frame-hdr"),
        "bfd, stripped": ("-fuse-ld=bfd", "-s"),
        "gold": ("-fuse-ld=gold",),
        "lld": ("-fuse-ld=lld",),
        "lld, stripped": ("-fuse-ld=lld", "-s"),
        "lld, 64 KiB": ("-fuse-ld=lld", "-Wl,-z,max-page-size=0x10000"),
        "lld, one segment": ("-fuse-ld=lld", "-Wl,-z,noseparate-code,--no-rosegment"),
        "mold": ("-fuse-ld=mold",),
        "mold, stripped": ("-fuse-ld=mold", "-s"),
    },
    levels={"gcc": X86_GCC, "g++": X86_GCC, "clang-19": X86_CLANG, "clang++-19": X86_CLANG},
    more=("", "", "-fcf-protection=full", "-mcmodel=large", NO_FRAMES, "-fstack-protector-all", "-ftls-model=initial-exec"),
    may_refuse=(NO_FRAMES,),
    refusal_words=f"Refused: only objects of `{NO_FRAMES}`, whose stripped code has no frames to find functions by.",
    truth=re.compile(r"^([0-9a-f]+) .*R_X86_64_GOTTPOFF", re.MULTILINE),
    truth_shift=3,
    truth_word=(0, 0),
    probes=repair_probes,
    widths=("xmm", "ymm", "zmm and masks"),
)

ARM_GCC = ("-O0", "-O1", "-O2", "-O3", "-Os", "-O2 -flto", "-O3 -mcpu=neoverse-n1", "-O2 -march=armv8.5-a", "-O2 -fno-omit-frame-pointer")
ARM_CLANG = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Oz", "-O2 -moutline", "-O3 -mcpu=neoverse-n1", "-O2 -mno-outline-atomics")
BTI = "-Wl,-z,force-bti"
"""The C library's own parts of an object are not marked, so they are left out: no function of theirs could be called."""
AARCH64 = TestedMachine(
    name="aarch64",
    e_machine=183,
    glibc=Target("manylinux_2_17_aarch64", "aarch64", "glibc", (2, 17)),
    musl=Target("musllinux_1_2_aarch64", "aarch64", "musl", (1, 2)),
    runtime=lambda: emulated("aarch64"),
    musl_runtime=lambda: musl("aarch64"),
    compilers={
        "gcc": ("aarch64-linux-gnu-gcc",),
        "g++": ("aarch64-linux-gnu-g++",),
        "clang-19": ("clang-19", "--target=aarch64-linux-gnu"),
        "clang++-19": ("clang++-19", "--target=aarch64-linux-gnu"),
    },
    linkers={
        "bfd": ("-fuse-ld=bfd",),
        "bfd, separate code": ("-fuse-ld=bfd", "-Wl,-z,separate-code"),
        "bfd, 4 KiB": ("-fuse-ld=bfd", "-Wl,-z,max-page-size=0x1000"),
        "bfd, now": ("-fuse-ld=bfd", "-Wl,-z,now,--build-id"),
        "bfd, erratum 843419": ("-fuse-ld=bfd", "-Wl,--fix-cortex-a53-843419"),
        "bfd, bti": ("-fuse-ld=bfd", "-mbranch-protection=standard", BTI, "-nostdlib"),
        "bfd, no relro": ("-fuse-ld=bfd", "-Wl,-z,norelro"),
        "bfd, sysv hash": ("-fuse-ld=bfd", "-Wl,--hash-style=sysv"),
        "bfd, no table": ("-fuse-ld=bfd", "-Wl,--no-eh-frame-hdr"),
        "bfd, stripped": ("-fuse-ld=bfd", "-s"),
        "gold": ("-fuse-ld=gold",),
        "gold, erratum 843419": ("-fuse-ld=gold", "-Wl,--fix-cortex-a53-843419"),
        "lld": ("-fuse-ld=lld",),
        "lld, stripped": ("-fuse-ld=lld", "-s"),
        "lld, 4 KiB": ("-fuse-ld=lld", "-Wl,-z,max-page-size=0x1000"),
        "lld, relr": ("-fuse-ld=lld", "-Wl,-z,pack-relative-relocs"),
        "lld, erratum 843419": ("-fuse-ld=lld", "-Wl,--fix-cortex-a53-843419"),
        "lld, one segment": ("-fuse-ld=lld", "-Wl,-z,noseparate-code,--no-rosegment"),
        "mold": ("-fuse-ld=mold",),
        "mold, stripped": ("-fuse-ld=mold", "-s"),
    },
    levels={"gcc": ARM_GCC, "g++": ARM_GCC, "clang-19": ARM_CLANG, "clang++-19": ARM_CLANG},
    more=("", "", "-mbranch-protection=standard", "-mbranch-protection=pac-ret+leaf", "-mcmodel=tiny", NO_FRAMES, "-fstack-protector-all",
          "-ffixed-x18", "-ftls-model=initial-exec"),
    may_refuse=(NO_FRAMES, "-mcmodel=tiny", "-Oz", "-moutline"),
    refusal_words=f"Refused: only objects of `{NO_FRAMES}`, `-mcmodel=tiny` (a slot is read by a literal load), and outlined code (`-Oz`,"
    " `-moutline`), where a page is made in one function and read in another. No compiler makes `-mcmodel=large` with `-fPIC`.",
    truth=re.compile(r"^([0-9a-f]+) .*R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC", re.MULTILINE),
    truth_shift=0,
    truth_word=(0xFFC00000, 0xF9400000),
    probes=repair_probes_aarch64,
    binutils="aarch64-linux-gnu-",
    # Debian's gcc asks for veneers by itself, and a veneer has no frame that could be found.
    for_tools=("bfd", "bfd, 4 KiB", "bfd, bti", "bfd, now", "bfd, stripped", "gold", "lld", "lld, stripped", "lld, relr", "mold"),
    probe_flags=("-nostdlib", "-mno-fix-cortex-a53-843419"),
    rust=("--target=aarch64-unknown-linux-gnu", "-Clinker=aarch64-linux-gnu-gcc"),
    widths=("q0 to q31",),
)  # fmt: skip

TESTED = {machine.name: machine for machine in (X86_64, AARCH64)}


def machine_of(data: bytes) -> TestedMachine:
    """The row of an ELF file."""
    return next(machine for machine in TESTED.values() if machine.e_machine == int.from_bytes(data[18:20], "little"))
