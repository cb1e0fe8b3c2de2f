#!/usr/bin/env python3
"""What finding the culprit costs: CPU seconds of `check` with and without the second pass, medians; prints Markdown.

usage: second_pass.py [--runs N] WHEEL...

On a wheel without initial-exec both must be the same, and nothing of the second pass may be loaded.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = """
import resource, sys
before = resource.getrusage(resource.RUSAGE_SELF)
from tls_wheel_guard.commands import check
if sys.argv[1] == "without":
    check._traced = lambda *_: {}
report = check.check_wheel(sys.argv[2])
after = resource.getrusage(resource.RUSAGE_SELF)
names = ("culprits.advice", "culprits.collect", "culprits.data_files", "machine_code", "commands.show")
lazy = ("capstone", *(f"tls_wheel_guard.{name}" for name in names))
count = sum(m.shared_object.initial_exec.count for m in report.modules if m.kind == "shared")
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, count, *(name for name in lazy if name in sys.modules))
"""


def measure(how: str, wheel: Path, runs: int) -> tuple[float, int, list[str]]:
    """Median CPU seconds in a fresh process, initial-exec relocations, and what was loaded."""
    times, words = [], [""]
    for _ in range(runs):
        command = [sys.executable, "-c", CODE, how, str(wheel)]
        words = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
        times.append(float(words[0]))
    return statistics.median(times), int(words[1]), words[2:]


def main() -> None:
    """A row a wheel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    print("| wheel | initial-exec | without | with | loaded for it |\n|---|---|---|---|---|")
    for wheel in options.wheels:
        without, _, _ = measure("without", wheel, options.runs)
        time, count, loaded = measure("with", wheel, options.runs)
        words = ", ".join(name.removeprefix("tls_wheel_guard.") for name in loaded) or "nothing"
        print(f"| {wheel.name} | {count} | {without:.3f} s | {time:.3f} s | {words} |", flush=True)


if __name__ == "__main__":
    main()
