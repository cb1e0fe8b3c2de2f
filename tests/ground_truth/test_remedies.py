"""A remedy is text that can be pasted: cargo's are typed here in a project, and do what they say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.projects import copy_project
from tests.support.toolchain import require
from tls_wheel_guard.culprits.data_files import known_culprits

COMMANDS = [remedy.text for culprit in known_culprits() for remedy in culprit.remedies if remedy.text.startswith("cargo ")]


def test_no_remedy_has_a_gap_to_fill_in() -> None:
    """`version = "..."` is an error of cargo's parser."""
    assert [r.text for c in known_culprits() for r in c.remedies if '"..."' in r.text or "[..." in r.text] == []
    assert len(COMMANDS) == 3


@pytest.mark.network
@pytest.mark.compiler
@pytest.mark.parametrize("command", COMMANDS)
def test_a_cargo_remedy_can_be_pasted(command: str, tmp_path: Path) -> None:
    require("cargo")
    project = copy_project("maturin-mimalloc", tmp_path)
    before = re.search(r'^mimalloc = \{ version = "([^"]+)"', (project / "Cargo.toml").read_text(), re.MULTILINE)
    done = subprocess.run(command.split(), cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (project / "Cargo.toml").read_text()
    assert before
    assert f'mimalloc = {{ version = "{before[1]}"' in text
    features = command.rpartition(" ")[2].split(",")
    assert all(f'"{feature}"' in text for feature in features), text
