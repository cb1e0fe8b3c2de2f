#!/usr/bin/env python3
"""The guard beside its peers on the same wheels: wall and CPU time of the whole process tree, and the ratios of one run.

usage: python -m benchmarks.speed [--runs N] [--wheels FOLDER] [--only WORD] [--before FOLDER] [--installed] [--peers none]

The command makes environments below ~/.cache/tls-wheel-guard-bench: the guard with and without isal, the same of another checkout of
this repository where --before names one, and the newest auditwheel, abi3audit, pyelftools and LIEF; it downloads the wheels with pip
(0.7 GB), or takes them from FOLDER. unzip and readelf are the system's. Rounds are interleaved, so that a machine that gets slower does
so for all. CPU times are medians. Wall times are the least of the rounds, since other work on the machine only ever adds to them; ratios
are of these figures. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path.home() / ".cache" / "tls-wheel-guard-bench"
WHEELS = ("orjson", "cryptography", "scikit-learn", "polars-runtime-32", "pyarrow", "torch")
PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PEERS = ("auditwheel", "abi3audit", "pyelftools", "lief")
NOT_FOR = {("abi3audit", "torch")}
"""abi3audit takes minutes for torch, which is no abi3 wheel."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The folder of programs of a virtual environment with these requirements, made anew where the guard is in it."""
    place = CACHE / name
    if not requirements:
        return place / "bin"
    if not (place / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True)
    return place / "bin"


def fetch(folder: Path) -> list[Path]:
    """The wheels, in the order of WHEELS."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in WHEELS:
        pattern = f"{name.replace('-', '_')}-*x86_64*.whl"
        if not list(folder.glob(pattern)):
            tags = [option for tag in PLATFORMS for option in ("--platform", tag)]
            options = [
                "--no-deps",
                "--only-binary=:all:",
                "--python-version",
                "3.12",
                "--implementation",
                "cp",
                "--abi",
                "cp312",
                "--abi",
                "abi3",
            ]
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), *options, *tags, name], check=True)
        found.append(max(folder.glob(pattern)))
    return found


Taken = tuple[float, float, float]
"""CPU seconds, wall seconds, megabytes of the largest process."""


def commands(fast: Path, plain: Path, peers: Path | None, before: tuple[Path, Path] | None) -> dict[str, list[str]]:
    """Name -> command; WHEEL stands for the wheel, FOLDER for an empty folder."""
    scripts = str(ROOT / "benchmarks" / "peers.py")
    unpack = 'unzip -q "$0" -d "$1" && find "$1" -type f -exec sh -c \'head -c4 "$1" | grep -q ELF && readelf -W -l -d -r "$1"\' - {} \\;'
    guards = {"guard": fast, "guard, no isal": plain}
    if before:
        guards |= {"guard before": before[0], "guard before, no isal": before[1]}
    found = {name: [str(place / "tls-wheel-guard"), "check", "--no-config", "WHEEL"] for name, place in guards.items()}
    found |= {
        "zipfile inflate": [str(plain / "python"), scripts, "zipfile", "WHEEL"],
        "unzip -p": ["unzip", "-p", "WHEEL"],
    }
    return (
        found
        if peers is None
        else found
        | {
            "unzip + readelf": ["sh", "-c", unpack, "WHEEL", "FOLDER"],
            "auditwheel show": [str(peers / "auditwheel"), "show", "WHEEL"],
            "abi3audit": [str(peers / "abi3audit"), "WHEEL"],
            "pyelftools": [str(peers / "python"), scripts, "pyelftools", "WHEEL"],
            "lief": [str(peers / "python"), scripts, "lief", "WHEEL"],
        }
    )


def clean() -> dict[str, str]:
    """The environment without what would change how Python starts."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def measure(command: list[str], wheel: Path | None = None) -> Taken:
    """The process and all that it started."""
    with tempfile.TemporaryDirectory() as folder:
        words = [{"WHEEL": str(wheel), "FOLDER": folder}.get(word, word) for word in command]
        started = time.perf_counter()
        # In an empty folder: in a project's a check looks for its settings and its build files too.
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean(), cwd=folder)
        _, _, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = 0
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def seconds(value: float) -> str:
    """Three figures."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def versions(peers: Path | None) -> str:
    """Names and versions of all that was measured."""
    found = []
    if peers is not None:
        listed = subprocess.run(
            [str(peers / "python"), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
        ).stdout
        found = [line.replace("==", " ") for line in listed.splitlines() if line.split("==")[0].lower() in PEERS]
    unzip = re.search(r"UnZip ([\d.]+)", subprocess.run(["unzip", "-v"], capture_output=True, text=True, check=True).stdout)
    readelf = subprocess.run(["readelf", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0].split()[-1]
    ask = [str(CACHE / "fast" / "bin" / "python"), "-c", "import isal; print(isal.__version__)"]
    isal = subprocess.run(ask, capture_output=True, text=True, check=True)
    return ", ".join([*found, f"isal {isal.stdout.strip()}", f"unzip {unzip[1] if unzip else '?'}", f"readelf {readelf}"])


def machine() -> str:
    """The processor, the system and this Python."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{model[1] if model else platform.processor()}, {os.cpu_count()} CPUs, {system}, CPython {platform.python_version()}"


Rows = dict[str, dict[str, Taken]]


def table(rows: Rows, names: list[str]) -> None:
    """Wall time, CPU time, then ratios."""
    for kind, title in ((1, "wall seconds"), (0, "CPU seconds")):
        print(f"\n| {title} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for wheel, row in rows.items():
            print(f"| {wheel} | {' | '.join(seconds(row[name][kind]) if name in row else '-' for name in names)} |")
    others = [name for name in names if not name.startswith("guard")]
    for kind, title in ((1, "wall"), (0, "CPU")):
        print(f"\n| {title}: guard, as a share of | {' | '.join(others)} |\n|---|{'---|' * len(others)}")
        for wheel, row in rows.items():
            shares = [f"{row['guard'][kind] / row[name][kind]:.2f}" if name in row else "-" for name in others]
            print(f"| {wheel} | {' | '.join(shares)} |")
    pairs = [("no isal / zipfile inflate", "guard, no isal", "zipfile inflate")]
    if "guard before" in names:
        pairs = [("guard / before", "guard", "guard before"), ("no isal / before", "guard, no isal", "guard before, no isal"), *pairs]
    print(f"\n| | {' | '.join(f'{title}, {kind}' for title, _, _ in pairs for kind in ('wall', 'CPU'))} | peak MB | no isal |", end="")
    print(f"\n|---|{'---|' * (2 * len(pairs) + 2)}")
    for wheel, row in rows.items():
        shares = [f"{row[one][kind] / row[other][kind]:.2f}" for _, one, other in pairs for kind in (1, 0)]
        print(f"| {wheel} | {' | '.join(shares)} | {row['guard'][2]:.0f} | {row['guard, no isal'][2]:.0f} |")


def figures(runs: list[Taken]) -> Taken:
    """The median of CPU time and memory, the least of wall time."""
    return statistics.median(run[0] for run in runs), min(run[1] for run in runs), statistics.median(run[2] for run in runs)


def environments(options: argparse.Namespace) -> tuple[Path, Path, Path | None, tuple[Path, Path] | None]:
    """Programs of the guard with and without isal, of the peers, and of another checkout; installed unless they are to be used as they are."""
    folders = {"": ROOT} | ({"before-": options.before.resolve()} if options.before else {})
    found = {}
    for prefix, folder in folders.items():
        for name, requirements in (("fast", ["pyelftools", "isal"]), ("plain", ["pyelftools"])):
            found[prefix + name] = environment(prefix + name, [] if options.installed else requirements)
            if not options.installed:
                environment(prefix + name, ["--force-reinstall", "--no-deps", str(folder)])
    peers = None if options.peers == "none" else environment("peers", [] if options.installed else PEERS)
    before = (found["before-fast"], found["before-plain"]) if options.before else None
    return found["fast"], found["plain"], peers, before


def main() -> int:
    """Install, fetch, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--wheels", type=Path, default=CACHE / "wheels")
    parser.add_argument("--installed", action="store_true", help="use the environments as they are")
    parser.add_argument("--only", default="", help="only wheels with this in their name")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout of this repository, measured in the same run")
    parser.add_argument("--peers", choices=("all", "none"), default="all", help="none: only unzip and Python's zipfile beside the guard")
    options = parser.parse_args()
    for tool in ("unzip", "readelf"):
        if shutil.which(tool) is None:
            print(f"{tool} is missing; hint: apt install unzip binutils", file=sys.stderr)
            return 2
    fast, plain, peers, before = environments(options)
    wheels = [path for path in fetch(options.wheels) if options.only in path.name]
    todo = commands(fast, plain, peers, before)
    found: dict[str, dict[str, list[Taken]]] = {}
    for turn in range(options.runs + 1):
        for wheel in wheels:
            short = wheel.name.split("-")[0]
            for name, command in todo.items():
                # The first round only warms the caches.
                if (name, short) not in NOT_FOR and (turn or wheel.stat().st_size < 100 << 20):
                    taken = measure(command, wheel)
                    if turn:
                        found.setdefault(wheel.name.rsplit("-", 3)[0], {}).setdefault(name, []).append(taken)
    rows = {wheel: {name: figures(runs) for name, runs in by_name.items()} for wheel, by_name in found.items()}
    print(f"{machine()}. {versions(peers)}. {options.runs} rounds; load at the end {os.getloadavg()[0]:.1f}.")
    table(rows, list(todo))
    return 0


if __name__ == "__main__":
    sys.exit(main())
