"""``index`` over a local server: verdicts beside ``check``, faults, kills, growth. Prints docs/proofs/audit.md.

usage: python -m benchmarks.index_bed [--wheels FOLDER] [--projects FOLDER] [--parts NAME,NAME,...] [--requests N] [--objects N]
                                      [--kills N] [--growth N,N,...] [--seed N]

Everything runs on this machine: nginx and a misbehaving server of the tests' own; no package registry is asked for anything.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packaging.utils import canonicalize_name

from benchmarks.index_agreement import agreement
from benchmarks.index_clusters import kills
from benchmarks.index_growth import growth, rejudged, speed_up
from benchmarks.index_projects import projects
from benchmarks.index_runs import told
from benchmarks.markdown import heading, row
from tests.support.bad_server import serving
from tests.support.layouts import LINKERS, judged, layouts
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.commands.check import Asked, check_wheel
from tls_wheel_guard.commands.index import IndexOptions, index_run
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.sources import Selection

KILLED_BYTES = 600_000
"""The largest wheel of a run that is killed: many runs, each of some seconds."""


def objects(count: int, seed: int) -> None:
    """Generated objects of all linkers and patchelf's changes: the beginning's answer beside what the whole object says."""
    left = count
    answers: Counter[str] = Counter()
    heading("linker", "objects", "ask, or have descriptors the beginning did not tell", "clear", "asks", "unknown", "falsely clear")
    for place, linker in enumerate(LINKERS):
        rng = random.Random(f"{seed} {linker}")
        share = left // (len(LINKERS) - place)
        here: Counter[str] = Counter()
        number = 0
        while here["objects"] < share:
            with tempfile.TemporaryDirectory() as folder:
                for _, path in itertools.islice(layouts(linker, rng, Path(folder), number), share - here["objects"]):
                    answer, asks = judged(path)
                    here.update({"objects": 1, "asking": int(asks), answer: 1, "false": int(asks and answer == "clear")})
            number += 1
        left -= share
        answers += here
        row(linker, *(here[word] for word in ("objects", "asking", "clear", "asks", "unknown", "false")))
    row("all", *(answers[word] for word in ("objects", "asking", "clear", "asks", "unknown", "false")))


def faults(wheels: list[Path], requests: int, seed: int) -> None:
    """A server that misbehaves at random."""
    import tls_wheel_guard.commands.index as module  # noqa: PLC0415

    module._connection = lambda n: Connection(n, sleep=lambda _: None)  # type: ignore[assignment]
    expected = {w.name: told(check_wheel(w).to_dict()) for w in wheels}
    files = {f"/files/{w.name}": w.read_bytes() for w in wheels}
    meta = {"api-version": "1.1"}
    pages: dict[str, list[dict[str, Any]]] = {}
    for w in wheels:
        data = files[f"/files/{w.name}"]
        row = {"filename": w.name, "url": f"/files/{w.name}", "size": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        pages.setdefault(str(canonicalize_name(w.name.split("-")[0])), []).append(row)
    files["/simple/"] = json.dumps({"meta": meta, "projects": [{"name": name} for name in pages]}).encode()
    files.update({f"/simple/{name}/": json.dumps({"meta": meta, "files": rows}).encode() for name, rows in pages.items()})
    judged = wrong = failed = 0
    longest = 0.0
    with serving(files, seed, 0.25) as server:
        while server.requests < requests:
            started = time.monotonic()
            try:
                done = index_run(
                    IndexOptions(sources=(f"http://127.0.0.1:{server.server_port}/simple/",), choice=Selection(latest=0)), Config(), Asked()
                )
            except UnreadableIndex:
                failed += 1
                continue
            longest = max(longest, time.monotonic() - started)
            for entry in done.store.entries(done.run):
                if "error" in entry:
                    failed += 1
                else:
                    judged += 1
                    wrong += told(entry) != expected[entry["wheel"]]
            done.store.close()
        print(f"| requests, kinds of faults | {server.requests:,}, {len(server.faults)}, {sum(server.faults.values()):,} faults |")
    print(f"| verdicts, wrong ones | {judged:,}, {wrong} |")
    print(f"| entries with an error, and pages | {failed:,} |")
    print(f"| longest run over {len(wheels)} wheels | {longest:.1f} s |")


def main() -> None:
    """All parts, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="a folder of real wheels")
    parser.add_argument("--projects", type=Path, help="a folder with wheels of well-known projects")
    parser.add_argument("--parts", default=",".join(_PARTS), help="what is measured, separated by commas")
    parser.add_argument("--most-mb", type=float, default=1e9)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--growth", default="1000,10000,100000")
    parser.add_argument("--sources", default="folder,nginx", help="what growth is measured of")
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in options.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder)
            made.chmod(0o755)
            _PARTS[name](options, made)
    print(f"\nPeak memory of this program: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB.")


def _real(folder: Path | None, most: float = 1e15) -> list[Path]:
    return sorted(p for p in folder.glob("*.whl") if p.stat().st_size <= most) if folder else []


def _agreement(options: argparse.Namespace, folder: Path) -> None:
    del folder
    if real := _real(options.wheels, options.most_mb * 1e6):
        print("\n## Real wheels")
        agreement(real)


def _projects(options: argparse.Namespace, folder: Path) -> None:
    del folder
    if real := _real(options.projects):
        print("\n## Well-known projects\n")
        projects(real)


def _objects(options: argparse.Namespace, folder: Path) -> None:
    del folder
    print("\n## Generated objects\n")
    objects(options.objects, options.seed)


def _faults(options: argparse.Namespace, folder: Path) -> None:
    small = [make_wheel(folder, {"pkg/a.so": ie(64 * n), "pkg/b.py": bytes(200_000 + n)}, name=f"w{n}") for n in range(1, 9)]
    print("\n## A server that misbehaves\n\n| what | measured |\n|---|---|")
    faults(small + _real(options.wheels, 600_000)[:20], options.requests, options.seed)


def _kills(options: argparse.Namespace, folder: Path) -> None:
    if real := _real(options.wheels, KILLED_BYTES):
        print("\n## Killed\n")
        kills(real, {w.name: told(check_wheel(w).to_dict()) for w in real}, folder, options.kills, options.seed)


def _growth(options: argparse.Namespace, folder: Path) -> None:
    del folder
    print("\n## Growth\n")
    growth([int(word) for word in options.growth.split(",") if word], options.sources.split(","))


def _rejudged(options: argparse.Namespace, folder: Path) -> None:
    del folder
    print("\n## Stored facts, judged anew\n")
    rejudged(options.facts)


def _workers(options: argparse.Namespace, folder: Path) -> None:
    del folder
    if real := _real(options.wheels, options.most_mb * 1e6):
        print("\n## Workers of a cluster\n")
        speed_up(real)


_PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "agreement": _agreement, "projects": _projects, "objects": _objects, "faults": _faults, "kills": _kills,
    "growth": _growth, "rejudged": _rejudged, "workers": _workers,
}  # fmt: skip


if __name__ == "__main__":
    main()
