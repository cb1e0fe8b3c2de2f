#!/usr/bin/env python3
"""Damaged wheels and ELF files, as many as asked for, each checked beside a good wheel: what the guard does with them.

usage: python -m benchmarks.damage [--count N] [--seed N] [--jobs N] [--wheels FOLDER]

A third are bare ELF files, a third wheels that are whole but hold a damaged ELF file, a third wheels damaged as files. With ``--wheels``
the small wheels (up to 400 KB) of a folder are seeds too. Each case is the command line ``check --format json BAD GOOD``: it must end
with an exit code of the contract, without a traceback, within ten seconds and 200 MB, and what it says of the good wheel must be what it
says of it alone. A case is named by the seed and its number; ``--only K`` runs one again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from benchmarks.mutations import broken, elf_seeds, wheel_of, wheel_seeds
from tls_wheel_guard.__main__ import main as guard

SECONDS, MEGABYTES = 10, 200
CODES = {0, 1, 3}
"""Of ``check`` with paths that exist and no options: nothing found, findings, unreadable."""
SMALL = 400_000


Found = tuple[collections.Counter[int], list[tuple[int, str]], tuple[float, int], float]
"""What one process found: exit codes, failures by case, CPU seconds of the slowest case, megabytes."""


def hang(_signal: int, _frame: FrameType | None) -> None:
    """Called after SECONDS of one case."""
    raise TimeoutError(f"more than {SECONDS} s")


def case(seed: int, number: int, elves: list[bytes], wheels: list[bytes]) -> tuple[str, bytes]:
    """A file name and its bytes; the same for the same seed and number."""
    chance = random.Random(f"{seed} {number}")
    kind = number % 3
    if kind == 0:
        return "bad.so", broken(chance.choice(elves), chance)
    if kind == 1:
        names = chance.sample(("pkg/a.so", "pkg/b.so", "lib", "c.txt"), 2)
        members = {names[0]: broken(chance.choice(elves), chance), names[1]: chance.choice(elves)}
        return "bad-1.0-cp312-cp312-musllinux_1_2_x86_64.whl", wheel_of(members, chance.choice((0, 8)))
    return "bad-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", broken(chance.choice(wheels), chance)


def run(path: Path, good: Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of the command in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = guard(["check", "--no-config", "--format", "json", "-j", "1", str(path), str(good)])
    return code, out.getvalue(), errors.getvalue()


def judge(path: Path, good: Path, expected: object) -> tuple[int, str | None]:
    """The exit code, and what is wrong, None where nothing is."""
    signal.alarm(SECONDS)
    try:
        code, out, errors = run(path, good)
    except BaseException as error:
        return -1, f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    if code not in CODES:
        return code, f"exit code {code}: {errors.strip()[-300:]}"
    if "Traceback" in errors + out:
        return code, "a traceback"
    report = json.loads(out)["wheels"]
    if len(report) != 2 or report[1] != expected:
        return code, "the good wheel's report changed"
    if (code == 3) != ("error" in report[0]) or (code == 3) != bool(errors):
        return code, f"exit code {code}, and the report says otherwise"
    return code, None


def work(seed: int, numbers: range, folder: Path, real: list[Path], results: multiprocessing.Queue[Found]) -> None:
    """Run the cases of one process, and put the counts, the failures, the slowest case and the memory into ``results``."""
    signal.signal(signal.SIGALRM, hang)
    elves = elf_seeds()
    wheels = wheel_seeds(elves) + [path.read_bytes() for path in real]
    good = folder / "good-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    good.write_bytes(wheel_of({"pkg/good.so": elves[0]}))
    expected = json.loads(run(good, good)[1])["wheels"][0]
    counts: collections.Counter[int] = collections.Counter()
    failures, slowest = [], (0.0, -1)
    for number in numbers:
        name, data = case(seed, number, elves, wheels)
        path = folder / name
        path.write_bytes(data)
        started = time.process_time()
        code, wrong = judge(path, good, expected)
        slowest = max(slowest, (time.process_time() - started, number))
        counts[code] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if wrong is None and peak > MEGABYTES:
            wrong = f"{peak:.0f} MB of memory"
        if wrong is not None:
            failures.append((number, wrong))
            if len(failures) > 20:
                break
    results.put((counts, failures, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> int:
    """Run all cases, print the table; 1 where any failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="run this case again, and show what the guard says")
    parser.add_argument("--wheels", type=Path, help="a folder with real wheels")
    options = parser.parse_args()
    real = sorted(path for path in options.wheels.glob("*.whl") if path.stat().st_size < SMALL) if options.wheels else []
    if options.only is not None:
        return again(options.seed, options.only, real)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Found] = context.Queue()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for job in range(options.jobs):
            own = Path(folder) / str(job)
            own.mkdir()
            numbers = range(job, options.count, options.jobs)
            processes.append(context.Process(target=work, args=(options.seed, numbers, own, real, results)))
            processes[-1].start()
        return report([results.get() for _ in processes], options.seed, len(real), time.monotonic() - started)


def again(seed: int, number: int, real: list[Path]) -> int:
    """One case once more, with all that the guard says."""
    elves = elf_seeds()
    name, data = case(seed, number, elves, wheel_seeds(elves) + [path.read_bytes() for path in real])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return guard(["check", "--no-config", str(path)])


def report(found: list[Found], seed: int, real: int, seconds: float) -> int:
    """Print what all processes found."""
    counts: collections.Counter[int] = collections.Counter()
    failures: list[tuple[int, str]] = []
    slowest, peak = (0.0, -1), 0.0
    for own_counts, own_failures, own_slowest, own_peak in found:
        counts.update(own_counts)
        failures += own_failures
        slowest, peak = max(slowest, own_slowest), max(peak, own_peak)
    print(f"{sum(counts.values())} damaged files of seed {seed}, with {real} real wheels among the seeds, {seconds:.0f} s")
    print("exit codes: " + ", ".join(f"{code}: {count}" for code, count in sorted(counts.items())))
    print(f"slowest: {slowest[0]:.2f} s of CPU time (case {slowest[1]}); memory of the process that did most: {peak:.0f} MB")
    print(f"failures: {len(failures)}")
    for number, wrong in sorted(failures)[:20]:
        print(f"  case {number}: {wrong}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
