"""Interpreters to build with: the oldest setuptools that is supported, and the newest."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.cached import locked
from tests.support.interpreters import environment


def shared(factory: pytest.TempPathFactory, pins: str) -> str:
    """An environment that the first worker of pytest-xdist makes and all use."""
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / f"venv-{pins}"
    with locked(folder):
        done = folder / "done"
        if not done.exists():
            environment(folder, pins)
            done.touch()
    return str(folder / "bin" / "python")


@pytest.fixture(scope="session")
def new_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the guard and the newest setuptools."""
    return shared(tmp_path_factory, "new")


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the guard and setuptools 65."""
    if sys.version_info >= (3, 12):
        pytest.skip("setuptools 65 does not start on Python 3.12 and newer")
    return shared(tmp_path_factory, "old")


@pytest.fixture(params=["old", "new"])
def python(request: pytest.FixtureRequest) -> str:
    """Each of the two in turn."""
    found: str = request.getfixturevalue(f"{request.param}_python")
    return found
