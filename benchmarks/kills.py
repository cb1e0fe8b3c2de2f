"""SIGKILL at random moments of the commands that write wheels, with what is left under the final name."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import CROSS, Bench, wire
from benchmarks.markdown import heading, row
from tests.support.modules import MARKABLE, with_fields
from tests.support.wheel_builder import STORED, full_wheel

__all__ = ["killed"]

SEED, TRIALS = 20, 20


def _killed_after(seconds: float, command: list[str], folder: Path, environment: dict[str, str]) -> bool:
    """Run a command with its children and kill them all after a time; whether it was still running."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def _moments(command: list[str], folder: Path, environment: dict[str, str]) -> list[float]:
    """Random moments within the time that the command takes here when it is warm."""
    runs = []
    for _ in range(2):
        started = time.monotonic()
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=True)
        runs.append(time.monotonic() - started)
    took = min(runs)
    # Most of a command's time is its start; the second half is where it writes.
    return [took * random.Random(SEED + trial).uniform(0.3, 1.05) for trial in range(TRIALS)]


def _left_after_kills(
    command: list[str], folder: Path, final: Path, prepare: Callable[[], bytes | None], environment: dict[str, str] | None = None
) -> Counter[str]:
    """Kill the command at random moments; how often ``final`` was absent, as before, whole, or anything else.

    ``prepare`` sets the scene before each run and gives what ``final`` then holds, None where it is absent.
    ``killed``: how often the command was still running.
    """
    environ = environment or {}
    prepare()
    times = _moments(command, folder, environ)
    whole = final.read_bytes()
    left = Counter({"killed": 0, "absent": 0, "as before": 0, "whole": 0, "half-written": 0})
    for seconds in times:
        before = prepare()
        left["killed"] += _killed_after(seconds, command, folder, environ)
        found = final.read_bytes() if final.exists() else None
        left["whole" if found == whole else "half-written" if found != before else "absent" if found is None else "as before"] += 1
    return left


def killed(bench: Bench) -> int:
    """A table of outcomes a command; how many left a wheel that is not whole."""
    heading("command", "runs", "killed on the way", "no wheel", "the old wheel", "the new wheel", "half a wheel")
    folder = bench.work()
    noise = random.Random(SEED).randbytes(6 << 20)
    wrong = 0
    for spare, flags, in_place in ((1, 0, True), (1, 0, False), (0, 0x18, False)):
        source = full_wheel(folder, {"pkg/m.so": with_fields(MARKABLE, spare=spare, flags=flags, padding=6 << 20), "pkg/n.bin": noise}, STORED)
        final = source if in_place else folder / "out" / source.name
        command = [bench.python, "-m", "tls_wheel_guard", "mark", source.name, *(["--in-place"] if in_place else ["-w", "out"])]
        title = "`mark --in-place`" if in_place else "`mark`" if spare else "`mark`, nothing to mark"
        wrong += _row(title, command, folder, final, _restored(source, source.read_bytes(), final, in_place), {})
    pep517 = ["python", "-m", "build", "-w", "-n", "-o", "out"]
    for name, title, command in (
        ("setuptools-flag", "`setup.py bdist_wheel`, warn", ["python", "setup.py", "-q", "bdist_wheel", "-d", "out"]),
        ("setuptools-flag", "`python -m build`, plugin, warn", pep517),
        ("hatchling", "`python -m build`, backend, warn", pep517),
        ("hatchling", "`build --`, warn", ["tls-wheel-guard", "build", "--action", "warn", "--", *pep517]),
    ):
        project = bench.sample(name)
        if "`build --`" not in title:
            wire(project, 'action = "warn"')
        data = next(path for path in (project / "counter_hatch", project / "src" / "scratch") if path.is_dir()) / "noise.py"
        # So much that writing the wheel takes a good part of the build.
        data.write_bytes(b"#" + random.Random(SEED).randbytes(12 << 20).hex().encode() + b"\n")
        environment = {**bench.environment(name), **CROSS, "PYTHONDONTWRITEBYTECODE": "1"}
        wrong += _build_row(title, command, project, environment)
    return wrong


def _restored(source: Path, before: bytes, final: Path, in_place: bool) -> Callable[[], bytes | None]:
    def prepare() -> bytes | None:
        source.write_bytes(before)
        if not in_place:
            final.unlink(missing_ok=True)
        return before if in_place else None

    return prepare


def _build_row(title: str, command: list[str], project: Path, environment: dict[str, str]) -> int:
    out = project / "out"
    subprocess.run(command, cwd=project, env={**os.environ, **environment}, capture_output=True, check=True)
    (wheel,) = out.glob("*.whl")
    return _row(title, command, project, wheel, lambda: shutil.rmtree(out, ignore_errors=True), environment)


def _row(title: str, command: list[str], folder: Path, final: Path, prepare: Callable[[], bytes | None], environment: dict[str, str]) -> int:
    left = _left_after_kills(command, folder, final, prepare, environment)
    row(title, TRIALS, left["killed"], left["absent"], left["as before"], left["whole"], left["half-written"])
    return left["half-written"]
