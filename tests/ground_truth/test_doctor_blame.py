"""`doctor` names who is to change: by who asked, by who took the room, by the culprit in the file; scopes and swallowed errors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.toolchain import require
from tls_wheel_guard.__main__ import main

pytestmark = pytest.mark.compiler

Captured = pytest.CaptureFixture[str]
ONCE = r"""
#include <mutex>
extern "C" int NAME() { static std::once_flag f; int x = 0; std::call_once(f, [&] { x = 7; }); return x; }
"""
FILL = 'static __thread char v[SIZE] __attribute__((tls_model("initial-exec"))); char *fill(void) { return v; }'
OPENMP = "int f(int n) { int s = 0;\n#pragma omp parallel for reduction(+ : s)\nfor (int i = 0; i < n; i++) s += i; return s; }"
DEFINES = "__thread char shared_variable[600]; char *defines(void) { return shared_variable; }"
ASKS = 'extern __thread char shared_variable[600] __attribute__((tls_model("initial-exec"))); char *asks(void) { return shared_variable; }'


def compiled(folder: Path, name: str, source: str, *flags: str, language: str = "c") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler = require("g++" if language == "c++" else "gcc")
    command = [compiler, "-O2", "-shared", "-fPIC", "-x", language, "-", "-x", "none", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)
    return path


def doctor(capsys: Captured, *words: str | Path, code: int = 1) -> dict[str, Any]:
    assert main(["doctor", "--format", "json", *map(str, words)]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def author(found: dict[str, Any]) -> list[str]:
    return [each["text"] for each in found["advice"] if each["kind"] == "author"]


def test_who_reaches_into_a_block_that_became_dynamic(tmp_path: Path, capsys: Captured) -> None:
    """The first module's use makes libstdc++'s block dynamic; the second's initial-exec access is refused in libstdc++'s name."""
    used = ONCE.replace("NAME", "first") + "static int now = first();"
    first = compiled(tmp_path, "first.so", used, language="c++")
    second = compiled(tmp_path, "second.so", ONCE.replace("NAME", "second"), "-ftls-model=initial-exec", language="c++")
    found = doctor(capsys, second, "--import", first)
    assert found["asked"]["used_before"] is True
    assert found["asked"]["modules"] == [str(second)]
    assert found["model"] == {"known": True, "agrees": True, "difference": None}
    assert [share["module"] for share in found["took"] if share["import"] is not None] == []
    (text,) = author(found)
    assert text.startswith("second.so must not reach libstdc++")
    assert {each["kind"] for each in found["advice"] if each["helps"]} == {"import-order", "preload", "author"}


def test_a_librarys_cure_is_its_own_and_the_largest_share_is_named(tmp_path: Path, capsys: Captured) -> None:
    """libgomp was compiled elsewhere: no rewrite reaches it. fill.so took most of the room."""
    fill, module = compiled(tmp_path, "fill.so", FILL, "-DSIZE=1600"), compiled(tmp_path, "omp.so", OPENMP, "-fopenmp")
    found = doctor(capsys, module, "--import", fill)
    library, most = author(found)
    assert "libgomp, GCC's OpenMP runtime" in library
    assert "rewrite" not in library
    assert most.startswith("fill.so took most of the room, 1,600 of ")


def test_a_swallowed_error_is_diagnosed(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pk"
    compiled(package, "_x.abi3.so", FILL, "-DSIZE=2000")
    (package / "__init__.py").write_text("import warnings\ntry:\n    from . import _x\nexcept ImportError:\n    warnings.warn('missing!')\n")
    monkeypatch.chdir(tmp_path)
    found = doctor(capsys, "pk")
    assert (found["outcome"], found["error"], found["swallowed"]) == ("static-tls", None, True)
    assert found["loader_says"].endswith("_x.abi3.so: cannot allocate memory in static TLS block")
    assert found["asked"]["size"] == 2000
    assert {each["kind"] for each in found["advice"] if each["helps"]} >= {"preload"}


def test_the_words_of_an_old_glibc(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc up to 2.21: it is static TLS, by the number of modules and not by the room."""
    (tmp_path / "oldglibc.py").write_text('raise ImportError("dlopen: cannot load any more object with static TLS")\n')
    monkeypatch.chdir(tmp_path)
    found = doctor(capsys, "oldglibc")
    assert found["outcome"] == "static-tls"
    assert "in a process with threads it refuses initial-exec for one above 14" in author(found)[0]
    assert main(["doctor", "oldglibc"]) == 1
    assert "static TLS is not the cause" not in capsys.readouterr().out


def test_the_flags_of_each_dlopen_are_told_to_the_model(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """ctypes.CDLL(..., RTLD_GLOBAL) and sys.setdlopenflags show a variable to a module that names no library."""
    definer, asks = compiled(tmp_path, "defines.so", DEFINES), compiled(tmp_path, "asks.so", ASKS)
    last = compiled(tmp_path, "last.so", FILL, "-DSIZE=1500")
    lines = [
        "import ctypes",
        f"ctypes.CDLL({str(definer)!r}, ctypes.RTLD_GLOBAL)",
        f"ctypes.CDLL({str(asks)!r})",
        f"ctypes.CDLL({str(last)!r})",
    ]
    (tmp_path / "opens.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    found = doctor(capsys, "opens")
    assert found["model"] == {"known": True, "agrees": True, "difference": None}
    assert [(share["module"], share["taken"] >= 600) for share in found["took"] if share["import"]] == [(str(definer), True)]
    assert found["asked"]["modules"] == [str(last)]
