"""A line end in a name makes no line of its own, in the text of any command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hostile.processes import PROCESSES
from benchmarks.hostile.reports import FORGED, WORDS, _with_names
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.fix.edit import TextEdit, unified_diff

NAME = f"a\n{FORGED} \x1b[31m\r{FORGED}"


@pytest.mark.parametrize("name", [name for name in PROCESSES if name.endswith("text")])
def test_names_make_no_lines(name: str) -> None:
    names = dict.fromkeys(WORDS, NAME)
    text = PROCESSES[name](lambda value: _with_names(value, names))
    assert FORGED in text
    assert not [line for line in text.splitlines() if line.startswith(FORGED)]


@pytest.mark.parametrize("command", [["simulate", "--loader", "glibc-2.36"], ["mark"], ["repair"], ["show"], ["check", "--no-config"]])
def test_a_member_with_a_line_end_in_its_name(command: list[str], tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {f"p/{NAME}.so": ie(flags=0, soname=f"s\n{FORGED}", needed=(f"n\n{FORGED}",))})
    where = ["-w", str(tmp_path / "out")] if command[0] in ("mark", "repair") else []
    run = subprocess.run([sys.executable, "-m", "tls_wheel_guard", *command, *where, str(wheel)], capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    assert FORGED in said
    assert not [line for line in said.splitlines() if line.startswith(FORGED)]


@pytest.mark.parametrize("folder", [f"a\n{FORGED}", 'b"c', "d\\e", "f\tg", "h\u2028i"])
def test_a_folder_with_such_a_name_stays_one_line_of_a_patch(folder: str, tmp_path: Path) -> None:
    """git finds the file by the quoted path, and the edit is what was meant."""
    path, text = f"{folder}/Cargo.toml", "[dependencies]\nx = 1\n"
    edit = TextEdit(path, text.index("1"), text.index("1") + 1, "2", f"why\n{FORGED}", "mimalloc", doubt=f"doubt\n--- a/{FORGED}")
    diff = unified_diff(path, text, [edit])
    assert not [line for line in diff.splitlines() if line.startswith((FORGED, f"--- a/{FORGED}"))]
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply"], cwd=tmp_path, input=diff, text=True, check=True)
    assert file.read_text() == text.replace("1", "2")


def test_a_long_exception_is_one_line_of_a_diagnosis() -> None:
    def named(value: Any) -> Any:
        return _with_names(value, {**dict.fromkeys(WORDS, "x"), "qxerror": "first\n\n  second\tthird"})

    text = PROCESSES["doctor text"](named)
    assert "first second third" in text
