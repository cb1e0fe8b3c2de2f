"""The wheels of an index, a mirror, a store or a lock file -> entries of a report, kept in a store that goes on where it ended."""

from __future__ import annotations

import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.facts import StoredClear, StoredWheel
from tls_wheel_guard.commands.index_keeper import Keeper, Result
from tls_wheel_guard.commands.index_wheel import Task, judge_wheel
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError, bug_of
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.facts import shape_of
from tls_wheel_guard.index.listing import safe_url
from tls_wheel_guard.index.rows import packed_row, unpacked
from tls_wheel_guard.index.schedule import Lost, by_cluster, by_threads
from tls_wheel_guard.index.sources import Listed, Selection, configured_index, list_wheels, locked_wheels
from tls_wheel_guard.index.store import Store
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.version import __version__

__all__ = ["IndexOptions", "IndexRun", "index_run", "judgement_of"]

CLUSTER_FROM = 300
"""Wheels from which processes of this machine are worth their start."""
BATCH = 100
"""Wheels a task of a cluster."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What is asked. ``sources``: addresses and folders; without one the index that pip is configured with. ``store``: None keeps nothing.

    ``screening``: whether wheels are read by ranges where their modules are clear. ``fresh``: whether what is stored is read again.
    ``since``: an earlier run to compare with: its number, or ``last`` where there may be none yet.
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
    ``seconds``: what it took.
    """

    store: Store
    run: int
    source: str
    counts: dict[str, int]
    seconds: float
    since: int | None = None


def index_run(options: IndexOptions, config: Config, asked: Asked, on_done: Callable[[int, int], None] | None = None) -> IndexRun:
    """Read and judge what is asked; raises UnreadableIndex and UsageError where the source itself can't be read.

    ``on_done`` gets the number of wheels that are done and the number that are known so far. The caller closes the store.
    """
    store = Store(options.store or "", shape_of(StoredWheel, StoredClear), judgement_of(config, asked))
    try:
        return _run(options, config, asked, store, on_done or (lambda _done, _known: None))
    except BaseException:
        store.close()
        raise


def _run(options: IndexOptions, config: Config, asked: Asked, store: Store, on_done: Callable[[int, int], None]) -> IndexRun:
    started = time.monotonic()
    connection = _connection(options.jobs)
    sources = options.sources or (() if options.lock else (configured_index(),))
    name = str(options.lock) if options.lock else ", ".join(safe_url(source) for source in sources)
    run = store.begin(name, _now())
    since = None if options.since is None else store.run_before(run, options.since)
    if options.since not in (None, "last") and since is None:
        raise UsageError(f"--since {options.since}: the store has no such run", hint=f"its runs are 1 to {run}, this one; or --since last")
    listed: Iterator[Listed]
    if options.lock:
        listed = locked_wheels(options.lock, sources[0] if sources else None, connection)
    else:
        listed = itertools.chain.from_iterable(list_wheels(source, options.choice, connection, config.bounds) for source in sources)
    keeper = Keeper(store, run, on_done)
    try:
        for tasks in (keeper.tasks(listed, options.fresh), keeper.again()):
            for done in _results(tasks, options, config, asked):
                keeper.take(done)
    finally:
        keeper.flush()
    store.end(run, _now())
    return IndexRun(store, run, name, keeper.counts, time.monotonic() - started, since)


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


def _results(tasks: Iterator[Task], options: IndexOptions, config: Config, asked: Asked) -> Iterator[Result]:
    work = functools.partial(_work, config=config, asked=asked, screening=options.screening, connections=options.jobs)
    first = list(itertools.islice(tasks, CLUSTER_FROM))
    alone = options.scheduler is None and (len(first) < CLUSTER_FROM or options.jobs == 1)
    every = itertools.chain(_emptied(first), tasks)
    if alone:
        yield from by_threads(every, work, options.jobs)
        return
    for done in by_cluster(every, work, address=options.scheduler, workers=options.jobs, batch=BATCH):
        yield Result(done.item.wheel, error=done.why) if isinstance(done, Lost) else done


def _emptied(items: list[Task]) -> Iterator[Task]:
    """The items, each of which is let go."""
    items.reverse()
    while items:
        yield items.pop()


@functools.cache
def _connection(connections: int) -> Connection:
    """One set of connections a process."""
    return Connection(connections)


def _work(tasks: Sequence[Task], *, config: Config, asked: Asked, screening: bool, connections: int) -> list[Result]:
    """Read or judge some wheels; whatever goes wrong with one is its result."""
    done = []
    for task in tasks:
        wheel = task.wheel
        try:
            if task.facts is None:
                found = judge_wheel(task, config, asked, screening, _connection(connections))
            else:
                found = judge_wheel(replace(task, facts=unpacked(task.facts) or ()), config, asked, screening, _connection(connections))
            row = None if found.row is None else packed_row(found.row, known=task.facts is not None)
            done.append(Result(wheel, row, found.error, found.again))
        except TlsWheelGuardError as error:
            done.append(Result(wheel, error=error.line()))
        except Exception as error:
            done.append(Result(wheel, error=bug_of(error).line()))
    return done
