"""Places to run programs in: this machine's glibc, musl, other releases' glibc, other machines' under qemu-user.

A runtime has a compiler whose programs start with ``command``. Other releases come from Debian's archive (tests/support/sysroots.py) and
are started by their own ld.so; other machines' glibc is the one that their cross compiler's package brings, or a release's.
"""

from __future__ import annotations

import atexit
import functools
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cached import made_once
from tests.support.marks import needs
from tests.support.sysroots import sysroot
from tests.support.toolchain import COMPILERS, SOURCES, missing, require
from tests.support.wheels import CACHE

__all__ = ["EMULATED", "RELEASES", "Runtime", "cases", "emulated", "musl", "native", "release"]

RELEASES = ("bullseye", "trixie", "sid")
"""Debian releases beside this one: glibc 2.31, 2.41, and the newest (``release("sid", ...).version`` says which)."""

EMULATED = ("aarch64", "arm", "i386", "ppc64le", "riscv64", "s390x")
"""Machines with a cross glibc and a qemu-user."""

_TRIPLETS = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "i386": "i686-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
}
_PACKAGES = ("libc6", "libc6-dev", "libcrypt1", "libgcc-s1", "linux-libc-dev")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "arm": "armhf",
    "i386": "i386",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""Machine -> Debian's name of it; riscv64 is there since trixie."""
_VERSION = re.compile(rb"GNU C Library [^\n]*version (\d+)\.(\d+)")


@dataclass(frozen=True)
class Runtime:
    """One libc on one machine. ``prefix``: the words before a program's path, none where it starts by itself."""

    libc: str
    version: tuple[int, int]
    machine: str
    compiler: tuple[str, ...]
    prefix: tuple[str, ...] = ()
    suite: str | None = None
    libc_file: Path | None = None

    def __str__(self) -> str:
        return f"{self.libc}-{'.'.join(map(str, self.version))}-{self.machine}"

    def command(self, program: Path | str, *arguments: Path | str, environment: Mapping[str, str] | None = None) -> list[str]:
        """The words that start a program of this runtime, with variables that only the program itself is to see."""
        words = [f"{name}={value}" for name, value in (environment or {}).items()]
        if self.prefix and "qemu" in self.prefix[0]:
            needs("emulated")
            start = [self.prefix[0], *(word for pair in words for word in ("-E", pair)), *self.prefix[1:]]
        else:
            start = [*(["env", *words] if words else []), *self.prefix]
        return [*start, str(program), *map(str, arguments)]

    def program(self, source: Path = SOURCES / "host.c", *flags: str) -> Path:
        """A C program for this runtime, compiled once a test run."""
        return _program(self, source, flags)

    def libc_path(self) -> Path:
        """The file of the libc that its programs run with."""
        if self.libc_file is not None:
            return self.libc_file
        name = "libc.so.6" if self.libc == "glibc" else "libc.so"
        run = subprocess.run([*self.compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        return Path(run.stdout.strip()).resolve()

    def open_in_turn(self, *paths: Path | str, environment: Mapping[str, str] | None = None) -> list[str]:
        """As toolchain.open_in_turn, in this runtime: "" for each that loads, else its dlerror."""
        run = subprocess.run(self.command(self.program(), *paths, environment=environment), capture_output=True, text=True, check=False)
        answers = [line[1:] for line in run.stdout.splitlines()]
        return answers if run.returncode == 0 else [*answers, f"signal {-run.returncode}"]

    def python(self) -> Path:
        """This release's own python3 under its own glibc: a script that can be started as any interpreter can."""
        if self.suite is None:
            return Path(require("python3"))
        root = sysroot(_ARCHITECTURES[self.machine], ("python3",), self.suite, dependencies=True)
        inner = (root / "usr/bin/python3").resolve()
        words = [*_prefix(self.machine, root), str(inner)]

        def make(work: Path) -> None:
            (work / "python3").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (work / "python3").chmod(0o755)

        return made_once(CACHE / "pythons" / f"{self.suite}-{self.machine}", make) / "python3"


@functools.cache
def _program(runtime: Runtime, source: Path, flags: tuple[str, ...]) -> Path:
    require(runtime.compiler[0])
    folder = Path(tempfile.mkdtemp(prefix="tls-wheel-guard-program-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    output = folder / f"{source.stem}-{runtime}"
    subprocess.run([*runtime.compiler, "-O1", "-rdynamic", *flags, "-o", str(output), str(source), "-ldl"], check=True, capture_output=True)
    return output


def _multiarch(machine: str) -> str:
    return _TRIPLETS[machine].replace("i686", "i386")


def _libraries(machine: str, root: Path) -> Path:
    """The folder of libc.so.6 and ld.so: a release's, or a cross compiler's."""
    folders = (root / "lib" / _multiarch(machine), root / "lib")
    return next((folder for folder in folders if (folder / "libc.so.6").exists()), folders[0])


def _prefix(machine: str, root: Path) -> tuple[str, ...]:
    if machine == platform.machine() or (machine == "i386" and platform.machine() == "x86_64"):
        libraries = _libraries(machine, root)
        loader = next(path for path in sorted(libraries.glob("ld-linux*.so.*")))
        more = root / "usr" / libraries.relative_to(root)
        return (str(loader), "--library-path", f"{libraries}:{more}")
    return (require(f"qemu-{machine}"), "-L", str(root))


@functools.cache
def _version(libc: Path) -> tuple[int, int]:
    found = _VERSION.search(libc.read_bytes()) if libc.exists() else None
    return (int(found[1]), int(found[2])) if found else missing(f"glibc in {libc}")


def cases(names: Iterable[str]) -> list[Any]:
    """Names of runtimes as a test's parameters, with the markers: other releases are fetched, other machines are emulated."""

    def markers(name: str) -> Iterator[pytest.MarkDecorator]:
        if any(word in name for word in (*RELEASES, "glibc of", "newest")):
            yield pytest.mark.network
        if name.rpartition("/")[2] in {*EMULATED} - {"i386"}:
            yield pytest.mark.emulated

    return [pytest.param(name, marks=list(markers(name))) for name in names]


def native() -> Runtime:
    """This machine's own glibc."""
    libc, version = platform.libc_ver()
    if libc != "glibc":
        pytest.skip("this machine has no glibc")
    major, minor = map(int, version.split(".")[:2])
    return Runtime("glibc", (major, minor), platform.machine(), ("gcc",))


def musl(machine: str = "x86_64") -> Runtime:
    """This machine's musl, or another machine's from Debian's archive under qemu-user."""
    if machine != platform.machine():
        return _emulated_musl(machine)
    require("musl-gcc")
    run = subprocess.run([str(next(Path("/lib").glob("ld-musl-*.so.1")))], capture_output=True, text=True, check=False)
    found = re.search(r"Version (\d+)\.(\d+)", run.stderr)
    assert found, run.stderr
    return Runtime("musl", (int(found[1]), int(found[2])), platform.machine(), ("musl-gcc",))


@functools.cache
def _emulated_musl(machine: str) -> Runtime:
    triplet, compiler = f"{machine}-linux-musl", COMPILERS[machine][0]
    root = sysroot(_ARCHITECTURES[machine], ("musl", "musl-dev", "linux-libc-dev"))
    name = f"musl-gcc-{machine}"

    def make(work: Path) -> None:
        # The package's own specs, with its paths below the root, and libc.so before libc.a.
        text = (root / "usr/lib" / triplet / "musl-gcc.specs").read_text()
        text = text.replace("/usr/", f"{root}/usr/").replace(f"-L{root}/usr", f"-L{root}/lib/{triplet} -L{root}/usr")
        (work / "specs").write_text(text)

    specs = made_once(CACHE / name, make) / "specs"
    prefix = _prefix(machine, root)
    run = subprocess.run([*prefix, str(root / f"lib/ld-musl-{machine}.so.1")], capture_output=True, text=True, check=False)
    found = re.search(r"Version (\d+)\.(\d+)", run.stderr)
    assert found, run.stderr
    libc = root / "lib" / triplet / "libc.so"
    # Outlined atomics of libgcc ask glibc for the processor's features.
    more = ("-mno-outline-atomics",) if machine == "aarch64" else ()
    return Runtime("musl", (int(found[1]), int(found[2])), machine, (compiler, f"-specs={specs}", *more), prefix, libc_file=libc)


def emulated(machine: str) -> Runtime:
    """Another machine's glibc, as its cross compiler's package brings it; i386 runs by itself on x86_64."""
    compiler = COMPILERS[machine]
    require(compiler[0])
    root = Path("/usr") / _TRIPLETS[machine]
    libc = _libraries(machine, root) / "libc.so.6"
    return Runtime("glibc", _version(libc), machine, compiler, _prefix(machine, root), libc_file=libc)


def release(suite: str, machine: str = "x86_64") -> Runtime:
    """A Debian release's glibc of a machine; skips the test where the archive no longer has it."""
    root = sysroot(_ARCHITECTURES[machine], _PACKAGES, suite)
    triplet = _multiarch(machine)
    libraries, headers = root / "usr/lib" / triplet, root / "usr/include"
    where = (f"--sysroot={root}", f"-B{libraries}", f"-L{libraries}", "-isystem", str(headers / triplet), "-isystem", str(headers))
    libc = _libraries(machine, root) / "libc.so.6"
    return Runtime("glibc", _version(libc), machine, (*COMPILERS[machine], *where), _prefix(machine, root), suite, libc)
