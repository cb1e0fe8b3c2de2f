"""SIGKILL at random moments: a wheel under its final name is whole, or as it was before, or absent."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.projects import add_table, copy_project
from tests.unit.test_mark import IE, assert_record_is_right, full_wheel, with_fields

SEED, TRIALS = 20, 20


def killed_after(seconds: float, command: list[str], folder: Path, environment: dict[str, str] | None = None) -> bool:
    """Run a command with its children and kill them all after a time; whether it was still running."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def moments(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> list[float]:
    """Random moments within the time that the command takes here."""
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, check=True)
    took = time.monotonic() - started
    # Most of a command's time is its start; the second half is where it writes.
    return [took * random.Random(SEED + trial).uniform(0.3, 1.05) for trial in range(TRIALS)]


@pytest.mark.parametrize("in_place", [True, False])
def test_mark(in_place: bool, tmp_path: Path) -> None:
    big = with_fields(IE, spare=1, padding=6 << 20)
    members = {"pkg/m.so": big, "pkg/random.bin": random.Random(SEED).randbytes(6 << 20)}
    source = full_wheel(tmp_path, members)
    before = source.read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "tls_wheel_guard", "mark", source.name, *(["--in-place"] if in_place else ["-w", "out"])]
    times = moments(command, tmp_path)
    final = source if in_place else out / source.name
    after = final.read_bytes()
    killed = 0
    for seconds in times:
        source.write_bytes(before)
        if not in_place:
            final.unlink(missing_ok=True)
        killed += killed_after(seconds, command, tmp_path)
        if final.exists():
            assert final.read_bytes() in (before, after)
            assert_record_is_right(final)
        assert source.read_bytes() in ((before, after) if in_place else (before,))
    assert killed >= TRIALS // 4


def test_a_build(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "warn"')
    # So much that writing the wheel takes a good part of the build.
    (project / "src" / "scratch" / "noise.py").write_bytes(b"#" + random.Random(SEED).randbytes(12 << 20).hex().encode() + b"\n")
    command = [new_python, "setup.py", "-q", "bdist_wheel", "-d", "out"]
    environment = {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONDONTWRITEBYTECODE": "1"}
    times = moments(command, project, environment)
    (wheel,) = (project / "out").glob("*.whl")
    whole = wheel.read_bytes()
    killed = 0
    for seconds in times:
        shutil.rmtree(project / "out")
        killed += killed_after(seconds, command, project, environment)
        for path in (project / "out").glob("*.whl") if (project / "out").is_dir() else ():
            assert path.read_bytes() == whole
    assert killed >= TRIALS // 4
