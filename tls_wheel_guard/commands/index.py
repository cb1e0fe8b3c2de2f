"""The wheels of an index, a mirror, a store or a lock file -> entries of a report, kept in a store that goes on where it ended."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.facts import StoredClear, StoredWheel
from tls_wheel_guard.commands.index_wheel import Done, Task, judge_wheel
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import TlsWheelGuardError, UnreadableIndex, UsageError, bug_of
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.facts import shape_of
from tls_wheel_guard.index.listing import safe_url
from tls_wheel_guard.index.schedule import Lost, by_cluster, by_threads
from tls_wheel_guard.index.sources import Listed, Selection, configured_index, list_wheels, locked_wheels
from tls_wheel_guard.index.store import Row, Store, key_of
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.version import __version__

__all__ = ["IndexOptions", "IndexRun", "index_run", "judgement_of"]

CLUSTER_FROM = 300
"""Number of wheels from which worker processes on this machine pay for their start."""
BATCH = 100
"""Wheels in one task of a cluster."""
WRITE_AT = 50
"""Results that are stored together."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What is asked. ``sources``: addresses and folders; without one the index that pip is configured with. ``store``: None keeps nothing.

    ``screening``: whether wheels are read by ranges where their modules are clear. ``fresh``: whether what is stored is read again.
    ``since``: an earlier run to compare with, ``last`` or its number.
    """

    sources: tuple[str, ...] = ()
    lock: Path | None = None
    choice: Selection = Selection()
    jobs: int = 2
    scheduler: str | None = None
    store: str | None = None
    fresh: bool = False
    screening: bool = True
    since: str | None = None


@dataclass(slots=True)
class IndexRun:
    """A run that has ended. Its entries stand in ``store`` under ``run``; ``since``: the earlier run to compare with, None without.

    ``counts``: wheels; of these ``known`` from the store, ``clear`` and ``judged``; ``failed``: could not be read; bytes.
    """

    store: Store
    run: int
    source: str
    counts: dict[str, int]
    since: int | None = None


def index_run(options: IndexOptions, config: Config, asked: Asked, on_done: Callable[[int, int], None] | None = None) -> IndexRun:
    """Read and judge what is asked; raises UnreadableIndex and UsageError where the source itself can't be read.

    ``on_done`` gets the number of wheels that are done and the number that are known so far. The caller closes the store.
    """
    store = Store(options.store or ":memory:", shape_of(StoredWheel, StoredClear), judgement_of(config, asked))
    try:
        return _run(options, config, asked, store, on_done or (lambda _done, _known: None))
    except BaseException:
        store.close()
        raise


def _run(options: IndexOptions, config: Config, asked: Asked, store: Store, on_done: Callable[[int, int], None]) -> IndexRun:
    connection = _connection(options.jobs)
    sources = options.sources or (() if options.lock else (configured_index(),))
    name = str(options.lock) if options.lock else ", ".join(safe_url(source) for source in sources)
    run = store.begin(name, _now())
    since = None if options.since is None else store.run_before(run, options.since)
    if options.since is not None and since is None:
        raise UsageError(f"--since {options.since}: the store has no such run", hint="`--since last`, or the number of a run in its table runs")
    listed: Iterator[Listed]
    if options.lock:
        listed = locked_wheels(options.lock, sources[0] if sources else None, connection)
    else:
        listed = itertools.chain.from_iterable(list_wheels(source, options.choice, connection, config.bounds) for source in sources)
    keeper = _Keeper(store, run, on_done)
    for done in _results(keeper.tasks(listed, options.fresh), options, config, asked):
        keeper.take(done)
    # Facts that say too little for this judgement: those wheels are read after all.
    for done in _results(iter(keeper.again), options, config, asked):
        keeper.take(done)
    keeper.flush()
    store.end(run, _now())
    return IndexRun(store, run, name, keeper.counts, since)


def judgement_of(config: Config, asked: Asked) -> str:
    """What decides about verdicts: this version, its rules, models and culprits, the settings. Two runs with the same one agree."""
    digest = hashlib.sha256(__version__.encode())
    for package in ("rules", "culprits", "loaders", "tls"):
        for file in _files(resources.files("tls_wheel_guard").joinpath(package)):
            digest.update(file.read_bytes())
    digest.update(repr((config, asked)).encode())
    return digest.hexdigest()[:32]


def _files(folder: Any) -> Iterator[Any]:
    for child in sorted(folder.iterdir(), key=lambda f: str(f.name)):
        if child.is_dir():
            yield from _files(child)
        elif child.name.endswith((".py", ".toml")):
            yield child


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class _Keeper:
    """Stores results in batches and counts them."""

    def __init__(self, store: Store, run: int, on_done: Callable[[int, int], None]) -> None:
        self._store, self._run, self._on_done = store, run, on_done
        self._rows: list[Row] = []
        self._listed = 0
        self.again: list[Task] = []
        self.counts = dict.fromkeys(("wheels", "known", "clear", "judged", "failed", "bytes_read", "bytes_whole"), 0)

    def tasks(self, listed: Iterator[Listed], fresh: bool) -> Iterator[Task]:
        """What is to be done for the wheels of a list: nothing, where this judgement's entry is stored."""
        for wheel in listed:
            self._listed += 1
            if isinstance(wheel, UnreadableIndex):
                page = wheel.message.partition(": ")[0]
                self._fail(page, page, wheel.line())
                continue
            self.counts["bytes_whole"] += wheel.size or 0
            key = None if fresh else key_of(wheel) if wheel.sha256 or wheel.stamp else None
            entry = self._store.entry_of(key) if key is not None else None
            if entry is not None:
                self.counts["known"] += 1
                self._count(entry)
                self._store.seen(self._run, wheel.place, wheel.filename, key)
            else:
                yield Task(wheel, self._store.facts_of(key) if key is not None else None)

    def take(self, done: Done) -> None:
        """Store a result."""
        if done.again:
            self.again.append(replace(done.task, facts=None))
            return
        if done.row is None:
            self._fail(done.task.wheel.place, done.task.wheel.filename, done.error or "")
            return
        if done.task.facts is None:
            self.counts["bytes_read"] += done.row.bytes_read
        self._count(done.row.entry)
        self._rows.append(done.row)
        if len(self._rows) >= WRITE_AT:
            self.flush()

    def _fail(self, place: str, name: str, error: str) -> None:
        self.counts["failed"] += 1
        self._store.seen(self._run, place, name, None, error)
        self._on_done(self.counts["wheels"] + self.counts["failed"], self._listed)

    def _count(self, entry: dict[str, Any]) -> None:
        self.counts["wheels"] += 1
        self.counts["clear" if _is_clear(entry) else "judged"] += 1
        self._on_done(self.counts["wheels"] + self.counts["failed"], self._listed)

    def flush(self) -> None:
        """Write what waits."""
        self._store.put(self._run, self._rows)
        self._rows = []


def _is_clear(entry: dict[str, Any]) -> bool:
    """Whether all modules of a wheel are clear by their beginnings."""
    return entry["read"] == "ranges" and all(module.get("screening") == "clear" for module in entry["modules"])


def _results(tasks: Iterator[Task], options: IndexOptions, config: Config, asked: Asked) -> Iterator[Done]:
    work = functools.partial(_work, config=config, asked=asked, screening=options.screening, connections=options.jobs)
    first = list(itertools.islice(tasks, CLUSTER_FROM))
    every = itertools.chain(first, tasks)
    if options.scheduler is None and (len(first) < CLUSTER_FROM or options.jobs == 1):
        yield from by_threads(every, work, options.jobs)
        return
    for done in by_cluster(every, work, address=options.scheduler, workers=options.jobs, batch=BATCH):
        yield Done(done.item, error=done.why) if isinstance(done, Lost) else done


@functools.cache
def _connection(connections: int) -> Connection:
    """One set of connections a process."""
    return Connection(connections)


def _work(tasks: Sequence[Task], *, config: Config, asked: Asked, screening: bool, connections: int) -> list[Done]:
    """Read or judge some wheels; whatever goes wrong with one is its result."""
    done = []
    for task in tasks:
        try:
            done.append(judge_wheel(task, config, asked, screening, _connection(connections)))
        except TlsWheelGuardError as error:
            done.append(Done(task, error=error.line()))
        except Exception as error:
            done.append(Done(task, error=bug_of(error).line()))
    return done
