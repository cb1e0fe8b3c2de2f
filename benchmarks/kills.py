"""SIGKILL at random moments of the commands that write wheels, with what is left under the final name."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import CROSS, Bench, wire
from benchmarks.markdown import heading, row
from tests.support.killing import SEED, TRIALS, left_after_kills
from tests.support.modules import MARKABLE, with_fields
from tests.support.wheel_builder import STORED, full_wheel

__all__ = ["killed"]


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
    left = left_after_kills(command, folder, final, prepare, environment)
    row(title, TRIALS, left["killed"], left["absent"], left["as before"], left["whole"], left["half-written"])
    return left["half-written"]
