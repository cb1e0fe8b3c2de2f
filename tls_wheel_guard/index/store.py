"""What was read and judged, in one SQLite file: a checkpoint that survives a kill.

One process writes. Each wheel's row is written in a transaction of its own batch, in write-ahead logging, so that a run that is killed
leaves whole rows only, and the next one reads what is missing. Facts are kept apart from verdicts: a newer judgement (another version,
other targets or settings) is computed from the facts, without the network.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from tls_wheel_guard.errors import UnreadableIndex, UsageError
from tls_wheel_guard.index.rows import PackedRow, storable, unpacked
from tls_wheel_guard.records import dataclass

__all__ = ["Known", "Seen", "Store"]

APPLICATION = 0x744C5367
"""PRAGMA application_id: this file is one of ours."""
SCHEMA = 2
"""PRAGMA user_version: the tables below."""
Seen = tuple[str, str, "str | None", "str | None"]
"""A wheel that a run met: place, file name, the key under which it is stored, and why it could not be read. A name may have many places."""

_TABLES = """
CREATE TABLE wheels (
    key TEXT PRIMARY KEY, filename TEXT NOT NULL, project TEXT NOT NULL, version TEXT NOT NULL, size INTEGER, sha256 TEXT, place TEXT,
    uploaded TEXT, read TEXT NOT NULL, bytes_read INTEGER NOT NULL, shape TEXT NOT NULL, facts BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE verdicts (
    key TEXT NOT NULL REFERENCES wheels(key), judgement TEXT NOT NULL, worst TEXT, clear INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (key, judgement)
) WITHOUT ROWID;
CREATE TABLE findings (
    key TEXT NOT NULL, judgement TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL, module TEXT, system TEXT NOT NULL, culprit TEXT
);
CREATE INDEX findings_of ON findings (judgement, key);
CREATE TABLE runs (run INTEGER PRIMARY KEY, source TEXT NOT NULL, judgement TEXT NOT NULL, started TEXT NOT NULL, ended TEXT);
CREATE TABLE run_wheels (
    run INTEGER NOT NULL, place TEXT NOT NULL, filename TEXT NOT NULL, key TEXT, error TEXT, PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE VIEW by_project AS
    SELECT f.judgement, w.project, w.version, f.severity, f.rule, count(DISTINCT f.key) AS wheels
    FROM findings f JOIN wheels w USING (key) GROUP BY f.judgement, w.project, w.version, f.severity, f.rule;
CREATE VIEW by_culprit AS
    SELECT f.judgement, f.culprit, count(DISTINCT w.project) AS projects, count(DISTINCT f.key) AS wheels
    FROM findings f JOIN wheels w USING (key) WHERE f.culprit IS NOT NULL GROUP BY f.judgement, f.culprit;
CREATE VIEW by_system AS
    SELECT judgement, system, severity, count(DISTINCT key) AS wheels FROM findings GROUP BY judgement, system, severity;
CREATE VIEW over_time AS
    SELECT r.run, r.started, count(*) AS wheels, sum(v.worst = 'error') AS errors, sum(v.worst = 'warning') AS warnings,
           sum(rw.error IS NOT NULL) AS unread
    FROM runs r JOIN run_wheels rw USING (run) LEFT JOIN verdicts v ON v.key = rw.key AND v.judgement = r.judgement GROUP BY r.run;
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a wheel. ``judged``: by this judgement; ``facts``: packed, None where it is judged or they are of another shape."""

    judged: bool
    clear: bool
    facts: bytes | None


class Store:
    """An open store; ``:memory:`` for a run that keeps nothing. Raises UsageError and UnreadableIndex."""

    def __init__(self, path: str, shape: str, judgement: str) -> None:
        self._shape, self.judgement = hashlib.sha256(shape.encode()).hexdigest()[:32], judgement
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._prepare()
        except sqlite3.OperationalError as error:
            raise UsageError(f"--store {path}: it can't be opened: {error}", hint="name a file in a folder that can be written") from error
        except sqlite3.DatabaseError as error:
            raise UnreadableIndex(f"--store {path}: it is no store: {error}", hint="name another file; this one is left as it is") from error

    def _prepare(self) -> None:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and application != APPLICATION:
            raise UnreadableIndex(
                f"--store {self.path}: it is a database of another program", hint="name another file; this one is left as it is"
            )
        if not empty and version != SCHEMA:
            raise UnreadableIndex(
                f"--store {self.path}: it is of version {version}, and this program reads version {SCHEMA}",
                hint="name another file; this one is left as it is",
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if empty:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;")

    def begin(self, source: str, now: str) -> int:
        """A new run's number."""
        with self._transaction():
            cursor = self._db.execute("INSERT INTO runs (source, judgement, started) VALUES (?, ?, ?)", (storable(source), self.judgement, now))
        return int(cursor.lastrowid or 0)

    def end(self, run: int, now: str) -> None:
        """The run has ended by itself."""
        with self._transaction():
            self._db.execute("UPDATE runs SET ended = ? WHERE run = ?", (now, run))

    def known(self, key: str) -> Known | None:
        """What is stored of a wheel, None where nothing is."""
        query = (
            "SELECT v.clear, CASE WHEN v.key IS NULL AND w.shape = ? THEN w.facts END"
            " FROM wheels w LEFT JOIN verdicts v ON v.key = w.key AND v.judgement = ? WHERE w.key = ?"
        )
        found = self._db.execute(query, (self._shape, self.judgement, key)).fetchone()
        return None if found is None else Known(found[0] is not None, bool(found[0]), found[1])

    def put(self, run: int, rows: Iterable[PackedRow], seen: Iterable[Seen] = ()) -> None:
        """Store some wheels, and what else this run met; all or nothing."""
        with self._transaction():
            for row in rows:
                self._put(run, row)
            for met in seen:
                self._seen(run, *met)

    def _seen(self, run: int, place: str, filename: str, key: str | None, error: str | None) -> None:
        values = (run, storable(place), storable(filename), key, None if error is None else storable(error))
        self._db.execute("INSERT OR REPLACE INTO run_wheels VALUES (?, ?, ?, ?, ?)", values)

    def _put(self, run: int, row: PackedRow) -> None:
        wheel = row.wheel
        if row.facts is not None:
            values = (
                row.key, wheel.filename, wheel.project, wheel.version, wheel.size, wheel.sha256, wheel.place, wheel.uploaded, row.read,
                row.bytes_read, self._shape, row.facts,
            )  # fmt: skip
            self._db.execute(f"INSERT OR REPLACE INTO wheels VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608  (question marks)
        verdict = (row.key, self.judgement, row.worst, row.clear, row.entry)
        self._db.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", verdict)
        self._db.execute("DELETE FROM findings WHERE key = ? AND judgement = ?", (row.key, self.judgement))
        self._db.executemany(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?)", ((row.key, self.judgement, *finding) for finding in row.findings)
        )
        self._seen(run, wheel.place, wheel.filename, row.key, None)

    def entries(self, run: int) -> Iterator[dict[str, Any]]:
        """The entries of a run's wheels by their file names; those that could not be read have only ``wheel``, ``path`` and ``error``."""
        query = (
            "SELECT rw.filename, rw.error, v.entry FROM run_wheels rw LEFT JOIN verdicts v ON v.key = rw.key AND v.judgement = ?"
            " WHERE rw.run = ? ORDER BY rw.filename, rw.place"
        )
        for filename, error, entry in self._db.execute(query, (self.judgement, run)):
            found = None if entry is None else unpacked(entry)
            if isinstance(found, dict):
                yield found
            else:
                yield {"wheel": filename, "path": filename, "error": error or "its entry in the store is damaged"}

    def run_before(self, run: int, which: str) -> int | None:
        """The run that ``--since`` names: a number, or ``last`` for the newest one before that ended; None where there is none."""
        if which == "last":
            found = self._db.execute("SELECT max(run) FROM runs WHERE run < ? AND ended IS NOT NULL", (run,)).fetchone()[0]
            return None if found is None else int(found)
        known = self._db.execute("SELECT run FROM runs WHERE run = ? AND run < ?", (which, run)).fetchone() if which.isdecimal() else None
        return None if known is None else int(known[0])

    @property
    def db(self) -> sqlite3.Connection:
        """For queries."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """All or nothing."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
