"""Edits of ``fix`` in real builds: what was initial-exec is not any more, and the build systems' own programs read the files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.projects import build, copy_project
from tests.support.toolchain import require
from tls_wheel_guard.__main__ import main

pytestmark = pytest.mark.compiler

BUILD = "{python} -m pip wheel -q --no-deps --no-build-isolation --disable-pip-version-check -w {out} ."


def test_prove_builds_before_and_after(new_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    test = "import scratch; scratch.selftest()"
    code = main(["fix", str(project), "--prove", "--python", new_python, "--build", BUILD, "--test", test, "--format", "json"])
    proof = json.loads(capsys.readouterr().out)["proof"]
    assert code == 0
    assert proof["holds"] is True
    assert (proof["before"]["initial_exec"], proof["after"]["initial_exec"]) == (2, 0)
    assert proof["before"]["findings"] > 0
    assert proof["after"]["findings"] == 0
    assert proof["after"]["imported"] == ["scratch._scratch"]
    assert b"initial-exec" in (project / "setup.py").read_bytes()


def test_a_proof_that_fails_says_where(new_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    assert main(["fix", str(project), "--prove", "--python", new_python, "--build", BUILD, "--test", "raise SystemExit('not so')"]) == 1
    assert "# proof: does not hold" in capsys.readouterr().out
    (project / "src" / "scratch" / "_scratch.c").write_text("no C\n")
    assert main(["fix", str(project), "--prove", "--python", new_python, "--build", BUILD]) == 1
    assert "no wheel: exit code 1" in capsys.readouterr().out


def test_init_then_the_guard_stops_the_build_and_fix_lets_it_through(new_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    assert main(["fix", str(project), "--init", "--write"]) == 0
    stopped = build(project, "pip", python=new_python)
    assert stopped.code != 0
    assert "initial-exec-tls" in stopped.output
    capsys.readouterr()
    assert main(["fix", str(project), "--write"]) == 0
    # setuptools does not compile again for a flag.
    assert "build/ holds objects" in capsys.readouterr().err
    shutil.rmtree(project / "build")
    assert build(project, "pip", python=new_python).wheels


@pytest.mark.compiler
@pytest.mark.parametrize(("name", "path"), [("meson-python", "meson.build"), ("scikit-build-core", "CMakeLists.txt")])
def test_the_build_systems_own_programs_read_what_was_written(name: str, path: str, tmp_path: Path) -> None:
    project = copy_project(name, tmp_path)
    assert main(["fix", str(project), "--write"]) == 0
    text = (project / path).read_text()
    if path == "meson.build":
        require("meson")
        done = subprocess.run(["meson", "introspect", "--ast", path], cwd=project, capture_output=True, text=True, check=True)
        assert "-ftls-model=global-dynamic" in done.stdout
        assert "initial-exec" not in done.stdout
    else:
        require("cmake")
        # project() is not for scripts: parsed whole, and not run.
        (project / "parse.cmake").write_text(f"if(FALSE)\n{text}\nendif()\n")
        subprocess.run(["cmake", "-P", "parse.cmake"], cwd=project, capture_output=True, check=True)


def test_a_build_that_had_nothing_to_cure_proves_nothing(new_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = copy_project("setuptools-clean", tmp_path)
    # A list of flags that no extension gets.
    (project / "setup.py").write_text("x = ['-ftls-model=initial-exec']\n" + (project / "setup.py").read_text())
    assert main(["fix", str(project), "--prove", "--python", new_python, "--build", BUILD]) == 1
    assert "no initial-exec without the edits either" in capsys.readouterr().out
