"""SIGKILL at random moments: what is left under a wheel's final name."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

__all__ = ["SEED", "TRIALS", "left_after_kills"]

SEED, TRIALS = 20, 20


def killed_after(seconds: float, command: list[str], folder: Path, environment: dict[str, str]) -> bool:
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


def moments(command: list[str], folder: Path, environment: dict[str, str]) -> list[float]:
    """Random moments within the time that the command takes here when it is warm."""
    runs = []
    for _ in range(2):
        started = time.monotonic()
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=True)
        runs.append(time.monotonic() - started)
    took = min(runs)
    # Most of a command's time is its start; the second half is where it writes.
    return [took * random.Random(SEED + trial).uniform(0.3, 1.05) for trial in range(TRIALS)]


def left_after_kills(
    command: list[str], folder: Path, final: Path, prepare: Callable[[], bytes | None], environment: dict[str, str] | None = None
) -> Counter[str]:
    """Kill the command at random moments; how often ``final`` was absent, as before, whole, or anything else.

    ``prepare`` sets the scene before each run and gives what ``final`` then holds, None where it is absent.
    ``killed``: how often the command was still running.
    """
    environ = environment or {}
    prepare()
    times = moments(command, folder, environ)
    whole = final.read_bytes()
    left = Counter({"killed": 0, "absent": 0, "as before": 0, "whole": 0, "half-written": 0})
    for seconds in times:
        before = prepare()
        left["killed"] += killed_after(seconds, command, folder, environ)
        found = final.read_bytes() if final.exists() else None
        left["whole" if found == whole else "half-written" if found != before else "absent" if found is None else "as before"] += 1
    return left
