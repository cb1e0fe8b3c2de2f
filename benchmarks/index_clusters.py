"""Kills of the driver, of dask workers and of the scheduler under ``index``: the next run with the same store ends with what ``check`` says."""

from __future__ import annotations

import contextlib
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.index_runs import run, told
from benchmarks.markdown import heading, row
from tests.support.clusters import cluster
from tests.support.index_server import index_of

_DRIVER = """
import sys
import tls_wheel_guard.commands.index as module
import tls_wheel_guard.commands.index_keeper as keeper
from tls_wheel_guard.__main__ import main
module.BATCH = keeper.WRITE_AT = 4
sys.exit(main(sys.argv[1:]))
"""
"""``index`` with small batches, so that a kill finds some of them done."""

ENDS = 120
KILLED: dict[str, int | None] = {"the driver": None, "a worker of two": 1, "the scheduler": 0}
"""What is killed, and its place among the processes of a cluster."""


def kills(wheels: list[Path], expected: dict[str, Any], folder: Path, count: int, seed: int) -> None:
    """``count`` kills of the driver, a worker and the scheduler each, at random moments of a run. ``folder`` is empty, and nginx can read it."""
    heading("killed", "runs", "killed on the way", "ends of that run", "stored before the next run", "wrong verdicts", "fetched again", "hangs")
    with index_of(folder, wheels) as url:
        for who, place in KILLED.items():
            takes = _whole_run(url, folder / f"whole-{place}.sqlite", place)
            rng = random.Random(f"{seed} {who}")
            seen: Counter[str] = Counter()
            ends: Counter[str] = Counter()
            stored = []
            for number in range(count):
                store = folder / f"{place}-{number}.sqlite"
                ends[_killed_run(url, store, place, rng.uniform(0, takes), seen)] += 1
                stored.append(_next_run(url, store, folder / "access.log", expected, seen))
            spread = f"{min(stored)} to {max(stored)} of {len(wheels)} wheels"
            said = "; ".join(f"{number} {end}" for end, number in ends.most_common())
            row(who, count, seen["killed"], said, spread, seen["wrong"], seen["again"], seen["hangs"])


@contextlib.contextmanager
def _run_of(url: str, store: Path, place: int | None) -> Iterator[tuple[subprocess.Popen[str], list[subprocess.Popen[Any]]]]:
    """A driver under way, and the processes of its cluster; without one where the driver is to be killed."""
    with contextlib.ExitStack() as ending:
        address, processes = ending.enter_context(cluster(2)) if place is not None else (None, [])
        driver = ending.enter_context(_driver(url, store, *(("--scheduler", address) if address else ("--jobs", "1"))))
        yield driver, processes


def _whole_run(url: str, store: Path, place: int | None) -> float:
    """Seconds that a run takes from its beginning in the store, undisturbed."""
    with _run_of(url, store, place) as (driver, _):
        _begun(driver, store)
        started = time.monotonic()
        driver.communicate(timeout=ENDS)
        return time.monotonic() - started


def _begun(driver: subprocess.Popen[str], store: Path) -> None:
    until = time.monotonic() + ENDS
    while driver.poll() is None and not store.is_file() and time.monotonic() < until:
        time.sleep(0.01)


def _killed_run(url: str, store: Path, place: int | None, moment: float, seen: Counter[str]) -> str:
    """A run of which one process is killed ``moment`` seconds after its beginning. Returns how it ended."""
    with _run_of(url, store, place) as (driver, processes):
        _begun(driver, store)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(moment)
        seen["killed"] += driver.poll() is None
        (driver if place is None else processes[place]).kill()
        try:
            said = driver.communicate(timeout=ENDS)[1]
        except subprocess.TimeoutExpired:
            driver.kill()
            seen["hangs"] += 1
            return "without an end"
    if place is None:
        return "killed" if driver.returncode < 0 else f"before, with exit code {driver.returncode}"
    return "with exit code 0" if driver.returncode == 0 else f"with exit code {driver.returncode}{_why(said)}"


def _why(said: str) -> str:
    known = [words for words in ("the scheduler is gone", "no scheduler answers there") if words in said]
    last = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", (said.splitlines() or ["no word"])[-1])
    return f" ({known[0] if known and len(said.splitlines()) == 1 else last})"


def _next_run(url: str, store: Path, log: Path, expected: dict[str, Any], seen: Counter[str]) -> int:
    """Another run with the same store: its verdicts, and whether it fetches what was stored. Returns how many wheels were stored."""
    before, start = _known(store), log.stat().st_size
    done = run(url, store=str(store))
    found = {entry["wheel"]: entry for entry in done.store.entries(done.run)}
    done.store.close()
    seen["wrong"] += sum(name not in found or "error" in found[name] or told(found[name]) != says for name, says in expected.items())
    time.sleep(0.1)  # nginx writes its log after its answer
    fetched = log.read_bytes()[start:].decode()
    seen["again"] += sum(f"/files/{name} " in fetched for name in before)
    return len(before)


def _driver(url: str, store: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _DRIVER, "index", url, "--latest", "0", "--no-config", "--fail-on", "never", "--store", str(store), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _known(store: Path) -> set[str]:
    """Names of the wheels whose facts are in a store."""
    if not store.is_file():
        return set()
    with contextlib.closing(sqlite3.connect(store, timeout=10)) as base:
        try:
            return {name for (name,) in base.execute(_NAMES)}
        except sqlite3.OperationalError:  # no tables yet
            return set()


_NAMES = "SELECT filename FROM wheels"
