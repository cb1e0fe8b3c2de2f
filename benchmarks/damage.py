#!/usr/bin/env python3
"""Damaged input, as much as asked for: what the guard does with it.

usage: python -m benchmarks.damage [KIND] [--count N] [--seed N] [--jobs N] [--wheels FOLDER]

``check`` is wheels and ELF files by the command line (with ``--wheels`` the small wheels of a folder are seeds too), ``elf`` and ``wheel``
the same without it, ``repair`` shared objects that are repaired, ``descriptors`` code with descriptor calls, ``reports`` names in reports,
``index`` pages, lock files and servers, ``fix`` build files. benchmarks/hostile/ has a module for each, with its seeds and with what must
hold; beside that, ten seconds of CPU time and 200 MB.
A case is named by the seed and its number; ``--only K`` runs one again.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks.hostile import DAMAGED, Kind, Wrong, kind_of

SECONDS, MEGABYTES = 10, 200
MOST_FAILURES = 20


@dataclass
class Found:
    """What a process found: outcomes, failures by case, CPU seconds of the slowest case and in all, megabytes."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    cpu: float = 0.0
    peak: float = 0.0

    def add(self, other: Found) -> None:
        """Take over what another process found."""
        self.counts.update(other.counts)
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest)
        self.cpu += other.cpu
        self.peak = max(self.peak, other.peak)


def hang(_signal: int, _frame: FrameType | None) -> None:
    """Called after SECONDS of CPU time of one case."""
    raise TimeoutError(f"more than {SECONDS} s of CPU time")


def judged(kind: Kind, data: bytes) -> tuple[str, str | None]:
    """What came of a case, and what is wrong, None where nothing is."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return kind.judge(data), None
    except Wrong as wrong:
        return "wrong", str(wrong)
    except BaseException as error:
        return "wrong", "".join(traceback.format_exception(error)[-3:]).strip()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def work(name: str, seed: int, numbers: range, seeds: Path, results: multiprocessing.Queue[Found], minutes: float) -> None:
    """Run the cases of one process, as many as there is time for, and put what was found into ``results``."""
    signal.signal(signal.SIGPROF, hang)
    kind, found, ends = kind_of(name), Found(), time.monotonic() + 60 * minutes
    made = pickle.loads(seeds.read_bytes())  # noqa: S301  (our own)
    for number in numbers:
        if time.monotonic() > ends:
            break
        data = kind.case(random.Random(f"{seed} {number}"), number, made)
        started = time.process_time()
        outcome, wrong = judged(kind, data)
        found.slowest = max(found.slowest, (time.process_time() - started, number))
        found.counts[outcome] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if wrong is None and peak > MEGABYTES:
            wrong = f"{peak:.0f} MB of memory"
        if wrong is not None:
            found.failures.append((number, wrong))
            if len(found.failures) > MOST_FAILURES:
                break
    found.cpu, found.peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put(found)


def main() -> int:
    """Run all cases, print the table; 1 where any failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", nargs="?", choices=DAMAGED, default="check")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600, help="end after that time, with what was done by then")
    parser.add_argument("--only", type=int, help="run this case again, and write it to OUT")
    parser.add_argument("--out", type=Path, metavar="OUT", default=Path("case"))
    parser.add_argument("--wheels", type=Path, help="a folder with real wheels")
    options = parser.parse_args()
    if options.wheels:
        os.environ["HOSTILE_WHEELS"] = str(options.wheels)
    seeds = kind_of(options.kind).seeds()
    if options.only is not None:
        return again(kind_of(options.kind), options.seed, options.only, seeds, options.out)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Found] = context.Queue()
    started, found = time.monotonic(), Found()
    with tempfile.NamedTemporaryFile(prefix="hostile-seeds-") as file:
        Path(file.name).write_bytes(pickle.dumps(seeds))
        for job in range(options.jobs):
            numbers = range(options.first + job, options.first + options.count, options.jobs)
            context.Process(target=work, args=(options.kind, options.seed, numbers, Path(file.name), results, options.minutes)).start()
        for _ in range(options.jobs):
            found.add(results.get())
    return report(options.kind, found, options.seed, len(seeds), time.monotonic() - started)


def again(kind: Kind, seed: int, number: int, seeds: list[bytes], out: Path) -> int:
    """One case once more, and its bytes in a file."""
    data = kind.case(random.Random(f"{seed} {number}"), number, seeds)
    out.write_bytes(data)
    print(kind.judge(data))
    return 0


def report(name: str, found: Found, seed: int, seeds: int, seconds: float) -> int:
    """Print what all processes found."""
    count = sum(found.counts.values())
    print(f"{name}: {count} damaged inputs of seed {seed} from {seeds} seeds, {seconds:.0f} s, {found.cpu:.0f} s of CPU time")
    print("outcomes: " + ", ".join(f"{outcome}: {times:,}" for outcome, times in sorted(found.counts.items())))
    print(f"slowest: {found.slowest[0]:.2f} s of CPU time (case {found.slowest[1]}); memory of the process that did most: {found.peak:.0f} MB")
    print(f"failures: {len(found.failures)}")
    for number, wrong in sorted(found.failures)[:MOST_FAILURES]:
        print(f"  case {number}: {wrong}")
    return int(bool(found.failures))


if __name__ == "__main__":
    sys.exit(main())
