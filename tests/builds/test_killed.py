"""SIGKILL before each call that changes a file: a wheel under its final name is whole, or as it was before, or absent."""

from __future__ import annotations

import random
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.killing import left_after_kills
from tests.support.modules import MARKABLE, with_fields
from tests.support.projects import add_table, copy_project
from tests.support.wheel_builder import STORED, assert_record_is_right, full_wheel

MARK = [sys.executable, "-m", "tls_wheel_guard", "mark"]


def large_wheel(folder: Path, **fields: object) -> Path:
    """So large that it is written in several pieces."""
    noise = random.Random(20).randbytes(2 << 20)
    return full_wheel(folder, {"pkg/m.so": with_fields(MARKABLE, padding=2 << 20, **fields), "pkg/random.bin": noise}, STORED)


@pytest.mark.parametrize("in_place", [True, False])
def test_mark(in_place: bool, tmp_path: Path) -> None:
    source = large_wheel(tmp_path, spare=1)
    before = source.read_bytes()
    final = source if in_place else tmp_path / "out" / source.name

    def prepare() -> bytes | None:
        source.write_bytes(before)
        if in_place:
            return before
        final.unlink(missing_ok=True)
        return None

    command = [*MARK, source.name, *(["--in-place"] if in_place else ["-w", "out"])]
    left = left_after_kills(command, tmp_path, final, prepare, most=14)
    assert left["half-written"] == 0, left
    assert left["as before" if in_place else "absent"] > 5, left
    assert left["points"] > 20, left
    assert_record_is_right(source)
    if not in_place:
        assert source.read_bytes() == before


def test_the_copy_of_a_wheel_that_needs_no_mark(tmp_path: Path) -> None:
    source = large_wheel(tmp_path, flags=0x18)
    final = tmp_path / "out" / source.name
    left = left_after_kills([*MARK, source.name, "-w", "out"], tmp_path, final, lambda: final.unlink(missing_ok=True), most=10)
    assert left["half-written"] == 0, left
    assert left["absent"] > 2, left


@pytest.mark.compiler
def test_a_build(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "warn"')
    (project / "src" / "scratch" / "noise.py").write_bytes(b"#" + random.Random(20).randbytes(1 << 20).hex().encode() + b"\n")
    command = [new_python, "setup.py", "-q", "bdist_wheel", "-d", "out"]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    final = project / "out" / f"scratch_flag-1.0-{tag}-{tag}-linux_x86_64.whl"
    environment = {"SOURCE_DATE_EPOCH": "1700000000"}
    clear = lambda: shutil.rmtree(project / "out", ignore_errors=True)  # noqa: E731
    left = left_after_kills(command, project, final, clear, environment=environment, most=12)
    assert left["half-written"] == 0, left
    assert left["absent"] > 6, left
    # What a killed build leaves does not stop the next one.
    shutil.rmtree(project / "out")
    left = left_after_kills(command, project, final, lambda: final.unlink(missing_ok=True), environment=environment, most=1)
    assert {path.name for path in (project / "out").glob("*.whl")} <= {final.name}
    if final.exists():
        assert zipfile.ZipFile(final).testzip() is None
