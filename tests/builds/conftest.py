"""Interpreters to build with: the oldest setuptools that is supported, and the newest."""

from __future__ import annotations

import sys

import pytest

from tests.support.interpreters import environment


@pytest.fixture(scope="session")
def new_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the guard and the newest setuptools."""
    return environment(tmp_path_factory.mktemp("new") / "venv", "new")


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the guard and setuptools 65."""
    if sys.version_info >= (3, 12):
        pytest.skip("setuptools 65 does not start on Python 3.12 and newer")
    return environment(tmp_path_factory.mktemp("old") / "venv", "old")


@pytest.fixture(params=["old", "new"])
def python(request: pytest.FixtureRequest) -> str:
    """Each of the two in turn."""
    found: str = request.getfixturevalue(f"{request.param}_python")
    return found
