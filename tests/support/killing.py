"""SIGKILL at chosen points of a command that writes: before each call that opens, writes, renames or removes a file of some folder."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

__all__ = ["left_after_kills"]

SITE = '''\
"""Counts the calls that change files below $KILL_BELOW, and ends the process before number $KILL_AT."""
import atexit, os, signal, sys

below, at, log = os.environ.pop("KILL_BELOW"), int(os.environ.pop("KILL_AT")), os.environ.pop("KILL_LOG")
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime"}
CALLS = {"write", "flush", "close", "truncate"}
count = 0

def is_below(path):
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.abspath(os.fsdecode(path)).startswith(below + os.sep)

def point():
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

def end():
    global below
    below = "/nothing"  # the log is no file of the command's
    with open(log, "w") as file:
        file.write(str(count))

def audited(event, args):
    if event in EVENTS and (event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR)) and any(map(is_below, args[:2])):
        point()

def called(frame, kind, function):
    if kind == "c_call" and function.__name__ in CALLS:
        file = function.__self__
        if getattr(file, "closed", True) is False:
            name = getattr(file, "name", None)
            if is_below(os.readlink("/proc/self/fd/%d" % name) if isinstance(name, int) else name):
                point()

atexit.register(end)
sys.addaudithook(audited)
sys.setprofile(called)
'''
"""What Python imports when it starts, from PYTHONPATH. Children of the command do not count: the variables are gone for them."""


def _run(command: list[str], folder: Path, below: Path, at: int, environment: dict[str, str]) -> tuple[int, int]:
    """Run a command that is to be killed at a point, 0 for never; its exit code, and how many points there were when never."""
    site, log = folder / "killing", folder / "killing" / "points"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    more = {"PYTHONPATH": str(site), "KILL_BELOW": str(below), "KILL_AT": str(at), "KILL_LOG": str(log), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment, **more}, capture_output=True, text=True, check=False)
    if not at:
        assert done.returncode == 0, done.stdout + done.stderr
        return 0, int(log.read_text())
    return done.returncode, 0


def left_after_kills(
    command: list[str],
    folder: Path,
    final: Path,
    prepare: Callable[[], bytes | None],
    *,
    below: Path | None = None,
    environment: dict[str, str] | None = None,
    most: int = 1000,
) -> Counter[str]:
    """Kill a Python command before each call that changes a file below a folder; how often ``final`` was absent, as before, whole, or else.

    ``prepare`` sets the scene before each run and gives what ``final`` then holds, None where it is absent. ``below``: the folder,
    ``final``'s by default. ``most``: how many points are tried, spread over all; the last ones, where the file gets its name, always are.
    Every run is killed: a run that ends otherwise is an assertion.
    """
    where, more = below or final.parent, environment or {}
    prepare()
    _, points = _run(command, folder, where, 0, more)
    whole = final.read_bytes()
    left = Counter({"points": points, "absent": 0, "as before": 0, "whole": 0, "half-written": 0})
    last = range(max(1, points - 5), points + 1)
    for at in sorted({*last, *range(1, points + 1, -(-points // most))}):
        before = prepare()
        code, _ = _run(command, folder, where, at, more)
        assert code == -signal.SIGKILL, f"point {at} of {points}: the command ended by itself, with {code}"
        found = final.read_bytes() if final.exists() else None
        left["whole" if found == whole else "half-written" if found != before else "absent" if found is None else "as before"] += 1
    return left
