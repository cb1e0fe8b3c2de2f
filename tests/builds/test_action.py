"""action.yml as GitHub would run it: its shell lines, with its inputs, one step after the other."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.modules import ie
from tests.support.projects import ROOT
from tests.support.wheel_builder import make_wheel

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


class Runner:
    """A job: its temporary folder, its files for outputs and the summary, and the action's inputs."""

    def __init__(self, folder: Path) -> None:
        self.work, self.temp = folder / "work", folder / "temp"
        self.work.mkdir()
        self.temp.mkdir()
        self.files = {name: self.temp / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in self.files.values():
            file.touch()

    def run(self, step: dict[str, Any], **inputs: str) -> subprocess.CompletedProcess[str]:
        known = {name: given["default"] for name, given in ACTION["inputs"].items()}
        assert set(inputs) <= set(known)
        values = {f"inputs.{name}": value for name, value in (known | inputs).items()} | {"github.action_path": str(ROOT)}
        # No expression stands in a shell line: what a caller types could end it.
        assert "${{" not in step["run"]
        given = {name: re.sub(r"\$\{\{ (.*?) \}\}", lambda m: values[m[1]], text) for name, text in step["env"].items()}
        environment = {**os.environ, **given, "RUNNER_TEMP": str(self.temp), **{name: str(file) for name, file in self.files.items()}}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.network
def test_its_steps_install_check_and_report(tmp_path: Path) -> None:
    install, check, upload = ACTION["runs"]["steps"]
    runner = Runner(tmp_path)
    installed = runner.run(install)
    assert installed.returncode == 0, installed.stderr
    (runner.work / "dist").mkdir()
    (runner.work / "a b").mkdir()
    make_wheel(runner.work / "dist", {"m.so": ie()}, "cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(runner.work / "a b", {"m.so": ie()}, "cp312-cp312-manylinux_2_17_x86_64", name="spaced")
    shown = runner.run(check)
    assert shown.returncode == 1, shown.stderr
    assert "::warning title=initial-exec-tls in pkg-1.0" in shown.stdout
    assert runner.files["GITHUB_OUTPUT"].read_text() == "sarif=tls-wheel-guard.sarif\n"
    assert runner.files["GITHUB_STEP_SUMMARY"].read_text().startswith("## tls-wheel-guard: 1 file")
    results = json.loads((runner.work / "tls-wheel-guard.sarif").read_text())["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == ["initial-exec-tls"]
    assert upload["uses"].startswith("github/codeql-action/upload-sarif@")
    more = {"paths": "a b/*.whl\ndist\n", "targets": "musllinux_1_2_x86_64\nfreebsd_14_2_amd64\n", "fail-on": "never", "sarif": "other.sarif"}
    shown = runner.run(check, **more)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("::error title=initial-exec-tls in ") == 2
    assert "spaced-1.0" in shown.stdout
    assert (runner.work / "other.sarif").exists()


def test_the_hooks_are_what_pre_commit_takes() -> None:
    from tls_wheel_guard.cli import build_parser  # noqa: PLC0415

    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks] == ["tls-wheel-guard", "tls-wheel-guard-fix"]
    for hook in hooks:
        assert {"id", "name", "entry", "language"} <= set(hook)
        build_parser().parse_args(hook["entry"].split()[1:])
    files = re.compile(hooks[1]["files"])
    assert all(files.search(path) for path in ("pyproject.toml", "rust/Cargo.toml", "src/CMakeLists.txt", "meson.build", "setup.py"))
    assert not files.search("my-pyproject.toml.orig")
