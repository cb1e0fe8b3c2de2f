"""Wheels by systems: what happens where, in one word. Values for the tables of every writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tls_wheel_guard.findings import Report
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.platforms import SYSTEMS
from tls_wheel_guard.records import dataclass

__all__ = ["COLUMNS", "Matrix", "Row", "Word", "matrix_of", "word_of"]

Word = Literal["loads", "if room", "fails", "wrong values", "not known"]
_ORDER: tuple[Word, ...] = ("loads", "not known", "if room", "wrong values", "fails")

COLUMNS: dict[str, str] = {libc: short for libc, (_, short) in SYSTEMS.items() if libc != "unknown"}
"""A libc -> the heading of its column."""

_SILENT = frozenset({"descriptor-clobber", "local-exec-tls"})
"""Rules about code that loads and then reads or writes what is not its own."""
_TOGETHER = frozenset({"static-tls-overflow"})
"""Rules about what no single verdict says."""


@dataclass(frozen=True, slots=True)
class Row:
    """One wheel. ``cells``: a column's heading -> its word; systems that the wheel does not promise are not in it."""

    report: Report
    cells: dict[str, Word]


@dataclass(frozen=True, slots=True)
class Matrix:
    """``columns``: headings, those of the most wheels first. ``rows``: in the order of the reports."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def word_of(verdict: Verdict) -> Word:
    """One verdict in one word."""
    if verdict.verdict == "unsafe":
        return "wrong values"
    if verdict.refuses:
        return "fails"
    return {"always": "loads", "if-room": "if room"}.get(verdict.verdict, "not known")  # type: ignore[return-value]


def matrix_of(reports: Sequence[Report]) -> Matrix:
    """A row for each wheel that could be read, a column for each system that any of them promises."""
    rows = tuple(Row(report, _cells(report)) for report in reports if report.error is None)
    counts: dict[str, int] = {}
    for row in rows:
        for column in row.cells:
            counts[column] = counts.get(column, 0) + 1
    return Matrix(tuple(sorted(counts, key=lambda c: (-counts[c], list(COLUMNS.values()).index(c)))), rows)


def _cells(report: Report) -> dict[str, Word]:
    cells: dict[str, Word] = {}
    _raise(cells, ((v.target.libc, word_of(v)) for module in report.modules for v in module.verdicts))
    libcs = {target.tag: target.libc for target in report.targets}
    for finding in report.findings:
        if finding.rule in _SILENT and finding.severity != "note":
            _raise(cells, ((v.target.libc, "wrong values") for v in finding.verdicts if v.target.tag in finding.targets))
        elif finding.rule in _TOGETHER and finding.severity == "error":
            _raise(cells, ((libcs[tag], "fails") for tag in finding.targets if tag in libcs))
    native = any(module.kind == "shared" for module in report.modules)
    for target in report.targets:
        # Python files alone load everywhere; and a format without static TLS has nothing to judge.
        if target.libc in COLUMNS and (not native or not target.has_static_tls):
            cells.setdefault(COLUMNS[target.libc], "loads")
    return cells


def _raise(cells: dict[str, Word], found: Iterable[tuple[str, Word]]) -> None:
    for libc, word in found:
        if libc in COLUMNS:
            column = COLUMNS[libc]
            cells[column] = max(cells.get(column, "loads"), word, key=_ORDER.index)
