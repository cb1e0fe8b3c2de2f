"""The places that programs are run in are what they say: each real libc of each machine opens modules and refuses one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.musl_python import musl_python
from tests.support.runtimes import EMULATED, RELEASES, Runtime, cases, emulated, musl, native, release
from tests.support.toolchain import SOURCES
from tests.support.wheels import fetch, unpack
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.platforms import machine_called

pytestmark = pytest.mark.compiler

NAMES = ["native", *EMULATED, *(f"{suite}/{machine}" for suite in RELEASES for machine in ("x86_64", "aarch64"))]


def runtime(name: str) -> Runtime:
    suite, _, machine = name.partition("/")
    return native() if name == "native" else release(suite, machine) if machine else emulated(name)


def initial_exec(machine: str) -> int:
    row = machine_called(machine)
    assert row is not None
    numbers = [(number, name) for number, (kind, name) in TLS_RELOCS[row.e_machine].items() if kind == "TPOFF"]
    return next((number for number, name in numbers if name.endswith(str(row.bits))), numbers[0][0])


@pytest.mark.parametrize("name", cases(NAMES))
def test_a_runtime_is_what_it_says(name: str, tmp_path: Path) -> None:
    place = runtime(name)
    said = subprocess.run(place.command(place.program(SOURCES / "version.c")), capture_output=True, text=True, check=True).stdout
    assert tuple(map(int, said.strip().split(".")[:2])) == place.version
    sizes = (100, 1500, 4000, 20)
    for size in sizes:
        spec = Spec(machine=place.machine, relocs=(Reloc(initial_exec(place.machine)),), tls=Tls(size))
        (tmp_path / f"{size}.so").write_bytes(build(spec))
    refused = f"{tmp_path}/4000.so: cannot allocate memory in static TLS block"
    assert place.open_in_turn(*(tmp_path / f"{size}.so" for size in sizes)) == ["", "", refused, ""]
    if place.version >= (2, 32) or place.suite == "bullseye":
        wider = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=4096"}
        assert place.open_in_turn(tmp_path / "4000.so", environment=wider) == [""]


@pytest.mark.network
@pytest.mark.emulated
@pytest.mark.parametrize("suite", RELEASES)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_release_has_its_own_python(suite: str, machine: str) -> None:
    place = release(suite, machine)
    ask = "import ctypes, platform; print(platform.machine(), ctypes.CDLL(None).gnu_get_libc_version and platform.libc_ver()[1])"
    said = subprocess.run([place.python(), "-c", ask], capture_output=True, text=True, check=True).stdout
    assert said.split() == [machine, "{}.{}".format(*place.version)]


@pytest.mark.network
def test_the_musl_python_is_one(tmp_path: Path) -> None:
    python = musl_python()
    ask = "import sysconfig, _socket, math; print(sysconfig.get_config_var('SOABI'))"
    assert subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip() == "cpython-311-x86_64-linux-musl"
    unpack(fetch("cachebox==5.2.0", "musllinux_1_2_x86_64", "3.11"), tmp_path)
    run = subprocess.run([python, "-c", "import cachebox._core"], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)})
    assert "initial-exec TLS resolves to dynamic definition" in run.stderr, run.stderr
    assert musl().version >= (1, 1)
