#!/usr/bin/env python3
"""Advice about tunables against real loaders: sequences of generated modules that do not find room, half of them with descriptors.

usage: advice.py [--seed N] [--scale F] [RUNTIME ...]      prints Markdown; exits 1 on any difference

For each case the least values that the guard advises, the padded ones, one less, and ten random values of both tunables are run: whether
each module loads, bytes taken and what is left for descriptors must be what the model says; the advised values must work, one less must not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.advising import Count, make_case, prove  # noqa: E402
from tests.support.runtimes import Runtime, emulated, native, release  # noqa: E402

RUNS: dict[str, tuple[Callable[[], Runtime], int]] = {
    "x86_64": (native, 60),
    "x86_64-2.31": (lambda: release("bullseye"), 16),
    "x86_64-2.41": (lambda: release("trixie"), 16),
    "x86_64-newest": (lambda: release("sid"), 16),
    "aarch64": (lambda: emulated("aarch64"), 16),
}
"""Name -> a runtime and how many cases, half of them with descriptors."""
MAX_SEEDS = 400
"""Seeds that are tried for a case: most histories find room."""


def run(name: str, seed: int, scale: float) -> tuple[str, Count]:
    """All cases of one runtime."""
    make, cases = RUNS[name]
    runtime, count, number = make(), Count(), seed
    started = time.monotonic()
    for place in range(max(2, round(cases * scale))):
        for number in range(number + 1, number + MAX_SEEDS):  # noqa: B020  (goes on where the last case was found)
            with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-advice-") as folder:
                case = make_case(runtime, number, Path(folder), descriptors=place % 2 == 0)
                if case is not None:
                    prove(runtime, number, case, Path(folder), count)
                    break
    print(f"{runtime}: {count.cases} cases, {len(count.differences)} differences, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return str(runtime), count


def main() -> int:
    """Markdown on stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help=f"default: all of {', '.join(RUNS)}")
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cases")
    options = parser.parse_args()
    rows = [run(name, options.seed, options.scale) for name in options.runtimes or RUNS]
    print(f"Seed {options.seed}. `python benchmarks/advice.py`.\n")
    names = ("cases", "with descriptors", "by nns", "by optional", "least works", "padded works", "one less agrees (fails)")
    print(f"| runtime | {' | '.join(names)} | random values agree (fail) | differences |\n|{'---|' * 10}")
    for runtime, count in rows:
        print(f"| {runtime} | {count.row()} |")
    for runtime, count in rows:
        for difference in count.differences[:20]:
            print(f"\n{runtime}: {difference}")
    return 1 if any(count.differences for _, count in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
