"""`env` against the real loaders: what is read equals what the loader answers to modules, in processes with and without a past."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.live_histories import DESCRIPTOR, History, auditor, disagreements, pythons, random_history
from tests.support.musl_python import musl_python
from tests.support.runtimes import EMULATED, cases, emulated, native, release
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.live.model import KEEPS_NO_ROOM
from tls_wheel_guard.live.probe_module import TPOFF, tiny, tiny_module
from tls_wheel_guard.live.reading import read_live
from tls_wheel_guard.loaders.glibc.tunables import DEFAULTS, read_tunables

TUNABLES = [
    "", ":", "nns=3", "rtld.nns=3", "glibc.rtld.nns", "glibc.rtld.nns=1:glibc.rtld.optional_static_tls=1000", "glibc.rtld.nns=17",
    "glibc.rtld.nns=0x10", "glibc.rtld.nns=0XA", "glibc.rtld.nns=010", "glibc.rtld.nns=08", "glibc.rtld.nns=5x", "glibc.rtld.nns= 3",
    "glibc.rtld.nns=3 ", " glibc.rtld.nns=3", "glibc.rtld.nns=+3", "glibc.rtld.nns=-1", "glibc.rtld.nns=--3", "glibc.rtld.nns=2:",
    ":glibc.rtld.nns=2", "glibc.rtld.nns=2:nonsense", "nonsense:glibc.rtld.nns=2", "glibc.rtld.nns=2:=5",
    "glibc.rtld.nns=2:glibc.rtld.nns=3", "glibc.rtld.nns=5:glibc.rtld.nns=77", "glibc.x=1:glibc.rtld.nns=5",
    "glibc.malloc.check=1:glibc.rtld.nns=2", "glibc.rtld.optional_static_tls=", "glibc.rtld.optional_static_tls=0x",
    "glibc.rtld.optional_static_tls=-1", "glibc.rtld.optional_static_tls=18446744073709551615",
    "glibc.rtld.optional_static_tls=18446744073709551616", "glibc.rtld.optional_static_tls=99999999999999999999999",
    "glibc.rtld.nns=2::glibc.rtld.optional_static_tls=7", "glibc.rtld.nns=2:glibc.rtld.optional_static_tls=7=8",
]  # fmt: skip


@pytest.mark.parametrize("python", pythons(), ids=str)
def test_every_python_of_this_machine(python: Path) -> None:
    read, asked = read_live(python), read_live(python, method="bisect")
    if read.method == KEEPS_NO_ROOM:
        return
    assert read.method == "_dl_get_tls_static_info"
    assert asked.method == "bisecting"
    assert (read.room, read.align, read.machine) == (asked.room, asked.align, asked.machine)
    assert read.optional == 512


@pytest.mark.compiler
@pytest.mark.parametrize("seed", range(16))
def test_a_random_past(seed: int, tmp_path: Path) -> None:
    found = pythons()
    assert disagreements(found[seed % len(found)], random_history(Random(seed), "x86_64", auditor(tmp_path)), tmp_path) == []


@pytest.mark.network
@pytest.mark.parametrize("place", cases(["bullseye/x86_64", "trixie/x86_64", "sid/x86_64", "bullseye/aarch64"]))
def test_a_random_past_in_another_glibc(place: str, tmp_path: Path) -> None:
    suite, machine = place.split("/")
    python = release(suite, machine).python()
    assert read_live(python).method.startswith("_dl_get_tls_static_info")
    for seed in range(3 if machine == "x86_64" else 1):
        assert disagreements(python, random_history(Random(seed), machine), tmp_path / str(seed)) == []


def test_a_process_without_any_room(tmp_path: Path) -> None:
    python = pythons()[0]
    room = read_live(python).room
    assert room is not None
    history = History("x86_64", ((Spec(relocs=(Reloc(TPOFF["x86_64"]),), tls=Tls(room)), False),))
    environment = history.environment(tmp_path / "full")
    read = read_live(python, imports=("history",), environment=environment)
    asked = read_live(python, imports=("history",), environment=environment, method="bisect")
    assert (read.room, read.optional, asked.room, asked.align) == (0, 512, 0, 1)


@pytest.mark.compiler
@pytest.mark.network
def test_the_musl_python_has_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    python = musl_python()
    assert main(["env", "--python", str(python), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["libc"], found["machine"], found["start"], found["room"], found["method"]) == ("musl", "x86_64", None, 0, KEEPS_NO_ROOM)
    assert found["libc_version"].startswith("1.")
    assert main(["env", "--python", str(python)]) == 0
    assert "never loads" in capsys.readouterr().out


def test_without_ctypes_the_import_machinery_asks(tmp_path: Path) -> None:
    python = pythons()[0]
    wrapper = tmp_path / "python"
    start = "import sys, runpy; sys.modules['_ctypes'] = None; sys.argv[:1] = []; runpy.run_path(sys.argv[0])"
    wrapper.write_text(f'#!/bin/sh\nexec {python} -c "{start}" "$@"\n')
    wrapper.chmod(0o755)
    asked, read = read_live(wrapper), read_live(python)
    assert asked.method == "bisecting"
    assert (asked.room, asked.align, asked.libc_version) == (read.room, read.align, read.libc_version)


@pytest.mark.compiler
@pytest.mark.parametrize("suite", [None, *cases(["trixie", "sid"])])
def test_tunables_mean_what_the_loader_says(suite: str | None) -> None:
    """Where a loader can't be asked, under an emulator, the words are read here."""
    place = native() if suite is None else release(suite)
    loader = place.prefix[0] if place.prefix else "/lib64/ld-linux-x86-64.so.2"
    for words in TUNABLES:
        run = subprocess.run([loader, "--list-tunables"], env={"GLIBC_TUNABLES": words}, capture_output=True, text=True, check=True)
        said = {line.split(":")[0].removeprefix("glibc."): int(line.split()[1], 16) for line in run.stdout.splitlines() if "glibc.rtld." in line}
        assert read_tunables(words, place.version) == {name: said[name] for name in DEFAULTS}, words


@pytest.mark.network
def test_tunables_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.nns=2:glibc.rtld.optional_static_tls=0x400")
    live = read_live(pythons()[0])
    assert live.tunables == {"rtld.nns": 2, "rtld.optional_static_tls": 1024}
    assert live.optional == 1024
    assert read_live(release("bullseye").python()).tunables == {"rtld.nns": 2, "rtld.optional_static_tls": 1024}


@pytest.mark.compiler
@pytest.mark.parametrize("machine", cases(["x86_64", *EMULATED]))
def test_tiny_modules_ask_every_loader(machine: str, tmp_path: Path) -> None:
    place = native() if machine == "x86_64" else emulated(machine)
    control, small, large = tmp_path / "control.so", tmp_path / "small.so", tmp_path / "large.so"
    control.write_bytes(tiny(machine, asks=False).data)
    small.write_bytes(tiny_module(machine, 1600, 16))
    large.write_bytes(tiny_module(machine, 3000))
    assert place.open_in_turn(control, large, small, control) == ["", f"{large}: cannot allocate memory in static TLS block", "", ""]
    found = read_shared_object(BytesSource(tiny_module(machine, 1600, 16)))
    assert found.tls_segment is not None
    assert (found.tls_segment.memsz, found.tls_segment.align, found.initial_exec.count) == (1600, 16, 1)


def test_descriptors_are_seen(tmp_path: Path) -> None:
    python = pythons()[0]
    history = History("x86_64", ((Spec(relocs=(Reloc(DESCRIPTOR["x86_64"]),), tls=Tls(100)), False),))
    live = read_live(python, imports=("history",), environment=history.environment(tmp_path / "d"))
    fresh = read_live(python)
    assert fresh.room is not None
    assert (live.optional, live.room) == (412, fresh.room - 100)


def test_a_refused_import_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.so").write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(9000))))
    monkeypatch.chdir(tmp_path)
    assert main(["env", "--python", str(pythons()[0]), "--import", "large"]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "import large: ImportError: " in said
    assert "large.so: cannot allocate memory in static TLS block" in said


def test_the_child_runs_in_old_pythons() -> None:
    folder = Path(__file__).parents[2] / "tls_wheel_guard" / "live" / "scripts"
    ask = "import sys; [compile(open(path).read(), path, 'exec') for path in sys.argv[1:]]"
    for python in pythons():
        run = subprocess.run([python, "-c", ask, *sorted(folder.glob("*.py"))], capture_output=True, text=True, check=False)
        assert run.returncode == 0, (python, run.stderr)
