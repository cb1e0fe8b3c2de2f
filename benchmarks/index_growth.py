"""How time and memory of ``index`` grow: synthetic wheels of a folder and of nginx, judged anew from a store, and workers of a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.markdown import heading, row
from tests.support.clusters import cluster
from tests.support.index_server import index_of, serve_pages
from tests.support.modules import CLEAN, ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.facts import StoredClear, StoredWheel
from tls_wheel_guard.commands.index import judgement_of
from tls_wheel_guard.commands.index_wheel import Task, judge_wheel
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.facts import shape_of
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.rows import Row, packed_row
from tls_wheel_guard.index.store import Store
from tls_wheel_guard.records import replace

__all__ = ["growth", "rejudged", "speed_up"]

A_PROJECT = 100
"""Synthetic wheels of one project."""
ASKS = 20
"""One in so many has initial-exec TLS."""
SIZE = 1000
"""Bytes that an index says of a wheel that is not there."""
TAGS = "cp312-cp312-manylinux_2_28_x86_64"


def _name(number: int) -> str:
    return f"p{number // A_PROJECT}-1.{number % A_PROJECT}-{TAGS}.whl"


def _templates(folder: Path) -> list[bytes]:
    """A wheel of one module with initial-exec TLS, and one of a clean module, which is the more usual one."""
    found = []
    for name, module in (("asks", ie(64)), ("clean", CLEAN)):
        (folder / name).mkdir(parents=True)
        found.append(make_wheel(folder / name, {"pkg/a.so": module}, TAGS).read_bytes())
    return found


def _wheels(folder: Path, count: int) -> list[Path]:
    """Wheels of one small module, which asks in every twentieth; a comment at the end of the archive makes each another file."""
    folder.mkdir()
    asks, clean = _templates(folder.parent / "templates")
    paths = [folder / _name(number) for number in range(count)]
    for number, path in enumerate(paths):
        mark = f"{number:08}".encode()
        path.write_bytes((clean if number % ASKS else asks)[:-2] + len(mark).to_bytes(2, "little") + mark)
    return paths


class Said(NamedTuple):
    """A run in a process of its own: seconds, its peak memory and that of its largest worker (MB), CPU seconds of both, and what it counted."""

    seconds: float
    driver: float
    worker: float
    cpu: float
    counts: dict[str, int]


def growth(sizes: list[int], names: list[str]) -> None:
    """From a folder, from nginx, and judged anew from the store; those sources that are named. CPU is compared: other work may run beside."""
    heading("wheels", "what", "a second", "CPU, ms a wheel", "driver, MB", "largest worker, MB")
    taken: dict[str, list[tuple[int, float]]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as made:
            root = Path(made)
            root.chmod(0o755)
            wheels = _wheels(root / "wheels", size)
            (root / "index").mkdir()
            with index_of(root / "index", wheels) as url:
                for what, source, store, room in (
                    ("folder", str(root / "wheels"), "folder", None), ("folder, judged anew", str(root / "wheels"), "folder", 64),
                    ("nginx", url, "nginx", None), ("nginx, judged anew", url, "nginx", 64), ("nginx, all known", url, "nginx", 64),
                ):  # fmt: skip
                    if store not in names:
                        continue
                    said = _said(source, root / f"{store}.sqlite", room)
                    taken.setdefault(what, []).append((size, said.cpu))
                    cpu = f"{1000 * said.cpu / size:.2f}"
                    row(f"{size:,}", what, f"{size / said.seconds:,.0f}", cpu, f"{said.driver:.0f}", f"{said.worker:.0f}")
    _exponents(taken)


def _exponents(taken: dict[str, list[tuple[int, float]]]) -> None:
    print("\nCPU time grows with the number of wheels to the power of (from the two largest sizes): ", end="")
    said = []
    for what, points in taken.items():
        if len(points) > 1:
            (n, t), (m, u) = points[-2:]
            said.append(f"{what} {math.log(u / t) / math.log(m / n):.2f}")
    print(f"{'; '.join(said)}.", flush=True)


def _said(source: str, store: Path, room: int | None, *more: str) -> Said:
    command = [sys.executable, "-m", "benchmarks.index_runs", source, str(store), str(room or 0), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        worker = 0.0
        while driver.poll() is None:
            time.sleep(0.25)
            worker = max(worker, *(_peak(child) for child in _children(driver.pid)), 0.0)
        seconds, most, cpu, counts = json.loads((driver.stdout.read() if driver.stdout else "").splitlines()[-1])
    return Said(seconds, most, worker, sum(cpu), counts)


def _children(pid: int) -> Iterator[int]:
    """All processes below one."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from _children(child)


def _peak(pid: int) -> float:
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def rejudged(count: int) -> None:
    """Stored facts judged anew: put by the store's own API, listed by the pages of an index, of which no wheel is there."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        root.chmod(0o755)
        started = time.monotonic()
        _fill(root, count)
        with serve_pages(root) as url:
            filled = time.monotonic() - started
            heading("stored facts", "what", "a second", "CPU, ms a wheel", "driver, MB", "largest worker, MB", "bytes read", "store, MB")
            row(f"{count:,}", "put by a script", f"{count / filled:,.0f}", "-", "-", "-", "-", "-")
            for what in ("judged anew", "all known"):
                said = _said(url, root / "store.sqlite", 64)
                size = (root / "store.sqlite").stat().st_size / 1e6
                row(
                    f"{said.counts['wheels']:,}", what, f"{count / said.seconds:,.0f}", f"{1000 * said.cpu / count:.2f}", f"{said.driver:.0f}",
                    f"{said.worker:.0f}", said.counts["bytes_read"], f"{size:,.0f}",
                )  # fmt: skip


def _fill(root: Path, count: int) -> None:
    """A store with ``count`` wheels, and the pages of an index that lists them."""
    asked, config = Asked(), Config()
    judged = [_row(root / f"{place}" / _name(0), data, config, asked) for place, data in enumerate(_templates(root / "templates"))]
    store = Store(str(root / "store.sqlite"), shape_of(StoredWheel, StoredClear), judgement_of(config, asked))
    run = store.begin("put by a script", "then")
    meta = {"api-version": "1.1"}
    pages = root / "simple"
    pages.mkdir()
    names = [f"p{number}" for number in range(math.ceil(count / A_PROJECT))]
    (pages / "index.json").write_text(json.dumps({"meta": meta, "projects": [{"name": name} for name in names]}))
    for place, name in enumerate(names):
        rows, files = [], []
        for number in range(place * A_PROJECT, min((place + 1) * A_PROJECT, count)):
            filename, key = _name(number), hashlib.sha256(str(number).encode()).hexdigest()
            wheel = ListedWheel(filename, name, f"1.{number % A_PROJECT}", url=f"http://127.0.0.1/files/{filename}", size=SIZE, sha256=key)
            of = judged[number % ASKS > 0]
            kind, facts = of.facts
            rows.append(packed_row(replace(of, key=key, wheel=wheel, facts=[kind, [filename, *facts[1:]]])))
            files.append({"filename": filename, "url": f"/files/{filename}", "size": SIZE, "hashes": {"sha256": key}})
        store.put(run, rows)
        (pages / name).mkdir()
        (pages / name / "index.json").write_text(json.dumps({"meta": meta, "name": name, "files": files}))
    store.end(run, "then")
    store.close()


def _row(path: Path, data: bytes, config: Config, asked: Asked) -> Row:
    path.parent.mkdir()
    path.write_bytes(data)
    row = judge_wheel(Task(ListedWheel(path.name, "p0", "1.0", path=str(path))), config, asked, True, Connection(1)).row
    if row is None:
        raise AssertionError(f"{path.name} can't be read")
    return row


def speed_up(wheels: list[Path]) -> None:
    """The same wheels by one, two and four workers of ``dask worker`` on this machine, ten wheels a batch."""
    heading("workers", "wheels", "seconds", "wheels a second", "speed-up", "CPU of the workers, ms a wheel")
    alone = 0.0
    for workers in (1, 2, 4):
        with tempfile.TemporaryDirectory() as made, cluster(workers) as (address, processes):
            folder = Path(made) / "wheels"
            folder.mkdir()
            for wheel in wheels:
                (folder / wheel.name).symlink_to(wheel.absolute())
            # The first run starts the workers and imports what they need.
            _said(str(folder), Path(made) / "first.sqlite", None, address)
            before = sum(_cpu(process.pid) for process in processes[1:])
            said = _said(str(folder), Path(made) / "second.sqlite", None, address)
            cpu = sum(_cpu(process.pid) for process in processes[1:]) - before
        alone = alone or said.seconds
        count = said.counts["wheels"]
        row(workers, count, f"{said.seconds:.1f}", f"{count / said.seconds:.1f}", f"{alone / said.seconds:.2f}", f"{1000 * cpu / count:.0f}")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
