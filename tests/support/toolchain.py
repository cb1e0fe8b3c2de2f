"""Real tools for the tests: a compiler a machine, C hosts for dlopen. Debian 12's packages; tools/packages.txt lists them."""

from __future__ import annotations

import atexit
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.marks import needs
from tls_wheel_guard.loaders import glibc

SOURCES = Path(__file__).parents[1] / "sources"

COMPILERS: dict[str, tuple[str, ...]] = {
    "x86_64": ("gcc",),
    "x32": ("x86_64-linux-gnux32-gcc",),
    "i386": ("i686-linux-gnu-gcc",),
    "aarch64": ("aarch64-linux-gnu-gcc",),
    "aarch64_be": ("aarch64-linux-gnu-gcc", "-mbig-endian"),
    "arm": ("arm-linux-gnueabihf-gcc",),
    "armeb": ("arm-linux-gnueabi-gcc", "-mbig-endian"),
    "ppc64le": ("powerpc64le-linux-gnu-gcc",),
    "ppc64": ("powerpc64-linux-gnu-gcc",),
    "ppc": ("powerpc-linux-gnu-gcc",),
    "s390x": ("s390x-linux-gnu-gcc",),
    "s390": ("s390x-linux-gnu-gcc", "-m31"),
    "riscv64": ("riscv64-linux-gnu-gcc",),
    "riscv32": ("riscv64-linux-gnu-gcc", "-march=rv32gc", "-mabi=ilp32d"),
    "loongarch64": ("clang-19", "--target=loongarch64-linux-gnu", "-fuse-ld=lld-19"),
    "mips": ("mips-linux-gnu-gcc",),
    "mipsel": ("mipsel-linux-gnu-gcc",),
    "mips64": ("mips64-linux-gnuabi64-gcc",),
    "mips64el": ("mips64el-linux-gnuabi64-gcc",),
    "sparc64": ("sparc64-linux-gnu-gcc",),
    "sparc": ("sparc64-linux-gnu-gcc", "-m32", "-mcpu=v8"),
    "sparc32plus": ("sparc64-linux-gnu-gcc", "-m32"),
    "alpha": ("alpha-linux-gnu-gcc",),
    "hppa": ("hppa-linux-gnu-gcc",),
    "m68k": ("m68k-linux-gnu-gcc",),
    "sh4": ("sh4-linux-gnu-gcc",),
    "arc": ("arc-linux-gnu-gcc",),
    "arceb": ("arc-linux-gnu-gcc", "-mbig-endian"),
}
"""Machine of platforms.MACHINES -> a compiler for it.

Debian 12's cross compilers for systems with a dynamic loader are all here, and clang for loongarch64. One has no row: gcc for
hppa64 builds kernels, and stops at the first thread-local variable. Those for bare boards (arm-none-eabi, avr, bpf,
h8300, or1k-elf, riscv64-unknown-elf) make nothing that is loaded.
"""

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "arm, soft float": ("arm", ("arm-linux-gnueabi-gcc",)),
    "mips, release 6": ("mips", ("mips-linux-gnu-gcc", "-march=mips32r6")),
    "mipsel, release 6": ("mipsel", ("mipsel-linux-gnu-gcc", "-march=mips32r6")),
    "mips64, release 6": ("mips64", ("mips64-linux-gnuabi64-gcc", "-march=mips64r6")),
    "mips64el, release 6": ("mips64el", ("mips64el-linux-gnuabi64-gcc", "-march=mips64r6")),
    "mips, n32": ("mips", ("mips64-linux-gnuabi64-gcc", "-mabi=n32")),
    "mipsel, n32": ("mipsel", ("mips64el-linux-gnuabi64-gcc", "-mabi=n32")),
}
"""ABIs that share a row with another: name -> machine, compiler. Release 6 of MIPS has compilers of its own in Debian, of one kind."""

DESCRIPTORS: dict[str, tuple[str, ...]] = {
    "x86_64": ("gcc", "-mtls-dialect=gnu2"),
    "i386": ("i686-linux-gnu-gcc", "-mtls-dialect=gnu2"),
    "arm": ("arm-linux-gnueabihf-gcc", "-mtls-dialect=gnu2"),
    "aarch64": ("aarch64-linux-gnu-gcc", "-mtls-dialect=desc"),
    "riscv64": ("clang-19", "--target=riscv64-linux-gnu", "-fuse-ld=lld-19", "-mtls-dialect=desc"),
    "loongarch64": ("clang-19", "--target=loongarch64-linux-gnu", "-fuse-ld=lld-19", "-mtls-dialect=desc"),
}
"""The same for machines with a descriptor dialect."""


def missing(tool: str) -> NoReturn:
    """Skip, and say why; where CI is set a ground truth must not be skipped."""
    message = f"{tool} is not installed: tools/setup.sh installs it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def require(tool: str) -> str:
    """The path of a compiler, of another tool that works on its output, or of an emulator."""
    needs("emulated" if Path(tool).name.startswith("qemu-") else "compiler")
    return shutil.which(tool) or missing(tool)


def compile_shared(command: tuple[str, ...], source: Path, output: Path, *flags: str) -> bytes:
    """Compile a shared object without any libc and give its bytes."""
    require(command[0])
    base = ("-shared", "-fPIC", "-O1", "-nostdlib", "-Wl,-soname,truth.so")
    subprocess.run([*command, *base, *flags, "-o", str(output), str(source)], check=True, capture_output=True)
    return output.read_bytes()


@functools.cache
def _host(compiler: str) -> Path:
    require(compiler)
    folder = Path(tempfile.mkdtemp(prefix="tls-wheel-guard-host-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    output = folder / f"host-{compiler}"
    subprocess.run([compiler, "-O1", "-rdynamic", "-o", str(output), str(SOURCES / "host.c"), "-ldl"], check=True, capture_output=True)
    return output


def open_in_turn(compiler: str, *paths: Path | str, environment: dict[str, str] | None = None) -> list[str]:
    """Open shared objects one after another in one C process of the compiler's libc: "" for each that loads, else its dlerror.

    A process that dies on the way gives ``signal N`` for the object that killed it, and nothing for those behind it.
    """
    run = subprocess.run(
        [str(_host(compiler)), *map(str, paths)], capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    answers = [line[1:] for line in run.stdout.splitlines()]
    return answers if run.returncode == 0 else [*answers, f"signal {-run.returncode}"]


def this_glibc() -> tuple[int, int]:
    libc, version = platform.libc_ver()
    if libc != "glibc" or platform.machine() != "x86_64":
        pytest.skip("the live tests of glibc run on x86_64 glibc")
    major, minor = map(int, version.split(".")[:2])
    if ((major, minor), "x86_64") not in glibc.MEASURED:
        pytest.skip(f"glibc {version} was not measured: its fresh state is only known to be at least 1664 bytes")
    return major, minor
