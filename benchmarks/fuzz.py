#!/usr/bin/env python3
"""Coverage-guided fuzzing of the readers with atheris (libFuzzer).

usage: python -m benchmarks.fuzz elf|wheel --minutes N [--corpus FOLDER]

``elf`` gives bytes to the ELF reader and to the lookup of symbols; ``wheel`` writes them to a file and checks that as a user would. The
seeds are made by benchmarks/mutations.py, some dozens of files of a few hundred bytes; what libFuzzer adds to them stays in FOLDER, or
goes with a temporary one. Whatever escapes but an error of ours is a crash; so are 10 seconds or 500 MB. Its input is printed in hex, to
become a test. Needs atheris: `pip install --group fuzz`; it has wheels for CPython on Linux up to 3.13.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("errno", "own", "foreign", "a", "missing")
LONGEST = {"elf": 8192, "wheel": 16384}


def fuzz(target: str, arguments: list[str]) -> None:
    """Run libFuzzer in this process; it ends the process."""
    import atheris  # noqa: PLC0415  (has no wheel for every Python)

    with atheris.instrument_imports(include=["tls_wheel_guard"]):
        from tls_wheel_guard.commands.check import check_wheel  # noqa: PLC0415  (imported to be instrumented)
        from tls_wheel_guard.elf import BytesSource, defined_tls, read_shared_object  # noqa: PLC0415
        from tls_wheel_guard.errors import UnreadableInput  # noqa: PLC0415

    def elf(data: bytes) -> None:
        for read in (read_shared_object, lambda source: defined_tls(source, NAMES)):
            try:
                read(BytesSource(data))
            except UnreadableInput:
                continue

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108  (faster than a disk)
        path = Path(folder) / "x-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"

        def wheel(data: bytes) -> None:
            path.write_bytes(data)
            try:
                check_wheel(path)
            except UnreadableInput:
                return

        atheris.Setup([sys.argv[0], *arguments], elf if target == "elf" else wheel)
        atheris.Fuzz()


def main() -> int:
    """Start libFuzzer in a child, say what it did; 1 where it found a crash."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("target", choices=("elf", "wheel"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        fuzz(options.target, options.child)
        return 0
    # Only here: the child must import the guard first, to have it instrumented.
    from benchmarks.mutations import elf_seeds, wheel_of, wheel_seeds  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or Path(folder) / "corpus"
        seeds, crashes = Path(folder) / "seeds", Path(folder) / "crashes"
        for made in (corpus, seeds, crashes):
            made.mkdir(exist_ok=True, parents=True)
        elves = elf_seeds()
        files = elves if options.target == "elf" else [*wheel_seeds(elves), *(wheel_of({"a.so": data}, 0) for data in elves[:12])]
        for number, data in enumerate(files):
            (seeds / f"seed-{number}").write_bytes(data)
        settings = (
            f"-max_total_time={round(options.minutes * 60)}", f"-max_len={LONGEST[options.target]}", f"-seed={options.seed}", "-timeout=10",
            "-rss_limit_mb=500", "-print_final_stats=1", f"-artifact_prefix={crashes}/", str(corpus), str(seeds),
        )  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.fuzz", options.target, "--child", *settings]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        return report(options.target, ended, len(files), sorted(crashes.iterdir()))


def report(target: str, ended: subprocess.CompletedProcess[str], seeds: int, crashes: list[Path]) -> int:
    """Print what libFuzzer counted, and each crash."""
    text = ended.stdout + ended.stderr
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", text, re.MULTILINE))
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text) or [("?", "?", "?")]
    print(
        f"{target}: {stats.get('number_of_executed_units', '?')} inputs from {seeds} seeds, {coverage[-1][0]} edges, corpus {coverage[-1][2]}, "
        f"slowest {stats.get('slowest_unit_time_sec', '?')} s, peak {stats.get('peak_rss_mb', '?')} MB, {len(crashes)} crashes"
    )
    for path in crashes:
        print(f"{path.name}: {path.read_bytes().hex()}")
    if ended.returncode or crashes:
        print(text[-3000:])
    return int(bool(ended.returncode or crashes))


if __name__ == "__main__":
    sys.exit(main())
