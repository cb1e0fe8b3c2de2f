"""A real musl CPython, built once from Debian's source package and kept in the user's cache folder.

It has no ctypes, ssl or zlib (their libraries are not there for musl): wheels are unpacked by the tests and found by PYTHONPATH.
Its wheels are those of ``cp311-cp311-musllinux_*``. Another machine's is cross-built with Debian's musl of that machine and runs under qemu-user.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.cached import made_once
from tests.support.marks import needs
from tests.support.runtimes import Runtime, musl
from tests.support.sysroots import source
from tests.support.toolchain import missing, require
from tests.support.wheels import CACHE

__all__ = ["musl_python"]

VERSION = "3.11"
RECIPE = "1"
"""Raised when what is built changes."""

WRAPPER = """#!/bin/sh
# configure takes the platform from this answer, and musl-gcc gives glibc's.
for word in "$@"; do
    case $word in
    -print-multiarch | --print-multiarch) echo {machine}-linux-musl; exit ;;
    esac
done
exec {compiler} "$@" -idirafter {headers}
"""

KNOWN = ("ac_cv_file__dev_ptmx=yes", "ac_cv_file__dev_ptc=no", "ac_cv_buggy_getaddrinfo=no", "py_cv_module__uuid=n/a")
"""What configure can't find out in a cross build."""


def musl_python(machine: str = "x86_64") -> Path:
    """The interpreter; another machine's is a script that starts it in the emulator.

    Building it takes about 90 seconds on two cores, once a machine.
    """
    needs("network")
    needs("compiler")
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        pytest.skip("the musl CPython is built on x86_64 Linux")
    other = "" if machine == "x86_64" else f"-{machine}"
    done = CACHE / f"musl-python-{VERSION}-{RECIPE}{other}"
    python = made_once(done, lambda work: _make(work, done, musl(machine))) / "bin" / f"python{VERSION}"
    return _started_by(musl(machine), python) if other else python


def _started_by(runtime: Runtime, python: Path) -> Path:
    def make(work: Path) -> None:
        (work / "python3").write_text(f'#!/bin/sh\nexec {shlex.join(runtime.command(python))} "$@"\n')
        (work / "python3").chmod(0o755)

    return made_once(CACHE / "pythons" / f"musl-{runtime.machine}", make) / "python3"


def _build_python() -> str:
    """A Python of the same version that runs here: a cross build starts it."""
    for name in (f"/usr/bin/python{VERSION}", f"python{VERSION}"):
        try:
            run = subprocess.run([name, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return run.stdout.strip()
    return missing(f"python{VERSION}")


def _compiler(work: Path, runtime: Runtime) -> Path:
    """musl's gcc with the kernel's headers, which musl does not bring, and without any of glibc's."""
    headers = work / "headers"
    headers.mkdir()
    # An emulated musl's root has its own machine's headers.
    root = Path(runtime.prefix[-1]) if runtime.prefix else Path("/")
    for name, target in (("linux", "linux"), ("asm-generic", "asm-generic"), ("asm", f"{runtime.machine}-linux-gnu/asm")):
        (headers / name).symlink_to(root / "usr/include" / target)
    compiler = work / "muslcc"
    compiler.write_text(WRAPPER.format(headers=headers, machine=runtime.machine, compiler=shlex.join(runtime.compiler)))
    compiler.chmod(0o755)
    return compiler


def _make(work: Path, prefix: Path, runtime: Runtime) -> None:
    build_python = _build_python()
    scratch = work / "scratch"
    (scratch / "tree").mkdir(parents=True)
    tarball = source(f"python{VERSION}", scratch)
    subprocess.run(["tar", "-xf", str(tarball), "--strip-components=1", "-C", str(scratch / "tree")], check=True)
    build = scratch / "build"
    build.mkdir()
    # PKG_CONFIG=false: the host's zlib would be found, whose headers are glibc's.
    environment = {**os.environ, "CC": str(_compiler(scratch, runtime)), "PKG_CONFIG": "false"}
    if runtime.prefix:
        environment |= {name.upper(): require(f"{runtime.machine}-linux-gnu-{name}") for name in ("ar", "ranlib", "readelf")}
    for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS", "PYTHONPATH", "PYTHONHOME"):
        environment.pop(name, None)
    options = ("--build=x86_64-linux-musl", f"--host={runtime.machine}-linux-musl", "--without-ensurepip", "--disable-test-modules")
    configure = ["../tree/configure", "-q", *options, f"--prefix={prefix}", f"--with-build-python={build_python}", *KNOWN]
    for command in (configure, ["make", "-j2", "-s"], ["make", "-s", "install", f"DESTDIR={scratch / 'installed'}"]):
        run = subprocess.run(command, cwd=build, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if run.returncode:
            pytest.fail(f"the musl CPython can't be built: {' '.join(command[:2])}: {run.stderr[-2000:]}")
    for part in (scratch / "installed" / prefix.relative_to("/")).iterdir():
        part.rename(work / part.name)
    subprocess.run(["rm", "-rf", str(scratch)], check=True)
