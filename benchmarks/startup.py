#!/usr/bin/env python3
"""How long a check of a small wheel takes to start, beside Python itself.

usage: python -m benchmarks.startup [--rounds N] [--guard PROGRAM] [--before PROGRAM]

PROGRAM: a console script as it is installed; benchmarks.speed makes an environment with the guard's own below
~/.cache/tls-wheel-guard-bench. The wheel has one module of 100 KB with a TLS segment and no finding. All commands run in turn, round by
round, with the interpreter of the console script. CPU: user and system time of the process. The ratios are medians of those of one
round. Prints Markdown, and what importing costs.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed import CACHE, clean, machine
from tests.support.elf_builder import Spec, Tls, build
from tests.support.wheel_builder import make_wheel

SHOWN = 12
"""Modules whose own import takes longest, of those that are shown."""


def once(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean())
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started


def interpreter(program: Path) -> str:
    """The Python that a console script names in its first line."""
    return program.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!").strip()


def imports(python: str, program: Path, wheel: Path) -> list[tuple[int, str]]:
    """Microseconds that each module takes by itself, by -X importtime; the least of five runs."""
    found: dict[str, int] = {}
    for _ in range(5):
        command = [python, "-X", "importtime", str(program), "check", "--no-config", str(wheel)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, env=clean()).stderr
        for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", text):
            found[name] = min(int(own), found.get(name, 1 << 60))
    return sorted(((own, name) for name, own in found.items()), reverse=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--guard", type=Path, default=CACHE / "fast" / "bin" / "tls-wheel-guard")
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    python = interpreter(options.guard)
    with tempfile.TemporaryDirectory() as folder:
        wheel = make_wheel(Path(folder), {"p/m.so": build(Spec(tls=Tls(8), padding=100_000))})
        check = ["check", "--no-config", str(wheel)]
        commands = {
            "python -c pass": [python, "-c", "pass"],
            'python -c "import zipfile"': [python, "-c", "import zipfile"],
            "tls-wheel-guard --version": [str(options.guard), "--version"],
            "tls-wheel-guard check": [str(options.guard), *check],
        }
        if options.before:
            commands["tls-wheel-guard check, before"] = [str(options.before), *check]
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(options.rounds + 1):
            for name, command in commands.items():
                found = once(command)
                if turn:
                    taken[name].append(found)
        by_module = imports(python, options.guard, wheel)
    print(f"{machine()}. {options.rounds} rounds, load {os.getloadavg()[0]:.1f}.\n")
    columns = [f"{kind} ms, {pick}" for kind in ("CPU", "wall") for pick in ("least", "median")]
    columns += [f"{kind} / import zipfile" for kind in ("CPU", "wall")]
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    base = taken['python -c "import zipfile"']
    for name, runs in taken.items():
        row = [f"{1000 * pick([run[kind] for run in runs]):.1f}" for kind in (0, 1) for pick in (min, statistics.median)]
        ratios = [f"{statistics.median(run[kind] / other[kind] for run, other in zip(runs, base, strict=True)):.2f}" for kind in (0, 1)]
        print(f"| `{name}` | {' | '.join([*row, *ratios])} |")
    ours = [own for own, name in by_module if name.startswith("tls_wheel_guard")]
    others = [own for own, name in by_module if not name.startswith("tls_wheel_guard")]
    print(f"\nImports, by -X importtime: {len(ours)} modules of the guard, {sum(ours) / 1000:.1f} ms; {len(others)} others,", end=" ")
    print(f"{sum(others) / 1000:.1f} ms. The longest: {', '.join(f'{name} {own / 1000:.1f}' for own, name in by_module[:SHOWN])}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
