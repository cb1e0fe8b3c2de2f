"""SIGKILL at random moments: a wheel under its final name is whole, or as it was before, or absent."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.killing import SEED, TRIALS, left_after_kills
from tests.support.modules import MARKABLE, with_fields
from tests.support.projects import add_table, copy_project
from tests.support.wheel_builder import STORED, assert_record_is_right, full_wheel

MARK = [sys.executable, "-m", "tls_wheel_guard", "mark"]


def large_wheel(folder: Path, **fields: object) -> Path:
    """So large that writing it takes a good part of the command's time."""
    noise = random.Random(SEED).randbytes(6 << 20)
    return full_wheel(folder, {"pkg/m.so": with_fields(MARKABLE, padding=6 << 20, **fields), "pkg/random.bin": noise}, STORED)


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

    left = left_after_kills([*MARK, source.name, *(["--in-place"] if in_place else ["-w", "out"])], tmp_path, final, prepare)
    assert left["half-written"] == 0, left
    assert left["killed"] >= TRIALS // 4
    if final.exists():
        assert_record_is_right(final)
    if not in_place:
        assert source.read_bytes() == before


def test_the_copy_of_a_wheel_that_needs_no_mark(tmp_path: Path) -> None:
    source = large_wheel(tmp_path, flags=0x18)
    final = tmp_path / "out" / source.name
    left = left_after_kills([*MARK, source.name, "-w", "out"], tmp_path, final, lambda: final.unlink(missing_ok=True))
    assert left["half-written"] == 0, left
    assert left["killed"] >= TRIALS // 4


def test_a_build(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "warn"')
    # So much that writing the wheel takes a good part of the build.
    (project / "src" / "scratch" / "noise.py").write_bytes(b"#" + random.Random(SEED).randbytes(12 << 20).hex().encode() + b"\n")
    command = [new_python, "setup.py", "-q", "bdist_wheel", "-d", "out"]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    final = project / "out" / f"scratch_flag-1.0-{tag}-{tag}-linux_x86_64.whl"
    environment = {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONDONTWRITEBYTECODE": "1"}
    left = left_after_kills(command, project, final, lambda: shutil.rmtree(project / "out", ignore_errors=True), environment)
    assert left["half-written"] == 0, left
    assert left["killed"] >= TRIALS // 4
    assert {path.name for path in (project / "out").glob("*.whl")} <= {final.name} if (project / "out").exists() else True
