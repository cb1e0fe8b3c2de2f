"""Who is stopped by a finding: who releases. Who installs an sdist is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.projects import Built, add_table, copy_project, run, use_backend
from tls_wheel_guard.build_guard.audience import is_told
from tls_wheel_guard.config.model import Config

pytestmark = pytest.mark.compiler


def sdist(python: str, sample: str, folder: Path, *lines: str) -> Path:
    """The sdist of a sample project that the guard judges."""
    project = copy_project(sample, folder)
    (add_table if sample.startswith("setuptools") else use_backend)(project, *lines)
    code, output = run([python, "-m", "build", "--sdist", "--no-isolation", "-o", "dist", "."], project)
    assert code == 0, output
    (made,) = (project / "dist").glob("*.tar.gz")
    return made


def install(python: str, made: Path, folder: Path, environment: dict[str, str] | None = None) -> Built:
    """What pip does with an sdist before it installs the wheel."""
    out = folder / "out"
    command = [python, "-m", "pip", "wheel", "-v", "--no-deps", "--disable-pip-version-check", "--no-build-isolation", "-w", str(out), str(made)]
    code, output = run(command, folder, environment)
    return Built(code, output, tuple(out.glob("*.whl")))


@pytest.mark.parametrize("sample", ["setuptools-flag", "hatchling"])
def test_who_installs_an_sdist_is_told_and_not_stopped(sample: str, new_python: str, tmp_path: Path) -> None:
    made = sdist(new_python, sample, tmp_path)
    # A CI that installs is no release.
    built = install(new_python, made, tmp_path, {"CI": "true"})
    assert (built.code, len(built.wheels)) == (0, 1), built.output
    assert "[initial-exec-tls]" in built.output
    assert 'a build from an sdist goes on, unless stop = "everyone"' in built.output
    again = tmp_path / "again"
    again.mkdir()
    stopped = install(new_python, made, again, {"TLS_WHEEL_GUARD_STOP": "everyone"})
    assert (stopped.code, stopped.wheels) == (1, ()), stopped.output
    assert "is not released; hint:" in stopped.output


def test_the_table_may_stop_everyone(new_python: str, tmp_path: Path) -> None:
    built = install(new_python, sdist(new_python, "setuptools-flag", tmp_path, 'stop = "everyone"'), tmp_path)
    assert (built.code, built.wheels) == (1, ()), built.output


def test_a_release_by_way_of_the_sdist_is_stopped(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project)
    code, output = run([new_python, "-m", "build", "--no-isolation", "-o", "out", "."], project)
    assert code == 1, output
    assert "is not released; hint:" in output
    assert [path.suffix for path in (project / "out").iterdir()] == [".gz"]


def test_what_counts_as_an_install(tmp_path: Path) -> None:
    assert not is_told(Config(), tmp_path)
    (tmp_path / "PKG-INFO").touch()
    assert is_told(Config(), tmp_path)
    assert not is_told(Config(stop="everyone"), tmp_path)
    (tmp_path / ".git").mkdir()
    assert not is_told(Config(), tmp_path)
    release = tmp_path / "build-via-sdist-x1" / "pkg-1.0"
    release.mkdir(parents=True)
    (release / "PKG-INFO").touch()
    assert not is_told(Config(), release)
