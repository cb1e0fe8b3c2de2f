"""SIGKILL at moments of chance during a repair in place: the old wheel or the new one, never a half."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.support.wheels import fetch

MOMENTS = 20


def report(folder: Path, seed: int) -> list[str]:
    """The section of the page; what was wrong."""
    wheel = fetch("cachebox==5.2.0", "manylinux2014_x86_64", "3.11")
    place = folder / "kills"
    place.mkdir()
    path = place / wheel.name
    command = [sys.executable, "-m", "tls_wheel_guard", "repair", "--no-config", str(path), "--in-place"]
    shutil.copy(wheel, path)
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    length, before, after = time.monotonic() - started, wheel.read_bytes(), path.read_bytes()
    draw, old, new, wrong = random.Random(seed), 0, 0, []
    for number in range(MOMENTS):
        path.write_bytes(before)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0, 1.1) * length)
        process.kill()
        process.wait()
        found = path.read_bytes()
        old, new = old + (found == before), new + (found == after)
        if found not in (before, after):
            wrong.append(f"kill {number}: half a wheel of {len(found)} bytes")
    print("\n## Killed\n")
    print(
        f"`repair --in-place` of {wheel.name}, killed at {MOMENTS} moments of chance: {old} times the wheel was as before, {new} times repaired,"
        f" {len(wrong)} times anything else.",
        flush=True,
    )
    return wrong
