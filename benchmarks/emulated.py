"""Open a shared object of aarch64 under qemu-user, with Debian's libraries for that machine: glibc's loader, and musl's.

Each function gives "" when the loader takes it, else the loader's words.
"""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

from tests.support.sysroots import sysroot
from tests.support.toolchain import SOURCES

__all__ = ["glibc_opens", "musl_opens", "musl_starts_with"]

GLIBC = ("libc6", "libgcc-s1", "libstdc++6", "libpython3.11", "zlib1g", "libexpat1", "libgomp1", "libatomic1")
MUSL = ("musl", "musl-dev", "libgcc-s1")
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix(":") if done.returncode == 0 else f"exit {done.returncode}: {done.stderr.strip()}"


@functools.cache
def _glibc_host(folder: Path) -> Path:
    host = folder / "host-glibc"
    subprocess.run([COMPILER, "-O1", "-rdynamic", "-o", str(host), str(SOURCES / "host.c"), "-ldl"], check=True)
    return host


def glibc_opens(path: Path, folder: Path) -> str:
    """By dlopen in a C program that has libpython's symbols."""
    root = sysroot("arm64", GLIBC)
    preload = f"LD_PRELOAD={root}/usr/lib/aarch64-linux-gnu/libpython3.11.so.1.0"
    return _run([EMULATOR, "-L", str(root), "-E", preload, str(_glibc_host(folder)), str(path)])


@functools.cache
def _musl_host(folder: Path) -> tuple[Path, Path]:
    """A C program for musl, and musl's loader."""
    root = sysroot("arm64", MUSL)
    loader, library, host = root / "lib/aarch64-linux-musl/libc.so", root / "usr/lib/aarch64-linux-musl", folder / "host-musl"
    flags = ["-nostdinc", "-isystem", str(root / "usr/include/aarch64-linux-musl"), "-nostdlib", "-fno-pie", "-no-pie", "-O1", "-rdynamic"]
    objects = [library / "crt1.o", library / "crti.o", SOURCES / "host.c", loader, library / "crtn.o"]
    command = [COMPILER, *flags, "-Wl,-dynamic-linker,/lib/ld-musl-aarch64.so.1", "-o", str(host), *map(str, objects)]
    subprocess.run(command, check=True)
    return host, loader


def _python_stub(path: Path, folder: Path) -> Path:
    """A library with the symbols of Python that a module leaves undefined: enough for a loader."""
    names = subprocess.run(["nm", "-D", "--undefined-only", str(path)], capture_output=True, text=True, check=True).stdout
    labels = "".join(f".globl {name}\n{name}:\n" for name in re.findall(r"\bU (_?Py\w+)$", names, re.MULTILINE))
    source, stub = folder / "stub.s", folder / "stub.so"
    source.write_text(f".text\n{labels} .space 64\n")
    subprocess.run([COMPILER, "-shared", "-nostdlib", "-o", str(stub), str(source)], check=True)
    return stub


def _under_musl(folder: Path, preload: list[Path], *arguments: Path) -> str:
    host, loader = _musl_host(folder)
    preloaded = " ".join(map(str, preload))
    return _run([EMULATOR, "-L", str(sysroot("arm64", MUSL)), str(loader), "--preload", preloaded, str(host), *map(str, arguments)])


def musl_opens(path: Path, folder: Path) -> str:
    """By dlopen in a C program with Python's symbols."""
    return _under_musl(folder, [_python_stub(path, folder)], path)


def musl_starts_with(path: Path, folder: Path) -> str:
    """The same program with the module preloaded: musl takes initial-exec at start-up, and the module's constructors run."""
    return _under_musl(folder, [_python_stub(path, folder), path])
