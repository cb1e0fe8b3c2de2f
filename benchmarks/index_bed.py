"""``index`` over a local server: verdicts beside ``check``, faults, kills, growth. Prints docs/proofs/audit.md.

usage: python -m benchmarks.index_bed [--wheels FOLDER] [--requests N] [--kills N] [--growth N,N,...] [--seed N]

Everything runs on this machine: nginx and a misbehaving server of the tests' own; no package registry is asked for anything.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packaging.utils import canonicalize_name

from tests.support.bad_server import serving
from tests.support.index_server import index_of
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.commands.check import Asked, check_wheel
from tls_wheel_guard.commands.index import IndexOptions, IndexRun, index_run
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.sources import Selection

HOST_RULES = frozenset({"grafted-initial-exec", "needed-initial-exec"})
"""Rules that look at libraries of this machine: an index is judged alike everywhere, so they do not run there."""


def told(entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What an entry says, without what depends on this machine."""
    return [(f["rule"], f["severity"], f["module"], f["message"]) for f in entry["findings"] if f["rule"] not in HOST_RULES]


def run(url: str, **more: Any) -> IndexRun:
    """All wheels of an index."""
    return index_run(IndexOptions(sources=(url,), choice=Selection(latest=0), **more), Config(), Asked())


@contextlib.contextmanager
def served(wheels: list[Path]) -> Iterator[tuple[str, Path]]:
    """An index of some wheels, and the folder of its server."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        with index_of(root, wheels) as url:
            yield url, root


def agreement(wheels: list[Path]) -> None:
    """Verdicts equal to check's; bytes and requests."""
    with served(wheels) as (url, root):
        before = time.process_time(), time.monotonic()
        done = run(url)
        spent = time.process_time() - before[0], time.monotonic() - before[1]
        requests = (root / "access.log").read_text().count("/files/")
        found = {entry["wheel"]: entry for entry in done.store.entries(done.run)}
    differ = [w.name for w in wheels if "error" in found[w.name] or told(check_wheel(w).to_dict()) != told(found[w.name])]
    clean = [w for w in wheels if not found[w.name].get("findings")]
    whole, read = sum(w.stat().st_size for w in wheels), sum(e["bytes_read"] for e in found.values())
    whole_clean, read_clean = sum(w.stat().st_size for w in clean), sum(found[w.name]["bytes_read"] for w in clean)
    print(f"| wheels | {len(wheels)}, {whole / 1e6:,.0f} MB |")
    print(f"| verdicts that differ from `check` | {len(differ)} {', '.join(differ)}|")
    print(f"| clear by their beginnings | {done.counts['clear']} |")
    print(f"| bytes read, all | {read / whole:.1%} |")
    print(f"| bytes read of the {len(clean)} wheels without a finding | {read_clean / whole_clean:.1%} |")
    print(f"| requests a wheel | {requests / len(wheels):.1f} |")
    print(f"| seconds, CPU seconds | {spent[1]:.0f}, {spent[0]:.0f} |")


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


def kills(wheels: list[Path], count: int, seed: int) -> None:
    """SIGKILL of the driver at random moments; the next run ends with the same, and fetches nothing that was stored."""
    rng = random.Random(seed)
    expected = {w.name: told(check_wheel(w).to_dict()) for w in wheels}
    killed = wrong = twice = 0
    with served(wheels) as (url, root):
        for number in range(count):
            store = root / f"store-{number}.sqlite"
            command = [
                sys.executable, "-m", "tls_wheel_guard", "index", url, "--latest", "0", "--no-config", "--fail-on", "never",
                "--store", str(store),
            ]  # fmt: skip
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
                try:
                    driver.wait(rng.uniform(0.3, 6))
                except subprocess.TimeoutExpired:
                    driver.send_signal(signal.SIGKILL)
                    killed += 1
            probe = index_run(IndexOptions(sources=(url,), choice=Selection(latest=0), store=str(store)), Config(), Asked())
            known = probe.counts["known"]
            wrong += sum(told(e) != expected[e["wheel"]] for e in probe.store.entries(probe.run))
            probe.store.close()
            again = index_run(IndexOptions(sources=(url,), choice=Selection(latest=0), store=str(store)), Config(), Asked())
            twice += again.counts["bytes_read"] > 0 or known > len(wheels)
            again.store.close()
    print(f"| drivers started, killed on the way | {count}, {killed} |")
    print(f"| wrong verdicts afterwards, wheels fetched twice that were stored | {wrong}, {twice} |")


_ONE_RUN = """
import json, pathlib, re, sys, time
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.index import IndexOptions, index_run
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.index.sources import Selection
if __name__ == "__main__":
    started = time.monotonic()
    options = IndexOptions(sources=(sys.argv[1],), choice=Selection(latest=0), store=sys.argv[2])
    done = index_run(options, Config(room=int(sys.argv[3])), Asked())
    most = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
    print(json.dumps([time.monotonic() - started, most, done.counts]))
"""


def growth(sizes: list[int]) -> None:
    """Synthetic wheels of a folder: wheels a second, and the memory of the driving process; then judged anew from the store."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            data = (root / "x").with_name("template")
            data.mkdir()
            template = make_wheel(data, {"pkg/a.so": ie(64)}, "cp312-cp312-manylinux_2_28_x86_64").read_bytes()
            (root / "wheels").mkdir()
            for number in range(size):
                # A comment at the end of the archive makes each file another one.
                mark = f"{number:08}".encode()
                path = root / "wheels" / f"p{number}-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
                path.write_bytes(template[:-2] + len(mark).to_bytes(2, "little") + mark)
            for store, config, what in (("s.sqlite", Config(), "read and judged"), ("s.sqlite", Config(room=64), "judged anew")):
                command = [sys.executable, "-c", _ONE_RUN, str(root / "wheels"), str(root / store), str(config.room)]
                said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
                print(f"| {size:,} | {what} | {size / said[0]:,.0f} | {said[1] / 1024:.0f} MB |", flush=True)


def main() -> None:
    """All parts, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="a folder of real wheels")
    parser.add_argument("--most-mb", type=float, default=1e9)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--growth", default="1000,10000")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        made.chmod(0o755)
        small = [make_wheel(made, {"pkg/a.so": ie(64 * n), "pkg/b.py": bytes(200_000 + n)}, name=f"w{n}") for n in range(1, 9)]
        if options.wheels:
            real = sorted(p for p in options.wheels.glob("*.whl") if p.stat().st_size <= options.most_mb * 1e6)
            print("\n## Real wheels\n\n| what | measured |\n|---|---|")
            agreement(real)
            small += [p for p in real if p.stat().st_size < 600_000][:20]
        print("\n## A server that misbehaves\n\n| what | measured |\n|---|---|")
        faults(small, options.requests, options.seed)
    if options.wheels:
        print("\n## Killed\n\n| what | measured |\n|---|---|")
        kills([p for p in sorted(options.wheels.glob("*.whl")) if p.stat().st_size < 3e6], options.kills, options.seed)
    print("\n## Growth\n\n| wheels | what | a second | memory of the driver |\n|---:|---|---:|---:|")
    growth([int(word) for word in options.growth.split(",") if word])
    print(f"\nPeak memory of this program: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB.")


if __name__ == "__main__":
    main()
