"""What lies outside the files of a simulation, against the real loader: libraries that are needed, scopes, one SONAME in two places."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main

pytestmark = pytest.mark.compiler

ONCE = r"""
#include <mutex>
extern "C" int f() { static std::once_flag o; int x = 0; std::call_once(o, [&] { x = 7; }); return x; }
"""
OPENMP = "int f(int n) { int s = 0;\n#pragma omp parallel for reduction(+ : s)\nfor (int i = 0; i < n; i++) s += i; return s; }"
FILL = '__thread char v[SIZE] __attribute__((tls_model("initial-exec"))); char *fill(void) { return v; }'
DEFINES = "__thread char shared_variable[600]; char *defines(void) { return shared_variable; }"
ASKS = 'extern __thread char shared_variable[600] __attribute__((tls_model("initial-exec"))); char *asks(void) { return shared_variable; }'
UNIQUE = r"""
inline thread_local char only_one[400] __attribute__((tls_model("initial-exec"))) = {1};
extern "C" char *f() { return only_one; }
"""


def compiled(folder: Path, name: str, source: str, *flags: str, language: str = "c") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler = require("g++" if language == "c++" else "gcc")
    command = [compiler, "-O2", "-shared", "-fPIC", "-x", language, "-", "-x", "none", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)
    return path


def simulated(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    main(["simulate", "--format", "json", *map(str, words)])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def real(*steps: str | Path) -> list[str]:
    """What this interpreter's loader says: "" for each that loads. A step of ``@global PATH`` opens with RTLD_GLOBAL."""
    code = (
        "import ctypes, sys\n"
        "for step in sys.argv[1:]:\n"
        "    how, path = (ctypes.RTLD_GLOBAL, step[8:]) if step.startswith('@global ') else (ctypes.RTLD_LOCAL, step)\n"
        "    try: ctypes.CDLL(path, how); print()\n"
        "    except OSError as error: print(str(error).rsplit('/', 1)[-1])\n"
    )
    run = subprocess.run([sys.executable, "-c", code, *map(str, steps)], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def errors(document: dict[str, Any]) -> list[str]:
    return [step["error"] or "" for step in document["steps"]]


def test_an_ordinary_cxx_module_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its TLS is libstdc++'s, which was not given: assumed; with --python looked up, and nothing is left to assume."""
    module = compiled(tmp_path, "once.so", ONCE, language="c++")
    assert real(module) == [""]
    alone = simulated(capsys, module)
    assert errors(alone) == [""]
    assert {"kind": "variable", "name": "_ZSt15__once_callable", "module": str(module)} in alone["assumed"]
    assert {"kind": "library", "name": "libstdc++.so.6", "module": str(module)} in alone["assumed"]
    known = simulated(capsys, "--python", sys.executable, module)
    assert (errors(known), known["assumed"]) == ([""], [])


def test_a_needed_library_takes_its_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """libgomp.so.1 of the system, by initial-exec: the room is gone before it comes."""
    fill, module = compiled(tmp_path, "fill.so", FILL, "-DSIZE=1600"), compiled(tmp_path, "omp.so", OPENMP, "-fopenmp")
    said = real(fill, module)
    assert said == ["", "libgomp.so.1: cannot allocate memory in static TLS block"]
    known = simulated(capsys, "--python", sys.executable, fill, module)
    assert (errors(known), known["assumed"]) == (said, [])
    unknown = simulated(capsys, fill, module)
    assert [each["name"] for each in unknown["assumed"]] == ["libgomp.so.1"]


def test_a_folder_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there is used; what is broken, a FIFO or of another machine is assumed; a folder that is missing is a mistake."""
    library = compiled(tmp_path / "far", "libfar.so", DEFINES, "-Wl,-soname,libfar.so")
    module = compiled(tmp_path, "asks.so", ASKS, f"-L{library.parent}", "-l:libfar.so")
    found = simulated(capsys, "--loader", "glibc-2.36", "--library-path", library.parent, module)
    assert (found["steps"][0]["taken"] >= 600, found["assumed"]) == (True, [])
    library.write_bytes(b"\x7fELF")
    broken = simulated(capsys, "--loader", "glibc-2.36", "--library-path", library.parent, module)
    assert [each["name"] for each in broken["assumed"]] == ["libfar.so", "shared_variable"]
    assert main(["simulate", "--library-path", str(tmp_path / "gone"), str(module)]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_an_origin_and_a_circle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """$ORIGIN leads to the folder beside it; two libraries that need each other end."""
    folder, own = tmp_path / "libs", "-Wl,-rpath,$ORIGIN"
    other = compiled(folder, "libother.so", "int other;", "-Wl,-soname,libother.so")
    first = compiled(folder, "libfirst.so", FILL, "-DSIZE=100", "-Wl,-soname,libfirst.so", "-Wl,--no-as-needed", str(other), own)
    compiled(folder, "libother.so", "int other;", "-Wl,-soname,libother.so", "-Wl,--no-as-needed", f"-L{folder}", "-l:libfirst.so", own)
    module = compiled(tmp_path / "pkg", "m.so", "int m;", "-Wl,--no-as-needed", str(first), "-Wl,-rpath,$ORIGIN/../libs")
    found = simulated(capsys, "--python", sys.executable, module)
    assert (errors(found), found["assumed"]) == (real(module), [])
    assert found["steps"][0]["taken"] >= 100


@pytest.mark.parametrize("how", ["@global ", ""])
def test_the_global_scope(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A module without DT_NEEDED finds a variable only where RTLD_GLOBAL has shown it."""
    definer, module = compiled(tmp_path, "defines.so", DEFINES), compiled(tmp_path, "asks.so", ASKS)
    steps: list[str | Path] = [f"{how}{definer}", module]
    said = real(*steps)
    assert (said[1] == "") == bool(how)
    found = simulated(capsys, "--python", sys.executable, *(["@global"] if how else []), definer, module)
    if how:
        assert errors(found) == said
        assert [step["taken"] >= 600 for step in found["steps"]] == [False, True]
        assert found["steps"][0]["event"] == "global"
    else:
        assert [each["name"] for each in found["assumed"]] == ["shared_variable"]


def test_a_unique_variable_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """g++ marks an inline thread_local as STB_GNU_UNIQUE: five copies of 400 bytes take the room of one."""
    modules = [compiled(tmp_path, f"m{number}.so", UNIQUE, language="c++") for number in range(5)]
    assert real(*modules) == [""] * 5
    found = simulated(capsys, "--python", sys.executable, *modules)
    assert errors(found) == [""] * 5
    assert [step["taken"] > 0 for step in found["steps"]] == [True, False, False, False, False]


def test_one_soname_in_two_wheels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """auditwheel grafts the same library into many wheels: the second DT_NEEDED finds the first copy."""
    name = "libx-d22c30c5.so.1"
    library = compiled(tmp_path, name, FILL, "-DSIZE=128", f"-Wl,-soname,{name}")
    module = compiled(tmp_path, "ext.so", "char *fill(void); char *f(void) { return fill(); }", f"-L{tmp_path}", f"-l:{name}")
    wheels = []
    for package in ("a", "b"):
        members = {f"{package}/ext.so": module.read_bytes(), f"{package}.libs/{name}": library.read_bytes()}
        wheels.append(make_wheel(tmp_path, members, "cp312-cp312-manylinux_2_28_x86_64", name=package))
    steps = simulated(capsys, "--loader", "glibc-2.36", *wheels)["steps"]
    assert sum(step["taken"] for step in steps) == 128
    assert all(step["loads"] for step in steps)
