#!/usr/bin/env python3
"""Coverage-guided fuzzing with atheris (libFuzzer).

usage: python -m benchmarks.fuzz KIND --minutes N [--corpus FOLDER] [--crashes FOLDER]

``elf`` gives bytes to the ELF reader and to the lookup of symbols, ``wheel`` checks them as a wheel; the other kinds are those of
``benchmarks.damage``, with the same seeds and oracles (benchmarks/hostile/). What libFuzzer adds to the seeds stays in FOLDER, or goes
with a temporary one. Whatever escapes but an error of ours is a crash; so are 10 seconds of CPU time or 500 MB, most of which are the
instruments'. Its input is kept in FOLDER, a small one is printed in hex, to become a test. Needs atheris: `pip install --group fuzz`; it
has wheels for CPython on Linux up to 3.13.
"""

from __future__ import annotations

import argparse
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("elf", "wheel", "repair", "descriptors", "reports", "index", "fix")
SECONDS, SHOWN = 10, 600


def fuzz(name: str, arguments: list[str]) -> None:
    """Run libFuzzer in this process; it ends the process."""
    import atheris  # noqa: PLC0415  (has no wheel for every Python)

    with atheris.instrument_imports(include=["tls_wheel_guard"]):
        from benchmarks.hostile import kind_of  # noqa: PLC0415  (imported to be instrumented)

        kind = kind_of(name)
        # What the product imports when it is needed must be instrumented too.
        for seed in kind.seeds():
            kind.judge(seed)

    def hang(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s of CPU time")

    def one(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        kind.judge(data)
        signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, hang)
    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main() -> int:
    """Start libFuzzer in a child, say what it did; 1 where it found a crash."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--crashes", type=Path)
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        fuzz(options.kind, options.child)
        return 0
    # Only here: the child must import the guard first, to have it instrumented.
    from benchmarks.hostile import kind_of  # noqa: PLC0415

    kind = kind_of(options.kind)
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or Path(folder) / "corpus"
        seeds, crashes = Path(folder) / "seeds", options.crashes or Path(folder) / "crashes"
        for made in (corpus, seeds, crashes):
            made.mkdir(exist_ok=True, parents=True)
        files = kind.seeds()
        for number, data in enumerate(files):
            (seeds / f"seed-{number}").write_bytes(data)
        settings = (
            f"-max_total_time={round(options.minutes * 60)}", f"-max_len={kind.longest}", f"-seed={options.seed}", "-timeout=120",
            "-report_slow_units=120", "-rss_limit_mb=500", "-print_final_stats=1", f"-artifact_prefix={crashes}/", str(corpus), str(seeds),
        )  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.fuzz", options.kind, "--child", *settings]
        started, known = time.monotonic(), set(crashes.iterdir())
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        return report(options.kind, ended, len(files), sorted(set(crashes.iterdir()) - known), time.monotonic() - started)


def report(name: str, ended: subprocess.CompletedProcess[str], seeds: int, crashes: list[Path], seconds: float) -> int:
    """Print what libFuzzer counted, and each crash."""
    text = ended.stdout + ended.stderr
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", text, re.MULTILINE))
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text) or [("?", "?", "?")]
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{name}: {stats.get('number_of_executed_units', '?')} inputs from {seeds} seeds, {coverage[-1][0]} edges, corpus {coverage[-1][2]}, "
        f"{seconds / 60:.1f} minutes, {(spent.ru_utime + spent.ru_stime) / 60:.1f} of CPU time, "
        f"slowest {stats.get('slowest_unit_time_sec', '?')} s, peak {stats.get('peak_rss_mb', '?')} MB, {len(crashes)} crashes"
    )
    for path in crashes:
        data = path.read_bytes()
        print(f"{path.name}: {data.hex() if len(data) <= SHOWN else f'{len(data)} bytes'}")
    if ended.returncode or crashes:
        at = text.find("Uncaught Python exception")
        print(text[at : at + 3000] if at >= 0 else text[-3000:])
    return int(bool(ended.returncode or crashes))


if __name__ == "__main__":
    sys.exit(main())
