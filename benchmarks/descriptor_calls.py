#!/usr/bin/env python3
"""Descriptor calls of random C and C++ beside the linkers' relocations and runs with destroyed registers: for docs/proofs/descriptors.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.markdown import heading, row  # noqa: E402
from tests.support.descriptor_truth import Outcome, build, compare  # noqa: E402

BUILDS = (
    ("gcc", "-O0"), ("gcc", "-O1"), ("gcc", "-O2"), ("gcc", "-O3"), ("gcc", "-Os"), ("gcc", "-O3", "-march=x86-64-v3"),
    ("gcc", "-O2", "-flto"), ("gcc", "-O2", "-fuse-ld=gold"), ("gcc", "-O2", "-fuse-ld=mold"), ("gcc", "-O3", "-march=x86-64-v4"),
    ("g++", "-O0"), ("g++", "-O2"), ("g++", "-O3"), ("g++", "-Os"), ("g++", "-O2", "-flto"), ("g++", "-O2", "-march=x86-64-v3", "-fuse-ld=gold"),
    ("clang-19", "-O0"), ("clang-19", "-O1"), ("clang-19", "-O2"), ("clang-19", "-O3", "-fuse-ld=lld-19"), ("clang-19", "-Os"),
    ("clang-19", "-O3", "-march=x86-64-v3"), ("clang-19", "-O2", "-flto", "-fuse-ld=lld-19"), ("clang-19", "-O3", "-march=x86-64-v4"),
    ("clang++-19", "-O0"), ("clang++-19", "-O2"), ("clang++-19", "-O3", "-fuse-ld=lld-19"), ("clang++-19", "-O2", "-fuse-ld=mold"),
)  # fmt: skip
KINDS = ("kept", "unsure", "dead", "unread")
HEAD = (
    "build",
    "sites",
    "not run",
    "kept: changed",
    "kept: same",
    "unsure: changed",
    "unsure: same",
    "dead: changed",
    "dead: same",
    "unread",
    "missed",
    "extra",
)


def _cells(counts: Counter[tuple[str, str]], missed: int, extra: int) -> list[str]:
    ran = [str(counts[kind, result]) for kind in KINDS[:3] for result in ("changed", "same")]
    unread = sum(n for (kind, _), n in counts.items() if kind == "unread")
    not_run = sum(n for (_, result), n in counts.items() if result == "not run")
    return [str(counts.total()), str(not_run), *ran, str(unread), str(missed), str(extra)]


def _measured(folder: Path, seed: int, functions: int, command: tuple[str, ...]) -> Outcome:
    place = folder / f"{seed}-{'-'.join(command).replace('=', '')}"
    place.mkdir()
    outcome = compare(build(place, seed, functions, command))
    for site in outcome.wrong:
        print(f"WRONG: seed {seed}, {' '.join(command)}: site {site:#x} was called dead", file=sys.stderr)
    return outcome


def main() -> int:
    """Print the table; 1 where a site was called dead and a result changed, or where sites differ from the linker's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=2, help="programs of each build")
    parser.add_argument("--functions", type=int, default=24, help="functions of each program")
    arguments = parser.parse_args()
    heading(*HEAD)
    total: Counter[tuple[str, str]] = Counter()
    missed = extra = wrong = 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        for number, command in enumerate(BUILDS):
            seeds = [arguments.seed + 100 * number + n for n in range(arguments.programs)]
            outcomes = list(pool.map(lambda seed, c=command: _measured(Path(name), seed, arguments.functions, c), seeds))
            counts = sum((outcome.counts for outcome in outcomes), Counter())
            lost, more = sum(len(o.missed) for o in outcomes), sum(len(o.extra) for o in outcomes)
            row("`" + " ".join(command) + "`", *_cells(counts, lost, more))
            total += counts
            missed, extra, wrong = missed + lost, extra + more, wrong + sum(len(o.wrong) for o in outcomes)
    row("**all**", *_cells(total, missed, extra))
    changed = sum(n for (_, result), n in total.items() if result == "changed")
    print(f"\nOf {changed:,} sites at which the result changed, {total['kept', 'changed']:,} are called kept "
          f"({100 * total['kept', 'changed'] / max(changed, 1):.2f} %), {total['dead', 'changed']} dead.")  # fmt: skip
    return 1 if wrong or missed or extra else 0


if __name__ == "__main__":
    sys.exit(main())
