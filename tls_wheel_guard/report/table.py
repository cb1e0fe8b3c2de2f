"""The table at the end of a text report: a row a wheel, a column a system."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.report.matrix import Matrix, Word
from tls_wheel_guard.report.style import Colour, Style, printable, shortened
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["table"]

_WORDS: dict[Word, Colour] = {"loads": "green", "if room": "yellow", "fails": "red", "wrong values": "red", "not known": "dim"}
MOST_ROWS = 60
"""Wheels of the table without -v; beyond that those with findings alone."""


def table(matrix: Matrix, style: Style) -> Iterator[str]:
    """A row a wheel, a column a system. Names are cut in the middle so that the words stay in sight."""
    rows = matrix.rows if style.verbosity > 0 or len(matrix.rows) <= MOST_ROWS else [row for row in matrix.rows if row.report.findings]
    widths = [max(len(column), *(len(row.cells.get(column, "")) for row in rows)) for column in matrix.columns]
    heading, names = _names([printable(row.report.wheel) for row in rows])
    most = max(16, style.width - sum(width + 2 for width in widths))
    first = min(most, max(len(name) for name in (heading, *names)))
    headings = "".join(f"  {column:{width}}" for column, width in zip(matrix.columns, widths, strict=True))
    yield style.paint(f"{shortened(heading, first):{first}}{headings}".rstrip(), "bold")
    for name, row in zip(names, rows, strict=True):
        cells = (_cell(row.cells.get(column), width, style) for column, width in zip(matrix.columns, widths, strict=True))
        yield f"{shortened(name, first):{first}}{''.join(cells)}".rstrip()

    if hidden := len(matrix.rows) - len(rows):
        yield f"and {count_of(hidden, 'wheel')} without a finding"


def _names(wheels: list[str]) -> tuple[str, list[str]]:
    """The heading of the first column and a name a row: what all wheels begin with, project and version, stands in the heading only."""
    start = "-".join(wheels[0].split("-")[:2]) + "-"
    if len(wheels) > 1 and all(name.startswith(start) and name.endswith(".whl") for name in wheels):
        return f"{start}...", [name[len(start) : -len(".whl")] for name in wheels]
    return "wheel", wheels


def _cell(word: Word | None, width: int, style: Style) -> str:
    return "  " + (style.paint(word, _WORDS[word]) + " " * (width - len(word)) if word else "-".ljust(width))
