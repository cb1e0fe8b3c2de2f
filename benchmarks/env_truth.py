"""`env` against the loaders: every Python of this machine, then processes with a random past. `make truth-env` runs it.

The numbers that are read must equal what the loader answers to modules of every size (tests/live_histories.py). Seeded: the
same seed gives the same processes. Exits 1 when anything disagrees.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.support.live_histories import auditor, disagreements, pythons, random_history
from tests.support.musl_python import musl_python
from tests.support.runtimes import release
from tls_wheel_guard.live.model import KEEPS_NO_ROOM
from tls_wheel_guard.live.reading import read_live

RELEASES = (("bullseye", "x86_64", 25), ("trixie", "x86_64", 25), ("sid", "x86_64", 25), ("bullseye", "i386", 8), ("bookworm", "i386", 8),
            ("bullseye", "aarch64", 8), ("bookworm", "aarch64", 8), ("trixie", "aarch64", 5), ("sid", "aarch64", 5),
            ("bookworm", "arm", 5), ("bookworm", "s390x", 5), ("bookworm", "ppc64le", 5), ("sid", "riscv64", 5))  # fmt: skip
"""Debian release, machine, random processes."""


def fresh(python: Path) -> str:
    """One line about a fresh process: what is read and what is found by bisecting."""
    read, asked = read_live(python, timeout=600), read_live(python, timeout=600, method="bisect")
    if read.method == KEEPS_NO_ROOM:
        return f"{read.implementation}, {read.libc} {read.libc_version}: {read.method}"
    same = read.room == asked.room and read.align == asked.align
    verdict = "equal" if same else f"WRONG: bisecting found {asked.room} and {asked.align}"
    who = f"{read.implementation}, {read.libc} {read.libc_version} {read.machine}"
    return f"{who}: used {read.used}, room {read.room}, align {read.align}: {verdict}"


def family(label: str, python: Callable[[int], Path], machine: str, count: int, seed: int, audit: Path | None) -> bool:
    """Random processes of one libc; prints how many agree."""
    started = time.monotonic()

    def one(number: int) -> list[str]:
        history = random_history(Random(f"{seed} {label} {number}"), machine, audit)
        with tempfile.TemporaryDirectory(prefix="env-truth-") as folder:
            return [f"{label} {number}: {line}" for line in disagreements(python(number), history, Path(folder))]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, range(count)))
    wrong = [line for result in results for line in result]
    print(f"{label}: {sum(not result for result in results)} of {count} agree ({time.monotonic() - started:.0f} s)", flush=True)
    for line in wrong:
        print("  WRONG", line)
    return not wrong


def main() -> int:
    """0 when all agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--native", type=int, default=60, help="random processes of this machine's own Pythons")
    options = parser.parse_args()
    own = pythons()
    released: list[tuple[str, Path, str, int]] = []
    for suite, machine, count in RELEASES:
        try:
            place = release(suite, machine)
            released.append((f"{place} ({suite})", place.python(), machine, count))
        except pytest.skip.Exception as gone:
            print(f"left out: {gone}")
    lines = [fresh(python) for python in [*own, *(python for _, python, _, _ in released), musl_python()]]
    print("\n".join(lines), flush=True)
    good = not any("WRONG" in line for line in lines)
    with tempfile.TemporaryDirectory(prefix="env-truth-") as folder:
        good &= family("this machine", lambda number: own[number % len(own)], "x86_64", options.native, options.seed, auditor(Path(folder)))
    for label, python, machine, count in released:
        good &= family(label, lambda _, python=python: python, machine, count, options.seed, None)  # type: ignore[misc]
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
