"""What people reported, cut down to a few lines each: the guard's answer is what the real loader does, and its advice works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.elf_builder import Spec, Tls, build
from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.live.reading import read_live

pytestmark = pytest.mark.compiler

Captured = pytest.CaptureFixture[str]
FILL = 'static __thread char v[SIZE] __attribute__((tls_model("initial-exec"), aligned(ALIGN))); char *fill(void) { return v; }'
TWO = r"""
__thread long v1[3] __asm__("_ZN8tcmalloc11ThreadCache17threadlocal_data_E") __attribute__((tls_model("initial-exec")));
__thread void *_mi_heap_default __attribute__((tls_model("initial-exec")));
void *mi_malloc(void) { v1[0]++; return _mi_heap_default; }
"""
GO = 'package main\nimport "C"\n//export Add\nfunc Add(a, b C.int) C.int { return a + b }\nfunc main() {}\n'


def compiled(folder: Path, name: str, source: str, *flags: str, compiler: str = "gcc") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [require(compiler), "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)
    return path


def checked(capsys: Captured, *words: str | Path) -> list[dict[str, Any]]:
    """The findings."""
    main(["check", "--format", "json", "--no-config", *map(str, words)])
    (wheel,) = json.loads(capsys.readouterr().out)["wheels"]
    findings: list[dict[str, Any]] = wheel["findings"]
    return findings


def today(finding: dict[str, Any]) -> list[str]:
    return [hint.removeprefix("today: ") for hint in finding["hints"] if hint.startswith("today: ")]


def opens(path: Path, environment: dict[str, str] | None = None) -> str:
    """What this interpreter's loader says of one file: "" when it loads."""
    code = f"import ctypes\ntry: ctypes.CDLL({str(path)!r})\nexcept OSError as error: print(error)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **(environment or {})})
    return run.stdout.strip().rsplit("/", 1)[-1]


def test_descriptors_fill_an_old_block(tmp_path: Path, capsys: Captured) -> None:
    """Up to glibc 2.31 descriptors take the room as long as there is any: 1,500 of 1,664 bytes crowd, and a later module finds none."""
    path = compiled(tmp_path, "desc.so", "static __thread char v[1500]; char *f(void) { return v; }", compiler="aarch64-linux-gnu-gcc")
    other = compiled(tmp_path, "ie.so", FILL, "-DSIZE=200", "-DALIGN=1", compiler="aarch64-linux-gnu-gcc")
    (old,) = checked(capsys, path, "--target", "manylinux_2_17_aarch64")
    assert (old["rule"], old["severity"]) == ("static-tls-crowding", "warning")
    assert "1,500 of 1,664 bytes" in old["message"]
    assert checked(capsys, path, "--target", "manylinux_2_34_aarch64") == []
    wheel = make_wheel(tmp_path, {"p/desc.so": path.read_bytes(), "p/ie.so": other.read_bytes()}, "cp312-cp312-manylinux_2_17_aarch64")
    assert "static-tls-overflow" in {finding["rule"] for finding in checked(capsys, wheel)}
    main(["simulate", "--format", "json", "--loader", "glibc-2.28", str(path), str(other)])
    assert [step["loads"] for step in json.loads(capsys.readouterr().out)["steps"]] == [True, False]


def test_order_does_not_help_what_fails_alone(tmp_path: Path, capsys: Captured) -> None:
    """2,632 bytes fit no fresh process: the advice that is given makes it load."""
    path = compiled(tmp_path, "big.so", FILL, "-DSIZE=2632", "-DALIGN=8")
    assert opens(path) == "big.so: cannot allocate memory in static TLS block"
    (finding,) = checked(capsys, path)
    (step,) = today(finding)
    assert "no order of imports helps" in step
    assert opens(path, {"LD_PRELOAD": str(path)}) == ""
    tunable = re.search(r"GLIBC_TUNABLES=(\S+)", step)
    assert tunable
    if "rtld.optional_static_tls" in read_live(sys.executable).tunables:
        assert opens(path, {"GLIBC_TUNABLES": tunable[1]}) == ""


def test_an_alignment_is_named_as_the_reason(tmp_path: Path, capsys: Captured) -> None:
    path = compiled(tmp_path, "align.so", FILL, "-DSIZE=88", "-DALIGN=128")
    assert opens(path) == "align.so: cannot allocate memory in static TLS block"
    (finding,) = checked(capsys, path)
    assert "its alignment is above the" in finding["message"]
    assert today(finding) == ["no order of imports helps, only LD_PRELOAD for python itself"]
    assert opens(path, {"LD_PRELOAD": str(path)}) == ""
    main(["check", "--no-config", str(path)])
    assert "at an alignment above the" in " ".join(capsys.readouterr().out.split())


def test_an_extension_is_preloaded_for_python_itself(tmp_path: Path, capsys: Captured) -> None:
    """Every other program stops at Python's own symbols."""
    path = compiled(
        tmp_path, "ext.so", FILL + "\nextern int PyModuleDef_Type; int *g(void) { return &PyModuleDef_Type; }", "-DSIZE=8", "-DALIGN=8"
    )
    run = subprocess.run(["true"], env={"LD_PRELOAD": str(path)}, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "PyModuleDef_Type" in run.stderr
    (finding,) = checked(capsys, path)
    assert today(finding) == ["import it before other native libraries, or LD_PRELOAD for python itself"]


def test_remedies_stand_under_their_culprit(tmp_path: Path, capsys: Captured) -> None:
    path = compiled(tmp_path, "both.so", TWO, "-w")
    (finding,) = checked(capsys, path)
    cures = [hint for hint in finding["hints"] if not hint.startswith(("today: ", "to accept it: "))]
    assert all(cure.startswith(("for gperftools", "for mimalloc")) for cure in cures[:-1])
    assert cures[-1] == "all 2 need a cure"
    main(["check", "--no-config", str(path)])
    assert "each of these 2 needs its own cure" in " ".join(capsys.readouterr().out.split())


def test_go_is_not_preloaded_on_musl(tmp_path: Path, capsys: Captured) -> None:
    """It crashes: the runtime reads argv, which musl does not pass to a library."""
    require("musl-gcc")
    (tmp_path / "main.go").write_text(GO)
    (tmp_path / "nap.c").write_text("#include <unistd.h>\nint main(void) { usleep(200000); return 0; }")
    environment = {**os.environ, "CC": "musl-gcc", "CGO_ENABLED": "1", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    build_go = [require("go"), "build", "-buildmode=c-shared", "-o", "cc.so", "main.go"]
    subprocess.run(build_go, cwd=tmp_path, env=environment, check=True, capture_output=True)
    subprocess.run(["musl-gcc", "-o", "nap", "nap.c"], cwd=tmp_path, check=True, capture_output=True)
    assert subprocess.run(["./nap"], cwd=tmp_path, check=False).returncode == 0
    preloaded = subprocess.run(["./nap"], cwd=tmp_path, env={"LD_PRELOAD": str(tmp_path / "cc.so")}, check=False, capture_output=True)
    assert preloaded.returncode != 0
    found = checked(capsys, tmp_path / "cc.so", "--target", "musllinux_1_2_x86_64")
    (step,) = (
        step for finding in found if finding["rule"] == "initial-exec-tls" for step in today(finding) if "musl" in step and "preloaded" in step
    )
    assert "another build" in step or "nothing helps" in step
    assert not any("only LD_PRELOAD" in step for finding in found for step in today(finding))


def test_an_interposer_that_the_wheel_needs_gets_a_cure(tmp_path: Path, capsys: Captured) -> None:
    """It is dlopened as a dependency: to leave its model as it is would be wrong. Where nothing needs it, that is right."""
    source = (
        '__thread char t[8] __attribute__((tls_model("initial-exec"))); void *malloc(unsigned long n) { return t + n; } void free(void *p) {}'
    )
    library = compiled(tmp_path, "libx.so.2", source, "-w", "-Wl,-soname,libx.so.2", "-nostdlib")
    user = compiled(
        tmp_path, "user.so", "void *malloc(unsigned long); void *u(void) { return malloc(3); }", "-w", f"-L{tmp_path}", "-l:libx.so.2"
    )
    alone = {"p/libx.so.2": library.read_bytes()}
    (finding,) = checked(capsys, make_wheel(tmp_path, alone, name="alone"))
    assert "leave its model as it is" in finding["hint"]
    needed = {**alone, "p/user.so": user.read_bytes()}
    (finding,) = (f for f in checked(capsys, make_wheel(tmp_path, needed, name="needed")) if f["rule"] == "initial-exec-tls")
    assert "leave its model as it is" not in finding["hint"]
    assert "global-dynamic" in finding["hint"]


def test_a_needed_library_is_noted(tmp_path: Path, capsys: Captured) -> None:
    source = "int f(int n) { int s = 0;\n#pragma omp parallel for reduction(+ : s)\nfor (int i = 0; i < n; i++) s += i; return s; }"
    path = compiled(tmp_path, "omp.so", source, "-fopenmp")
    (finding,) = checked(capsys, path, "--target", "manylinux_2_28_x86_64")
    assert (finding["rule"], finding["severity"]) == ("needed-initial-exec", "note")
    assert re.search(r"libgomp\.so\.1 .*asks for \d+ bytes of static TLS", finding["message"])


def test_other_machines_are_noted(tmp_path: Path, capsys: Captured) -> None:
    module = build(Spec(tls=Tls(8, 8)))
    path = tmp_path / "m.so"
    path.write_bytes(module)
    (asked,) = checked(capsys, path, "--target", "freebsd_12_4_i386")
    assert (asked["rule"], asked["severity"], asked["module"]) == ("foreign-machine", "note", None)
    assert "judged nothing: no module of this machine" in asked["message"]
    wheel = make_wheel(tmp_path, {"p/m.so": module}, "cp312-cp312-manylinux_2_28_aarch64")
    (foreign,) = checked(capsys, wheel)
    assert (foreign["rule"], foreign["module"]) == ("foreign-machine", "p/m.so")
    assert checked(capsys, make_wheel(tmp_path, {"p/m.so": module}, "cp312-cp312-manylinux_2_28_x86_64")) == []
    assert checked(capsys, make_wheel(tmp_path, {"p/m.so": module}, "py3-none-any")) == []


def test_a_sanitizer_that_was_left_in(tmp_path: Path, capsys: Captured) -> None:
    """Its runtime is named; preloaded for python itself, as its manual says, the module loads; without the flag nothing is found."""
    source = "int f(int n) { int a[4] = {n}; return a[n & 3]; }"
    module = compiled(tmp_path, "m.so", source, "-fsanitize=undefined")
    runtime = Path(subprocess.run(["gcc", "-print-file-name=libubsan.so"], capture_output=True, text=True, check=True).stdout.strip()).resolve()
    (needed,) = checked(capsys, module)
    assert (needed["rule"], "libubsan.so" in needed["message"]) == ("needed-initial-exec", True)
    (finding,) = (each for each in checked(capsys, runtime) if each["rule"] == "initial-exec-tls")
    assert [(each["id"], each["confidence"]) for each in finding["culprits"]] == [("sanitizers", "certain")]
    fill = compiled(tmp_path, "fill.so", FILL, "-DSIZE=1712", "-DALIGN=1")
    code = f"import ctypes\nctypes.CDLL({str(fill)!r})\ntry: ctypes.CDLL({str(module)!r})\nexcept OSError as error: print(error)"
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "libubsan.so.1: cannot allocate memory in static TLS block" in refused.stdout
    preloaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "LD_PRELOAD": str(runtime)}
    )
    assert preloaded.stdout == ""
    assert checked(capsys, compiled(tmp_path, "release.so", source)) == []


def test_explain_finds_pages_by_a_word(capsys: Captured) -> None:
    for word, pages in (("openmp", "libgomp, libomp"), ("OpenGL", "mesa"), ("tsan", "sanitizers")):
        assert main(["explain", word]) == 2
        assert f"the pages about it: {pages}" in capsys.readouterr().err
