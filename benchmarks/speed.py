#!/usr/bin/env python3
"""The guard beside its peers on the same wheels: CPU time of the whole process tree, medians, and the ratios of one run.

usage: python -m benchmarks.speed [--runs N] [--wheels FOLDER] [--only WORD]

The command makes two environments below ~/.cache/tls-wheel-guard-bench: the guard with and without isal, and the newest auditwheel,
abi3audit, pyelftools and LIEF; it downloads the wheels with pip (0.7 GB), or takes them from FOLDER. unzip and readelf are the system's.
Rounds are interleaved, so that a machine that gets slower does so for all. Prints Markdown.
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


def commands(fast: Path, plain: Path, peers: Path) -> dict[str, list[str]]:
    """Name -> command; WHEEL stands for the wheel, FOLDER for an empty folder."""
    scripts = str(ROOT / "benchmarks" / "peers.py")
    unpack = 'unzip -q "$0" -d "$1" && find "$1" -type f -exec sh -c \'head -c4 "$1" | grep -q ELF && readelf -W -l -d -r "$1"\' - {} \\;'
    return {
        "guard": [str(fast / "tls-wheel-guard"), "check", "--no-config", "WHEEL"],
        "guard, no isal": [str(plain / "tls-wheel-guard"), "check", "--no-config", "WHEEL"],
        "zipfile inflate": [str(plain / "python"), scripts, "zipfile", "WHEEL"],
        "unzip -p": ["unzip", "-p", "WHEEL"],
        "unzip + readelf": ["sh", "-c", unpack, "WHEEL", "FOLDER"],
        "auditwheel show": [str(peers / "auditwheel"), "show", "WHEEL"],
        "abi3audit": [str(peers / "abi3audit"), "WHEEL"],
        "pyelftools": [str(peers / "python"), scripts, "pyelftools", "WHEEL"],
        "lief": [str(peers / "python"), scripts, "lief", "WHEEL"],
    }


def measure(command: list[str], wheel: Path | None = None) -> tuple[float, float]:
    """CPU seconds of the process and all that it started, and megabytes of the largest of them."""
    with tempfile.TemporaryDirectory() as folder:
        words = [{"WHEEL": str(wheel), "FOLDER": folder}.get(word, word) for word in command]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def seconds(value: float) -> str:
    """Three figures."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def versions(peers: Path) -> str:
    """Names and versions of all that was measured."""
    listed = subprocess.run([str(peers / "python"), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
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


def table(rows: dict[str, dict[str, tuple[float, float]]], names: list[str]) -> None:
    """Medians, then ratios to some peers."""
    print(f"| CPU seconds | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for wheel, row in rows.items():
        print(f"| {wheel} | {' | '.join(seconds(row[name][0]) if name in row else '-' for name in names)} |")
    others = [name for name in names if not name.startswith("guard")]
    print(f"\n| guard, as a share of | {' | '.join(others)} | no isal / zipfile inflate | peak MB |\n|---|{'---|' * (len(others) + 2)}")
    for wheel, row in rows.items():
        shares = [f"{row['guard'][0] / row[name][0]:.2f}" if name in row else "-" for name in others]
        print(f"| {wheel} | {' | '.join(shares)} | {row['guard, no isal'][0] / row['zipfile inflate'][0]:.2f} | {row['guard'][1]:.0f} |")


def main() -> int:
    """Install, fetch, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--wheels", type=Path, default=CACHE / "wheels")
    parser.add_argument("--installed", action="store_true", help="use the environments as they are")
    parser.add_argument("--only", default="", help="only wheels with this in their name")
    options = parser.parse_args()
    for tool in ("unzip", "readelf"):
        if shutil.which(tool) is None:
            print(f"{tool} is missing; hint: apt install unzip binutils", file=sys.stderr)
            return 2
    force = ["--force-reinstall", "--no-deps"]
    fast = environment("fast", [] if options.installed else ["pyelftools", "isal"])
    plain = environment("plain", [] if options.installed else ["pyelftools"])
    for name in () if options.installed else ("fast", "plain"):
        environment(name, [*force, str(ROOT)])
    peers = environment("peers", [] if options.installed else PEERS)
    wheels = [path for path in fetch(options.wheels) if options.only in path.name]
    todo = commands(fast, plain, peers)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for turn in range(options.runs + 1):
        for wheel in wheels:
            short = wheel.name.split("-")[0]
            for name, command in todo.items():
                # The first round only warms the caches.
                if (name, short) not in NOT_FOR and (turn or wheel.stat().st_size < 100 << 20):
                    taken = measure(command, wheel)
                    if turn:
                        found.setdefault(wheel.name.rsplit("-", 3)[0], {}).setdefault(name, []).append(taken)
    rows = {
        wheel: {name: (statistics.median(t for t, _ in runs), statistics.median(m for _, m in runs)) for name, runs in by_name.items()}
        for wheel, by_name in found.items()
    }
    print(f"{machine()}. {versions(peers)}. Medians of {options.runs} runs.\n")
    table(rows, list(todo))
    starts = [(measure([str(fast / "tls-wheel-guard"), "--version"])[0], measure([str(fast / "python"), "-c", "pass"])[0]) for _ in range(21)]
    version, nothing = (statistics.median(values) for values in zip(*starts, strict=True))
    print(f"\n`tls-wheel-guard --version`: {1000 * version:.1f} ms; `python -c pass`: {1000 * nothing:.1f} ms; {version / nothing:.2f} times.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
