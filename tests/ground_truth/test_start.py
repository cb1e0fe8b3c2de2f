"""How large glibc makes the block: tunables, preloaded libraries, auditors. The rest of the start is in test_histories.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.runtimes import Runtime, cases, emulated, native, release
from tests.support.toolchain import SOURCES
from tests.support.truth import TCB_2_31, libc_of
from tls_wheel_guard.loaders import glibc
from tls_wheel_guard.loaders.refusals import NO_ROOM

pytestmark = pytest.mark.compiler

AUDITOR = "unsigned la_version(unsigned version) { return version; }\n"
RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "glibc": native,
    "glibc of 2020": lambda: release("bullseye"),
    "glibc of 2025": lambda: release("trixie"),
    "the newest glibc": lambda: release("sid"),
    "aarch64": lambda: emulated("aarch64"),
    "s390x": lambda: emulated("s390x"),
}


def start_of(runtime: Runtime, *steps: str, environment: dict[str, str]) -> tuple[int, int, int, int]:
    """used, limit, align, optional of a new process."""
    command = runtime.command(runtime.program(SOURCES / "process.c"), *steps, environment=environment)
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    used, size, align, optional, tcb = (int(word) for word in run.stdout.splitlines()[0].split()[1:])
    variant = 2 if runtime.machine in ("x86_64", "i386", "s390x") else 1
    return used, size - ((tcb if tcb > 0 else TCB_2_31[runtime.machine]) if variant == 2 else 0), align, optional


def numbers(state: glibc.State) -> tuple[int, int, int, int | None]:
    return state.used, state.limit, state.align, state.optional


def auditor(runtime: Runtime, folder: Path, *flags: str) -> Path:
    source, output = folder / "auditor.c", folder / f"auditor{len(flags)}.so"
    source.write_text(AUDITOR)
    subprocess.run([*runtime.compiler, "-shared", "-fPIC", "-o", str(output), str(source), *flags], check=True, capture_output=True)
    return output


@pytest.mark.parametrize("name", cases(RUNTIMES))
def test_auditors(name: str, tmp_path: Path) -> None:
    """The block is sized before the libraries are there; then each C library takes from the surplus, the auditors' own too."""
    runtime = RUNTIMES[name]()
    libc = libc_of(runtime)
    plain, with_libc = auditor(runtime, tmp_path, "-nostdlib"), auditor(runtime, tmp_path, "-Wl,--no-as-needed", "-lc")
    for auditors in ([plain], [with_libc], [plain, with_libc], [with_libc, with_libc]):
        environment = {"LD_AUDIT": ":".join(map(str, auditors))}
        state = glibc.place_at_start([], runtime.version, runtime.machine, auditors=len(auditors))
        for _ in range(1 + sum(path == with_libc for path in auditors)):
            placed = glibc.allocate(state, libc)
            assert placed is not None
            state = placed[0]
        assert start_of(runtime, environment=environment) == numbers(state), (runtime, auditors)


@pytest.mark.parametrize("value", [0, 1, 511, 512, 513, 4096, 2**31 - 2000, 2**32, 2**32 + 5, 2**64 - 1, 2**64])
def test_optional_static_tls_is_added_in_an_int(value: int) -> None:
    runtime = native()
    libc = libc_of(runtime)
    # What has too many digits counts as the largest number.
    expected = glibc.place_at_start([libc], runtime.version, runtime.machine, optional=min(value, 2**64 - 1))
    tunable = {"GLIBC_TUNABLES": f"glibc.rtld.optional_static_tls={value}"}
    used, limit, align, found = start_of(runtime, environment=tunable)
    assert (used, limit, align, found % 2**64) == numbers(expected)


@pytest.mark.parametrize("value", [0, 1, 2, 4, 16, 17, 1000])
def test_nns_outside_its_bounds_keeps_its_default(value: int) -> None:
    runtime = native()
    expected = glibc.place_at_start([libc_of(runtime)], runtime.version, runtime.machine, nns=value)
    assert start_of(runtime, environment={"GLIBC_TUNABLES": f"glibc.rtld.nns={value}"}) == numbers(expected)


def test_a_refused_library_at_the_start_under_an_auditor(tmp_path: Path) -> None:
    """A preloaded library with initial-exec TLS takes from the surplus there, and the program does not start when it is gone."""
    runtime = native()
    state = glibc.place_at_start([], runtime.version, runtime.machine, auditors=1)
    room = state.room - libc_of(runtime).block_size
    plain = auditor(runtime, tmp_path, "-nostdlib")
    library = tmp_path / "big.so"
    for size, starts in ((room - 64, True), (room + 1, False)):
        library.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(size))))
        environment = {"LD_AUDIT": str(plain), "LD_PRELOAD": str(library), "LD_BIND_NOW": "1"}
        command = runtime.command(runtime.program(SOURCES / "process.c"), environment=environment)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (run.returncode == 0) == starts, (size, run)
        if not starts:
            assert run.stderr.endswith(f"error while loading shared libraries: {library}: {NO_ROOM.mark}\n")


def measured() -> Iterator[Any]:
    """The rows of MEASURED, with what each needs: only 2.36 is this machine's own, and other machines are emulated."""
    for version, machine in sorted(glibc.MEASURED):
        marks = [pytest.mark.network] * (version != (2, 36)) + [pytest.mark.emulated] * (machine not in ("x86_64", "i386"))
        yield pytest.param(version, machine, marks=marks)


@pytest.mark.parametrize(("version", "machine"), list(measured()))
def test_the_measured_starts(version: tuple[int, int], machine: str) -> None:
    """Each row of MEASURED is what a process of that glibc starts with, and what the model makes of its libc."""
    suites = {(2, 31): "bullseye", (2, 41): "trixie", (2, 43): "sid"}
    here = native() if machine == "x86_64" else emulated(machine)
    runtime = here if version == (2, 36) else release(suites[version], machine)
    if runtime.version != version:
        pytest.skip(f"the archive has glibc {runtime.version} now, and the row is for {version}")
    assert numbers(glibc.place_at_start([libc_of(runtime)], version, machine))[:3] == glibc.MEASURED[version, machine]
    if machine != "i386" or version == (2, 36):
        # Before 2.34 the TCB's size is not to be had; programs of this compiler crash under a much newer glibc of that machine.
        assert start_of(runtime, environment={})[:3] == glibc.MEASURED[version, machine]
