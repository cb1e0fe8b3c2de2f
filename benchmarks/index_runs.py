"""Runs of ``index`` over a local server, for the beds.

usage: python -m benchmarks.index_runs SOURCE STORE ROOM [SCHEDULER]: one run; prints seconds, its peak memory in MB,
CPU seconds (its own and of its workers), and its counts.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tls_wheel_guard.commands.index as module
from tests.support.index_server import index_of
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.index import IndexOptions, IndexRun, index_run
from tls_wheel_guard.commands.index_summary import results_of, summary_of
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.index.sources import Selection
from tls_wheel_guard.report.index import document_pieces

__all__ = ["HOST_RULES", "run", "served", "told"]

HOST_RULES = frozenset({"grafted-initial-exec", "needed-initial-exec"})
"""Rules that look at libraries of this machine: an index is judged alike everywhere, so they do not run there."""


def told(entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What an entry says, without what depends on this machine."""
    return [
        (f["rule"], f["severity"], f["module"], f["message"], f["hint"], tuple((c["id"], c["confidence"]) for c in f["culprits"]))
        for f in entry["findings"]
        if f["rule"] not in HOST_RULES
    ]


def run(url: str, **more: Any) -> IndexRun:
    """All wheels of an index."""
    return index_run(IndexOptions(sources=(url,), choice=Selection(latest=0), **more), Config(), Asked())


@contextlib.contextmanager
def served(wheels: list[Path], settings: str = "") -> Iterator[tuple[str, Path]]:
    """An index of some wheels, and the folder of its server. ``settings``: of nginx."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        with index_of(root, wheels, settings) as url:
            yield url, root


def main() -> None:
    """One run in this process. ROOM 0: as it is by default."""
    source, store, room, *scheduler = sys.argv[1:]
    config = Config(room=int(room)) if int(room) else Config()
    options = IndexOptions(sources=(source,), choice=Selection(latest=0), store=store, scheduler=scheduler[0] if scheduler else None)
    if options.scheduler:
        module.BATCH = 10  # some hundred wheels, and four workers to keep busy
    started = time.monotonic()
    done = index_run(options, config, Asked())
    seconds = time.monotonic() - started
    found = results_of(done)
    for _ in document_pieces(done.store.entries(done.run), summary_of(done, found)):
        pass
    done.store.close()
    below = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time(), below.ru_utime + below.ru_stime
    most = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print(json.dumps([seconds, int(most[1]) / 1024 if most else 0, cpu, done.counts]))


if __name__ == "__main__":
    main()
