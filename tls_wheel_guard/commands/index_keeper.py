"""Between the list of an index, the workers and the store: what is to be done, and what came of it. Nothing is kept after it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tls_wheel_guard.commands.index_wheel import Task
from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.rows import PackedRow, key_of
from tls_wheel_guard.index.sources import Listed
from tls_wheel_guard.index.spool import Spool
from tls_wheel_guard.index.store import Seen, Store
from tls_wheel_guard.records import dataclass

__all__ = ["Keeper", "Result"]

WRITE_AT = 50
"""Results that are stored together."""
SEEN_AT = 1000
"""Wheels without a result of their own that are noted together."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a task. ``row`` None: it could not be read, for the reason ``error``; ``again``: its facts do not suffice."""

    wheel: ListedWheel
    row: PackedRow | None = None
    error: str | None = None
    again: bool = False


class Keeper:
    """Stores results in batches and counts them. ``on_done`` gets the wheels that are done and those that are listed so far."""

    def __init__(self, store: Store, run: int, on_done: Callable[[int, int], None]) -> None:
        self._store, self._run, self._on_done = store, run, on_done
        self._rows: list[PackedRow] = []
        self._seen: list[Seen] = []
        self._listed = 0
        self._again = Spool()
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
            known = self._store.known(key) if key is not None else None
            if known is not None and known.judged:
                self.counts["known"] += 1
                self._count(known.clear)
                self._note((wheel.place, wheel.filename, key, None))
            else:
                yield Task(wheel, known.facts if known is not None else None)

    def again(self) -> Iterator[Task]:
        """The wheels whose stored facts say too little for this judgement: they are to be read after all."""
        yield from map(Task, self._again)

    def take(self, done: Result) -> None:
        """Store a result."""
        if done.again:
            self._again.add([done.wheel])
        elif done.row is None:
            self._fail(done.wheel.place, done.wheel.filename, done.error or "")
        else:
            if done.row.facts is not None:
                self.counts["bytes_read"] += done.row.bytes_read
            self._count(done.row.clear)
            self._rows.append(done.row)
            if len(self._rows) >= WRITE_AT:
                self.flush()

    def _fail(self, place: str, name: str, error: str) -> None:
        self.counts["failed"] += 1
        self._note((place, name, None, error))
        self._on_done(self.counts["wheels"] + self.counts["failed"], self._listed)

    def _note(self, seen: Seen) -> None:
        self._seen.append(seen)
        if len(self._seen) >= SEEN_AT:
            self.flush()

    def _count(self, clear: bool) -> None:
        self.counts["wheels"] += 1
        self.counts["clear" if clear else "judged"] += 1
        self._on_done(self.counts["wheels"] + self.counts["failed"], self._listed)

    def flush(self) -> None:
        """Write what waits."""
        self._store.put(self._run, self._rows, self._seen)
        self._rows, self._seen = [], []
