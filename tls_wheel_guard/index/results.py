"""What a run has found, by project and by culprit: queries over the store, whose answers are tables in a temporary file and not in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from tls_wheel_guard.findings import SEVERITIES
from tls_wheel_guard.index.store import Store
from tls_wheel_guard.index.summary import CulpritRow, FindingRow, ProjectRow, WorseRow

__all__ = ["Results"]

R = TypeVar("R")


def _rank(column: str) -> str:
    """SQL: 0 for no severity, else its place among them."""
    cases = " ".join(f"WHEN '{severity}' THEN {place}" for place, severity in enumerate(SEVERITIES, 1))
    return f"CASE {column} {cases} ELSE 0 END"


_TABLES = (
    "DROP TABLE IF EXISTS temp.downloads", "DROP TABLE IF EXISTS temp.details", "DROP TABLE IF EXISTS temp.projects",
    "DROP TABLE IF EXISTS temp.worst_now", "DROP TABLE IF EXISTS temp.worst_before",
    "CREATE TEMP TABLE downloads (project TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
)  # fmt: skip
_DETAILS = f"""
CREATE TEMP TABLE details AS
    SELECT w.project, w.version, rw.filename, f.rule, {_rank("f.severity")} AS rank, f.module, f.system, f.culprit
    FROM run_wheels rw CROSS JOIN wheels w USING (key) JOIN findings f ON f.key = rw.key AND f.judgement = :judgement WHERE rw.run = :run
"""  # noqa: S608  (constants)
_PROJECTS = """
CREATE TEMP TABLE projects AS
    SELECT d.project, d.version, max(d.rank) AS worst, count(DISTINCT d.filename) AS wheels, group_concat(DISTINCT d.rule) AS rules,
           group_concat(DISTINCT d.system) AS systems, group_concat(DISTINCT d.culprit) AS culprits, n.number AS downloads
    FROM details d LEFT JOIN downloads n ON n.project = d.project GROUP BY d.project, d.version
"""
_WORST = f"""
    AS SELECT rw.filename, max({_rank("v.worst")}) AS worst
    FROM run_wheels rw JOIN runs r USING (run) JOIN verdicts v ON v.key = rw.key AND v.judgement = r.judgement WHERE rw.run = :run
    GROUP BY rw.filename ORDER BY rw.filename
"""  # noqa: S608  (constants)
_WORSE = "FROM worst_now n LEFT JOIN worst_before b USING (filename) WHERE n.worst > coalesce(b.worst, 0)"
_BY_PROJECT = "ORDER BY worst DESC, coalesce(downloads, 0) DESC, wheels DESC, project, version"
_BY_CULPRIT = "SELECT culprit, count(DISTINCT project), count(DISTINCT filename) FROM details WHERE culprit IS NOT NULL GROUP BY culprit"


class Rows(Generic[R]):
    """Rows that are made as they are asked for, any number of times."""

    def __init__(self, count: int, rows: Callable[[], Iterable[Any]], make: Callable[..., R]) -> None:
        self._count, self._rows, self._make = count, rows, make

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[R]:
        return (self._make(*row) for row in self._rows())


class Results:
    """The results of one run. ``since``: an earlier run; ``downloads``: project and number, for the order."""

    def __init__(self, store: Store, run: int, since: int | None, downloads: Iterable[tuple[str, int]] = ()) -> None:
        self._db, self._run, self._since = store.db, run, since
        values = {"run": run, "judgement": store.judgement}
        for statement in _TABLES:
            self._db.execute(statement)
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO downloads VALUES (?, ?)", downloads)
        self._db.execute("COMMIT")
        for statement in (_DETAILS, "CREATE INDEX temp.details_of ON details (project, version, rank DESC, filename)", _PROJECTS):
            self._db.execute(statement, values if ":run" in statement else {})
        if since is not None:
            for name, which in (("worst_now", run), ("worst_before", since)):
                self._db.execute(f"CREATE TEMP TABLE {name} {_WORST}", {"run": which})
                self._db.execute(f"CREATE INDEX temp.{name}_of ON {name} (filename)")

    def _count(self, query: str, *values: object) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    @property
    def projects(self) -> Rows[ProjectRow]:
        """Releases with findings: the most severe first, of these the most downloaded, of these those with most wheels."""
        query = f"SELECT project, version, worst, wheels, rules, systems, culprits, downloads FROM projects {_BY_PROJECT}"  # noqa: S608
        return Rows(self._count("SELECT count(*) FROM projects"), lambda: self._db.execute(query), _project)

    @property
    def culprits(self) -> tuple[CulpritRow, ...]:
        """Culprits that are certain or likely, those of most projects first."""
        return tuple(CulpritRow(*row) for row in self._db.execute(f"{_BY_CULPRIT} ORDER BY 2 DESC, 1"))

    @property
    def failed(self) -> Rows[tuple[str, str]]:
        """File names of what could not be read, with the reasons."""
        those = "FROM run_wheels WHERE run = ? AND error IS NOT NULL"
        query = f"SELECT filename, error {those} ORDER BY filename, place"
        count = self._count(f"SELECT count(*) {those}", self._run)
        return Rows(count, lambda: self._db.execute(query, (self._run,)), lambda name, error: (name, error))

    @property
    def worse(self) -> Rows[WorseRow]:
        """Wheels whose worst finding is more severe than in the earlier run, new wheels with findings among them; the most severe first."""
        if self._since is None:
            return Rows(0, tuple, _worse)
        query = f"SELECT n.filename, b.worst, n.worst {_WORSE} ORDER BY n.worst DESC, n.filename"
        return Rows(self._count(f"SELECT count(*) {_WORSE}"), lambda: self._db.execute(query), _worse)

    @property
    def worst(self) -> dict[str, int]:
        """Severity -> wheels of which it is the worst finding."""
        query = "SELECT rank, count(*) FROM (SELECT max(rank) AS rank FROM details GROUP BY project, version, filename) GROUP BY rank"
        found = dict(self._db.execute(query))
        return {severity: found.get(place, 0) for place, severity in enumerate(SEVERITIES, 1)}

    def findings_of(self, project: str, version: str, most: int) -> list[FindingRow]:
        """The first findings of a release, the most severe first, each with all its systems."""
        query = (
            "SELECT filename, rule, rank, module, group_concat(DISTINCT system) FROM details WHERE project = ? AND version = ?"
            " GROUP BY rank, filename, rule, module ORDER BY rank DESC, filename, module, rule LIMIT ?"
        )
        return [
            FindingRow(filename, rule, SEVERITIES[rank - 1], module, _words(systems))
            for filename, rule, rank, module, systems in self._db.execute(query, (project, version, most))
        ]


def _project(
    project: str, version: str, worst: int, wheels: int, rules: str, systems: str, culprits: str | None, number: int | None
) -> ProjectRow:
    return ProjectRow(project, version, SEVERITIES[worst - 1], wheels, _words(rules), _words(systems), _words(culprits), number)


def _words(joined: str | None) -> tuple[str, ...]:
    """The words of a list that SQL joined; names of rules, systems and culprits have no comma."""
    return tuple(sorted(filter(None, (joined or "").split(","))))


def _worse(filename: str, before: int | None, now: int) -> WorseRow:
    return WorseRow(filename, "new" if before is None else SEVERITIES[before - 1] if before else None, SEVERITIES[now - 1])
