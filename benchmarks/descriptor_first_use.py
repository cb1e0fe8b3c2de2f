#!/usr/bin/env python3
"""Random functions as a thread's first use of TLS, in a host whose malloc destroys vector registers: for docs/proofs/descriptors.md."""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.markdown import heading, row  # noqa: E402
from tests.support.descriptor_programs import program  # noqa: E402
from tests.support.descriptor_truth import CALL_SIZE, descriptor_sites, slots_of  # noqa: E402
from tests.support.runtimes import Runtime, native, release  # noqa: E402
from tests.support.toolchain import SOURCES, require  # noqa: E402

COMMANDS = (("gcc", "-O1"), ("gcc", "-O2"), ("gcc", "-O3"), ("gcc", "-Os"), ("clang-19", "-O1"), ("clang-19", "-O2"), ("clang-19", "-O3"))
RESULTS = ("same", "changed", "died")
# The block never fits the optional part, on any release. A new thread's variables have their first values: nothing is to be reset.
MORE = "\n__thread char big[4096];\nint touch(void) { return t_i0 + big[t_i0 & 7]; }\n"


def build(folder: Path, seed: int, functions: int, command: tuple[str, ...]) -> Path:
    """A random C program for the host, with descriptors."""
    source, output = folder / f"p{seed}.c", folder / f"p{seed}.so"
    source.write_text(program(seed, functions, cxx=False).replace("    reset();\n", "") + MORE)
    require(command[0])
    flags = ["-fPIC", "-shared", "-mtls-dialect=gnu2", "-w", f"-I{SOURCES}", "-o", str(output), str(source), "-lm"]
    subprocess.run([*command, *flags], check=True, capture_output=True)
    return output


@functools.cache
def _said(path: Path) -> dict[int, str]:
    return {site.address: "kept" if site.kept else "unsure" if site.unsure else "dead" for site in descriptor_sites(path).sites}


def compare(path: Path, runtime: Runtime) -> Counter[tuple[str, str]]:
    """(What the analysis says of the first call, what the run gave) -> functions."""
    said = _said(path)
    words = runtime.command(runtime.program(SOURCES / "first_use.c", "-pthread"), path, *(f"{slot:x}" for slot in slots_of(path)))
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    counts: Counter[tuple[str, str]] = Counter()
    for number, behind, result in map(str.split, lines):
        kind = "no call" if behind == "0" else said.get(int(behind, 16) - CALL_SIZE, "unread")
        counts[kind, RESULTS[int(result)]] += 1
        if kind in ("unsure", "dead", "no call", "unread") and result != "0":
            print(f"WRONG: {runtime}, {path.name}, function {number}, call before 0x{behind}: {kind}, {RESULTS[int(result)]}", file=sys.stderr)
    return counts


def main() -> int:
    """Print the table; 1 where a function went wrong whose first call is not called kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=1, help="programs of each compiler's command")
    parser.add_argument("--functions", type=int, default=48, help="functions of each program")
    arguments = parser.parse_args()
    kinds = ("kept", "unsure", "dead", "no call", "unread")
    heading("glibc", "functions", *(f"{kind}: {result}" for kind in kinds for result in RESULTS))
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        paths = [
            build(Path(name), arguments.seed + 100 * number + n, arguments.functions, command)
            for number, command in enumerate(COMMANDS)
            for n in range(arguments.programs)
        ]
        for runtime in (release("bullseye"), native(), release("trixie")):
            counts = sum((compare(path, runtime) for path in paths), Counter())
            row(".".join(map(str, runtime.version)), str(counts.total()), *(str(counts[kind, result]) for kind in kinds for result in RESULTS))
            wrong += sum(n for (kind, result), n in counts.items() if kind != "kept" and result != "same")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
