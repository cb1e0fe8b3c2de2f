"""Ways in that others call: completion scripts run by the shells themselves, the man page, `check` without a path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.modules import ie
from tests.support.projects import ROOT
from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli import COMMANDS

Captured = pytest.CaptureFixture[str]

BASH = """
source "$1"
COMP_WORDS=(tls-wheel-guard {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
_shtab_tls_wheel_guard; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = 'source $argv[1]; complete -C "tls-wheel-guard {words}"'


def script(shell: str, folder: Path, capsys: Captured) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def completed(shell: str, words: str, path: Path) -> list[str]:
    if shell == "bash":
        command = ["bash", "-c", BASH.format(words=words if words.strip() == words else f"{words.strip()} ''"), "bash", str(path)]
    else:
        command = [require("fish"), "--no-config", "-c", FISH.format(words=words), str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=path.parent, timeout=60).stdout
    return [line.split("\t")[0] for line in shown.splitlines()]


@pytest.mark.parametrize("shell", ["bash", pytest.param("fish", marks=pytest.mark.compiler)])
def test_shells_complete_commands_options_values_and_files(shell: str, tmp_path: Path, capsys: Captured) -> None:
    path = script(shell, tmp_path, capsys)
    (tmp_path / "some.whl").touch()
    assert completed(shell, "doc", path) == ["doctor"]
    assert set(COMMANDS) <= set(completed(shell, " ", path))
    assert completed(shell, "check --fail-o", path) == ["--fail-on"]
    assert {"error", "warning", "note", "never"} == set(completed(shell, "check --fail-on ", path))
    assert "some.whl" in completed(shell, "check so", path)


@pytest.mark.compiler
def test_zsh_takes_the_script(tmp_path: Path, capsys: Captured) -> None:
    path = script("zsh", tmp_path, capsys)
    assert path.read_text().startswith("#compdef tls-wheel-guard")
    run = f"autoload -U compinit; compinit -u -D; source {path}; whence -w _shtab_tls_wheel_guard"
    shown = subprocess.run([require("zsh"), "-f", "-c", run], capture_output=True, text=True, check=True)
    assert shown.stdout == "_shtab_tls_wheel_guard: function\n"


def test_completion_without_its_extra_says_which(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == "tls-wheel-guard: completion needs shtab; hint: pip install 'tls-wheel-guard[completion]'\n"


@pytest.mark.compiler
def test_the_man_page_is_made_from_the_parser(tmp_path: Path) -> None:
    page = tmp_path / "tls-wheel-guard.1"
    subprocess.run([sys.executable, str(ROOT / "tools" / "make_man.py"), str(page)], check=True)
    shown = subprocess.run([require("groff"), "-man", "-Tascii", "-P-cbou", "-ww", str(page)], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    text = " ".join(shown.stdout.split())
    assert text.startswith("TLS-WHEEL-GUARD(1)")
    assert all(f"tls-wheel-guard {name}" in text for name in COMMANDS)
    assert "--no-own-tags leave the wheel's own tags out" in text
    assert "EXIT STATUS 0 no finding at or above --fail-on" in text


def test_check_without_a_path_looks_where_builds_put_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--no-config"]) == 2
    assert "no PATH was given; hint: name wheels" in capsys.readouterr().err
    for folder in ("dist", "wheelhouse"):
        (tmp_path / folder).mkdir()
    assert main(["check", "--no-config"]) == 2
    capsys.readouterr()
    make_wheel(tmp_path / "wheelhouse", {"m.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64")
    assert main(["check", "--no-config"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "tls-wheel-guard: no PATH was given: wheelhouse/ is checked\n"
    assert "--> wheelhouse/pkg-1.0-" in shown.out
    make_wheel(tmp_path / "dist", {"m.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name="other")
    assert main(["check", "--no-config"]) == 1
    assert capsys.readouterr().err == "tls-wheel-guard: no PATH was given: dist/ and wheelhouse/ are checked\n"
    assert main(["check", "--no-config", "-q"]) == 1
    assert capsys.readouterr().err == ""
