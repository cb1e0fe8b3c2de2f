"""What a run over an index has found, as one HTML file of a bounded size, in the style of a check's. Needs jinja2, the extra ``[html]``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from tls_wheel_guard.index.summary import FindingRow, IndexSummary
from tls_wheel_guard.report.html import page
from tls_wheel_guard.report.index import cost, system_word
from tls_wheel_guard.report.style import Style

__all__ = ["Details", "write"]

MOST_PROJECTS, MOST_ROWS = 500, 200
"""Rows of the table of projects, and of every other list."""
MOST_DETAILED, MOST_FINDINGS = 50, 10
"""Projects of which findings are shown one by one, and how many of each."""

Details = Callable[[str, str, int], Sequence[FindingRow]]
"""Project, version and a number -> so many of its findings, the most severe first."""


def write(summary: IndexSummary, details: Details, style: Style) -> str:
    """The page: projects by severity and downloads, culprits, what became worse, what could not be read."""
    projects = [
        (row, details(row.project, row.version, MOST_FINDINGS + 1) if place < MOST_DETAILED else ())
        for place, row in enumerate(islice(summary.projects, MOST_PROJECTS))
    ]
    return page(
        "index.html",
        summary=summary,
        cost=cost(summary),
        projects=projects,
        has_downloads=any(row.downloads is not None for row, _ in projects),
        culprits=list(islice(summary.culprits, MOST_ROWS)),
        worse=list(islice(summary.worse, MOST_ROWS)),
        failed=list(islice(summary.failed, MOST_ROWS)),
        most_findings=MOST_FINDINGS,
        most_detailed=MOST_DETAILED,
        system_word=system_word,
        style=style,
    )
