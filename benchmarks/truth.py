#!/usr/bin/env python3
"""Random histories of a process, told to the real loaders and to the models: every answer must be the same.

usage: truth.py [--seed N] [--scale F] [RUNTIME ...]      prints Markdown; exits 1 on any difference

A history is 4 to 16 steps with up to ten generated modules: initial-exec, global-dynamic, local-dynamic, descriptors, mixed, foreign and
weak symbols, alignments up to 128, sizes up to 3000, dependencies, preloaded libraries, tunables, dlclose, first dynamic access. Compared
after each step: whether it loads, the loader's words, bytes taken, room left, and what is left for descriptors.
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

from tests.support.runtimes import Runtime, emulated, musl, native, release  # noqa: E402
from tests.support.truth import Tally, compare  # noqa: E402

OTHERS = ("riscv64", "ppc64le", "arm", "s390x", "i386")
RUNS: dict[str, tuple[Callable[[], Runtime], int, bool]] = {
    "x86_64": (native, 1200, False),
    "x86_64-python": (native, 300, True),
    "x86_64-2.31": (lambda: release("bullseye"), 150, False),
    "x86_64-2.41": (lambda: release("trixie"), 150, False),
    "x86_64-2.41-python": (lambda: release("trixie"), 50, True),
    "x86_64-newest": (lambda: release("sid"), 150, False),
    "x86_64-newest-python": (lambda: release("sid"), 50, True),
    "aarch64": (lambda: emulated("aarch64"), 250, False),
    "aarch64-2.31": (lambda: release("bullseye", "aarch64"), 100, False),
    "aarch64-2.41": (lambda: release("trixie", "aarch64"), 100, False),
    "aarch64-newest": (lambda: release("sid", "aarch64"), 100, False),
    **{machine: (lambda machine=machine: emulated(machine), 80, False) for machine in OTHERS},  # type: ignore[misc]
    **{f"{machine}-newest": (lambda machine=machine: release("sid", machine), 50, False) for machine in OTHERS[:-1]},  # type: ignore[misc]
    "musl": (musl, 250, False),
}
"""Name -> a runtime, how many histories, and whether Python is the host."""


def run(name: str, seed: int, scale: float) -> tuple[str, Tally]:
    """All histories of one runtime."""
    make, count, in_python = RUNS[name]
    runtime, tally = make(), Tally()
    # A version manager's python3 is a slow script.
    python = (runtime.python() if runtime.suite else Path(sys.executable)) if in_python else None
    label = f"{runtime}, in Python" if in_python else str(runtime)
    started = time.monotonic()
    for number in range(max(1, round(count * scale))):
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-truth-") as folder:
            compare(runtime, seed + number, Path(folder), tally, python=python)
    print(f"{label}: {tally.line()}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return label, tally


def main() -> int:
    """Markdown on stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help=f"default: all of {', '.join(RUNS)}")
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the histories")
    options = parser.parse_args()
    rows = [run(name, options.seed, options.scale) for name in options.runtimes or RUNS]
    print(f"Seed {options.seed}. `python benchmarks/truth.py`.\n")
    print("| runtime | histories | steps | loads | refusals | crashes | closes | with descriptors | with tunables | differences |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for runtime, tally in rows:
        print(f"| {runtime} | {tally.row()} |")
    for runtime, tally in rows:
        for difference in tally.differences[:20]:
            print(f"\n{runtime}: {difference}")
    return 1 if any(tally.differences for _, tally in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
