"""What compilers are told in a rewritten build: the driver's command lines are the plain build's, the compiler proper's are those and ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.projects import copy_project, run
from tests.support.routes import ROUTES, cases
from tests.support.toolchain import require
from tls_wheel_guard.build_guard.rewrite.settings import OPTIONS, OWN_FOLDER, TRADITIONAL

pytestmark = pytest.mark.compiler

DRIVERS = ("gcc", "cc", "g++", "c++", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++", "clang-19")
PROPER = ("cc1", "cc1plus")
RECORDER = """#!{python}
import json, os, sys
name = os.path.basename(sys.argv[0])
with open({log!r}, "a") as file:
    file.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
{start}
"""
START_DRIVER = "os.execv({real!r}, [{real!r}, *sys.argv[1:]])"
START_PROPER = """import subprocess
plain = {{k: v for k, v in os.environ.items() if k != "COMPILER_PATH"}}
real = subprocess.run([os.environ["COLLECT_GCC"], "-print-prog-name=" + name], env=plain, capture_output=True, text=True).stdout.strip()
os.execve(real, [real, *sys.argv[1:]], plain)"""

SETUPTOOLS = ("setuptools-flag", "setuptools-cpp")


def recorders(folder: Path) -> dict[str, str]:
    """Programs in front of the compilers that write down how they are called; variables that put them there."""
    drivers, proper = folder / "drivers", folder / "proper"
    for place in (drivers, proper):
        place.mkdir(parents=True)
    for name in DRIVERS:
        if real := shutil.which(name):
            _write(drivers / name, folder / "drivers.jsonl", START_DRIVER.format(real=real))
    for name in PROPER:
        _write(proper / name, folder / "proper.jsonl", START_PROPER)
    return {"PATH": f"{drivers}{os.pathsep}{os.environ['PATH']}", "COMPILER_PATH": str(proper)}


def _write(path: Path, log: Path, start: str) -> None:
    path.write_text(RECORDER.format(python=sys.executable, log=str(log), start=start.replace("{{", "{").replace("}}", "}")))
    path.chmod(0o755)


def lines(log: Path) -> Counter[tuple[str, ...]]:
    """The recorded lines; names that differ from run to run are made the same, questions of the guard itself are left out."""
    found: Counter[tuple[str, ...]] = Counter()
    for text in log.read_text().splitlines():
        words = json.loads(text)
        if "test.c" in words or words[-1] == "-print-file-name=specs":
            continue
        settled = tuple(_settled(word) for word in words)
        if not any("tls-wheel-guard-" in word for word in settled):
            found[settled] += 1
    return found


RANDOM = (
    (rf"/{OWN_FOLDER}", ""),
    (r"/\S*/tls-wheel-guard-\w+/setuptools", "build"),  # where DIST_EXTRA_CONFIG puts setuptools' objects
    (r"/cc\w{6}\b", "/NAME"),  # gcc
    (r"cmTC_\w+|TryCompile-\w+", "NAME"),  # CMake
    (r"tmp\w{8}\b|\d+detect_compiler_family|testfile\w*", "NAME"),  # meson, the cc crate
    (r"rustc\w{6}/|\.\w+\.\w+\.rcgu\.o", "NAME"),  # rustc
    (r"\.tls-wheel-guard-\w+", "NAME"),
)
"""What differs between any two builds."""


def _settled(word: str) -> str:
    for pattern, name in RANDOM:
        word = re.sub(pattern, name, word)
    return word


def recorded(project: Path, command: list[str], recorder: Path, environment: dict[str, str]) -> list[Counter[tuple[str, ...]]]:
    """Driver lines and lines of the compiler proper of one build."""
    variables = recorders(recorder)
    code, output = run(command, project, {**variables, **environment})
    assert code == 0, output
    logs = [recorder / "drivers.jsonl", recorder / "proper.jsonl"]
    return [lines(log) if log.exists() else Counter() for log in logs]


def difference(plain: Counter[tuple[str, ...]], rewritten: Counter[tuple[str, ...]]) -> str:
    """The first lines that only one build has, without the words that a line of the other has too."""
    one, other = sorted((plain - rewritten).elements()), sorted((rewritten - plain).elements())
    return (
        f"{len(one)} only plain, {len(other)} only rewritten: {[(sorted(set(a) ^ set(b)), a[:4]) for a, b in zip(one, other, strict=False)][:3]}"
    )


def compare(make: Callable[[], Path], command: list[str], tmp_path: Path, environment: dict[str, str]) -> None:
    """Build twice in the same folder and compare."""
    results = []
    for name in ("plain", "rewritten"):
        shutil.rmtree(tmp_path / "project", ignore_errors=True)
        project = make()
        guard = [sys.executable, "-m", "tls_wheel_guard", "build", "--action", "rewrite", "--"]
        results.append(recorded(project, command if name == "plain" else [*guard, *command], tmp_path / name, environment))
    (plain_drivers, plain_proper), (drivers, proper) = results
    assert plain_drivers
    assert drivers == plain_drivers, difference(plain_drivers, drivers)
    if "CC" in environment:
        return  # clang is its own compiler proper
    assert plain_proper
    # -mtls-dialect=gnu stands behind all others on x86 (settings.TRADITIONAL): a project's own dialect is undone.
    ours = {*OPTIONS, TRADITIONAL}
    without = Counter[tuple[str, ...]]()
    for words, count in proper.items():
        assert all(words.count(option) in (0, 1) for option in OPTIONS)
        if "-E" not in words:
            assert [word for word in words if word.startswith("-mtls-dialect=")][-1:] == [TRADITIONAL]
            assert [word for word in words if word.startswith("-ftls-model=")][-1] == OPTIONS[0]
        without[tuple(word for word in words if word not in ours)] += count
    plain = Counter[tuple[str, ...]]()
    for words, count in plain_proper.items():
        plain[tuple(word for word in words if word not in ours)] += count
    assert without == plain, difference(plain, without)


NAMES = [
    "cmake-target_compile_options", "meson-c_args", "automake", "make-flag-last", "cc-crate-1.0.79", "cc-crate-newest", "cmake-crate",
    "autotools-crate", "c++-attribute",
]  # fmt: skip


@pytest.mark.parametrize("name", cases(NAMES))
def test_lines_of_each_build_system(name: str, tmp_path: Path) -> None:
    compare(lambda: ROUTES[name].write(tmp_path / "project"), ["sh", "-ec", ROUTES[name].command], tmp_path, {})


@pytest.mark.parametrize("flags", [None, "-DGIVEN -O1"])
@pytest.mark.parametrize("sample", SETUPTOOLS)
def test_lines_of_setuptools(sample: str, flags: str | None, python: str, tmp_path: Path) -> None:
    """CFLAGS replaces Python's own flags from setuptools 75.7 on: it is set exactly when the user set it."""

    def make() -> Path:
        return copy_project(sample, tmp_path / "project")

    compare(make, [python, "setup.py", "-q", "bdist_wheel", "-d", "out"], tmp_path, {"CFLAGS": flags} if flags else {})


def test_lines_of_clang(tmp_path: Path) -> None:
    environment = {"CC": "clang-19"}
    require("clang-19")
    compare(lambda: ROUTES["meson-c_args"].write(tmp_path / "project"), ["sh", "-ec", ROUTES["meson-c_args"].command], tmp_path, environment)
