"""PEP 517 backends that write down how they were called, and hand out a ready wheel."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.modules import CLEAN
from tests.support.projects import add_table, run
from tests.support.wheel_builder import make_wheel

__all__ = ["OPTIONAL", "RECORDED", "call", "calls", "in_tree"]


RECORDED = """
import json, pathlib, shutil

def _note(hook, *arguments):
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps([hook, *arguments]) + "\\n")

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _note("build_wheel", config_settings, metadata_directory)
    (wheel,) = pathlib.Path("made").glob("*.whl")
    shutil.copy(wheel, wheel_directory)
    return wheel.name

def build_sdist(sdist_directory, config_settings=None):
    _note("build_sdist", config_settings)
    return "pkg-1.0.tar.gz"
"""

OPTIONAL = """
def get_requires_for_build_wheel(config_settings=None):
    _note("get_requires_for_build_wheel", config_settings)
    return ["six >=1.16"]

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _note("prepare_metadata_for_build_wheel", metadata_directory, config_settings)
    return "pkg-1.0.dist-info"
"""


def in_tree(folder: Path, code: str, *table: str, module: bytes = CLEAN, name: str = "recorded") -> Path:
    """A project with its own backend in the folder ``backends``, which hands out a ready wheel."""
    for path in ("backends", "made"):
        (folder / path).mkdir(parents=True)
    (folder / "backends" / "recorded.py").write_text(code)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "tls_wheel_guard.backend"\n[project]\nname = "pkg"\nversion = "1.0"\n'
    )
    add_table(folder, *(table or (f'build-backend = "{name}"', 'backend-path = ["backends"]')))
    make_wheel(folder / "made", {"pkg/_m.so": module})
    return folder


def call(python: str, project: Path, statement: str) -> tuple[int, str]:
    """Run a statement with the backend imported as ``b``, as a front end's child process does."""
    return run([python, "-c", f"import tls_wheel_guard.backend as b\n{statement}"], project)


def calls(project: Path) -> list[list[object]]:
    return [json.loads(line) for line in (project / "calls.jsonl").read_text().splitlines()]
