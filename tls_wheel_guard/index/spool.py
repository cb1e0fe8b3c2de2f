"""Wheels in a temporary file: a list that may be longer than memory."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields

from tls_wheel_guard.index.listing import ListedWheel

__all__ = ["Spool"]

_NAMES = [field.name for field in fields(ListedWheel)]
_COLUMNS = ", ".join(_NAMES)
_PUT = f"INSERT INTO wheels VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608  (question marks)


class Spool:
    """Wheels in a private database of SQLite, of which a few megabytes stay in memory; the rest is a file without a name."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"CREATE TABLE wheels ({_COLUMNS})")
        # One transaction for all: nothing of it outlives the run.
        self._db.execute("BEGIN")

    def add(self, wheels: Iterable[ListedWheel]) -> None:
        """Put some at the end."""
        self._db.executemany(_PUT, map(astuple, wheels))

    def __iter__(self) -> Iterator[ListedWheel]:
        """As they were put."""
        return map(_wheel, self._db.execute(f"SELECT {_COLUMNS} FROM wheels ORDER BY rowid"))  # noqa: S608  (names of fields)

    def by_project(self) -> Iterator[list[ListedWheel]]:
        """The wheels of each project, by its name."""
        rows = map(_wheel, self._db.execute(f"SELECT {_COLUMNS} FROM wheels ORDER BY project, rowid"))  # noqa: S608  (names of fields)
        return (list(some) for _, some in itertools.groupby(rows, lambda wheel: wheel.project))

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()


def _wheel(row: tuple[object, ...]) -> ListedWheel:
    values = dict(zip(_NAMES, row, strict=True))
    return ListedWheel(**{**values, "yanked": bool(values["yanked"])})  # type: ignore[arg-type]
