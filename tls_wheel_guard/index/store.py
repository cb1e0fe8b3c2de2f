"""What was read and judged, in one SQLite file: a checkpoint that survives a kill.

One process writes. Each wheel's row is written in a transaction of its own batch, in write-ahead logging, so that a run that is killed
leaves whole rows only, and the next one reads what is missing. Facts are kept apart from verdicts: a newer judgement (another version,
other targets or settings) is computed from the facts, without the network.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tls_wheel_guard.errors import UnreadableIndex, UsageError
from tls_wheel_guard.index.listing import ListedWheel

__all__ = ["Row", "Store", "key_of"]

APPLICATION = 0x744C5367
"""PRAGMA application_id: this file is one of ours."""
SCHEMA = 1
"""PRAGMA user_version: the tables below."""
MAX_FACTS = 256 << 20
"""Bytes that the facts of one wheel may become."""

_TABLES = """
CREATE TABLE wheels (
    key TEXT PRIMARY KEY, filename TEXT NOT NULL, project TEXT NOT NULL, version TEXT NOT NULL, size INTEGER, sha256 TEXT, place TEXT,
    uploaded TEXT, read TEXT NOT NULL, bytes_read INTEGER NOT NULL, shape TEXT NOT NULL, facts BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE verdicts (
    key TEXT NOT NULL REFERENCES wheels(key), judgement TEXT NOT NULL, worst TEXT, entry BLOB NOT NULL, PRIMARY KEY (key, judgement)
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
class Row:
    """What is stored of one wheel: what was read, the facts as JSON values, and the entry of the report by one judgement."""

    key: str
    wheel: ListedWheel
    read: str
    bytes_read: int
    facts: Any
    entry: dict[str, Any]


def key_of(wheel: ListedWheel, version: str | None = None) -> str:
    """What a wheel is known by: its sha256, else its place, size, and time of writing or what the server calls its version."""
    return wheel.sha256 or f"{wheel.place}|{wheel.size}|{version or wheel.stamp or ''}"


class Store:
    """An open store; ``:memory:`` for a run that keeps nothing. Raises UsageError and UnreadableIndex."""

    def __init__(self, path: str, shape: str, judgement: str) -> None:
        self._shape, self.judgement = shape, judgement
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
            cursor = self._db.execute("INSERT INTO runs (source, judgement, started) VALUES (?, ?, ?)", (source, self.judgement, now))
        return int(cursor.lastrowid or 0)

    def end(self, run: int, now: str) -> None:
        """The run has ended by itself."""
        with self._transaction():
            self._db.execute("UPDATE runs SET ended = ? WHERE run = ?", (now, run))

    def facts_of(self, key: str) -> Any | None:
        """The facts of a wheel as JSON values; None where they are not there, or of another shape."""
        found = self._db.execute("SELECT facts FROM wheels WHERE key = ? AND shape = ?", (key, self._shape)).fetchone()
        return None if found is None else _unpacked(found[0])

    def entry_of(self, key: str, judgement: str | None = None) -> dict[str, Any] | None:
        """The entry of a wheel by a judgement (this one's without); None where it was not judged so."""
        found = self._db.execute("SELECT entry FROM verdicts WHERE key = ? AND judgement = ?", (key, judgement or self.judgement)).fetchone()
        entry = None if found is None else _unpacked(found[0])
        return entry if isinstance(entry, dict) else None

    def put(self, run: int, rows: Iterable[Row]) -> None:
        """Store some wheels, all or none."""
        with self._transaction():
            for row in rows:
                self._put(run, row)

    def seen(self, run: int, place: str, filename: str, key: str | None, error: str | None = None) -> None:
        """This run met a wheel at a place: it is stored under ``key``, or could not be read. One name may stand in several places."""
        self._db.execute("INSERT OR REPLACE INTO run_wheels VALUES (?, ?, ?, ?, ?)", (run, place, filename, key, error))

    def _put(self, run: int, row: Row) -> None:
        wheel = row.wheel
        values = (
            row.key, wheel.filename, wheel.project, wheel.version, wheel.size, wheel.sha256, wheel.place, wheel.uploaded, row.read,
            row.bytes_read, self._shape, _packed(row.facts),
        )  # fmt: skip
        self._db.execute(f"INSERT OR REPLACE INTO wheels VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608  (question marks)
        self._verdict(row.key, row.entry)
        self.seen(run, wheel.place, wheel.filename, row.key)

    def _verdict(self, key: str, entry: dict[str, Any]) -> None:
        systems = {target["tag"]: target["libc"] for target in entry["targets"]}
        order = ("note", "warning", "error")
        worst = max((f["severity"] for f in entry["findings"]), key=order.index, default=None)
        self._db.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", (key, self.judgement, worst, _packed(entry)))
        self._db.execute("DELETE FROM findings WHERE key = ? AND judgement = ?", (key, self.judgement))
        for finding in entry["findings"]:
            culprits = [culprit["id"] for culprit in finding["culprits"] if culprit["confidence"] != "possible"] or [None]
            for system in sorted({systems.get(tag, "") for tag in finding["targets"]}) or [""]:
                for culprit in culprits:
                    row = (key, self.judgement, finding["rule"], finding["severity"], finding["module"], system, culprit)
                    self._db.execute("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def entries(self, run: int) -> Iterator[dict[str, Any]]:
        """The entries of a run's wheels by their file names; those that could not be read have only ``wheel``, ``path`` and ``error``."""
        query = (
            "SELECT rw.filename, rw.error, v.entry FROM run_wheels rw LEFT JOIN verdicts v ON v.key = rw.key AND v.judgement = ?"
            " WHERE rw.run = ? ORDER BY rw.filename, rw.place"
        )
        for filename, error, entry in self._db.execute(query, (self.judgement, run)):
            found = None if entry is None else _unpacked(entry)
            if isinstance(found, dict):
                yield found
            else:
                yield {"wheel": filename, "path": filename, "error": error or "its entry in the store is damaged"}

    def failed(self, run: int) -> list[tuple[str, str]]:
        """File names of what a run could not read, with the reasons."""
        return self._db.execute("SELECT filename, error FROM run_wheels WHERE run = ? AND error IS NOT NULL ORDER BY filename", (run,)).fetchall()

    def findings(self, run: int) -> Iterator[tuple[str, str, str, str, str, str, str | None]]:
        """A run's findings: project, version, file name, rule, severity, system, culprit (None where it is not known)."""
        query = (
            "SELECT w.project, w.version, w.filename, f.rule, f.severity, f.system, f.culprit FROM run_wheels rw JOIN wheels w USING (key)"
            " JOIN findings f ON f.key = rw.key AND f.judgement = ? WHERE rw.run = ? ORDER BY w.project, w.version, w.filename"
        )
        yield from self._db.execute(query, (self.judgement, run))

    def run_before(self, run: int, which: str) -> int | None:
        """The run that ``--since`` names: a number, or ``last`` for the newest one before that ended; None where there is none."""
        if which == "last":
            found = self._db.execute("SELECT max(run) FROM runs WHERE run < ? AND ended IS NOT NULL", (run,)).fetchone()[0]
            return None if found is None else int(found)
        known = self._db.execute("SELECT run FROM runs WHERE run = ? AND run < ?", (which, run)).fetchone() if which.isdecimal() else None
        return None if known is None else int(known[0])

    def worst_in(self, run: int) -> dict[str, str | None]:
        """File name -> the worst severity among its findings in a run; wheels that could not be read are left out."""
        rows = self._db.execute(
            "SELECT rw.filename, v.worst FROM run_wheels rw JOIN runs r USING (run)"
            " JOIN verdicts v ON v.key = rw.key AND v.judgement = r.judgement WHERE rw.run = ?",
            (run,),
        )
        order = (None, "note", "warning", "error")
        found: dict[str, str | None] = {}
        for filename, worst in rows:
            found[filename] = max(found.get(filename), worst, key=order.index)
        return found

    def export(self, path: Path) -> int:
        """Write a row for each finding of this judgement to a parquet file; how many. Raises UsageError."""
        try:
            import pyarrow as pa  # noqa: PLC0415  (only an export needs it)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("--export needs pyarrow", hint="pip install pyarrow") from error
        names = ("project", "version", "filename", "sha256", "uploaded", "rule", "severity", "module", "system", "culprit")
        query = (
            "SELECT w.project, w.version, w.filename, w.sha256, w.uploaded, f.rule, f.severity, f.module, f.system, f.culprit"
            " FROM wheels w JOIN verdicts v USING (key) LEFT JOIN findings f ON f.key = v.key AND f.judgement = v.judgement"
            " WHERE v.judgement = ? ORDER BY w.project, w.version, w.filename"
        )
        rows = self._db.execute(query, (self.judgement,)).fetchall()
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            pq.write_table(table, unfinished)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise UsageError(f"{path}: it can't be written: {error.strerror or error}", hint="name a file in a folder that exists") from error
        return len(rows)

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


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 6)


def _unpacked(data: bytes) -> Any:
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(data, MAX_FACTS)
        return json.loads(text) if inflater.eof else None
    except (zlib.error, ValueError, RecursionError, TypeError):
        return None
