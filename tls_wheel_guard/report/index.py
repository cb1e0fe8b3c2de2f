"""What a run over an index has found: for people, for a page, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tls_wheel_guard.index.summary import IndexSummary, ProjectRow
from tls_wheel_guard.report.style import Colour, Style, printable, shortened, wrap
from tls_wheel_guard.rules.phrases import SYSTEMS, count_of
from tls_wheel_guard.version import __version__

__all__ = ["document_pieces", "markdown", "text"]

MOST_ROWS = 100
"""Rows of a table without -v."""
_COLOURS: dict[str, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}
_SYSTEMS: dict[str, str] = {str(name): words.replace("Linux with ", "").partition(" (")[0] for name, words in SYSTEMS.items()}


def text(summary: IndexSummary, style: Style) -> str:
    """The projects with findings, the culprits, what became worse, what could not be read, and the counts."""
    lines = list(_projects(summary.projects, style)) if style.verbosity >= 0 or summary.projects else []
    if summary.culprits:
        lines += ["", style.paint("who brought it in", "bold")]
        lines += [
            f"  {row.culprit:<16} {count_of(row.projects, 'project')}, {count_of(row.wheels, 'wheel')}" for row in _some(summary.culprits, style)
        ]
    if summary.since is not None:
        lines += ["", style.paint(f"worse than in run {summary.since}", "bold")]
        lines += [f"  {printable(row.wheel)}: {row.before or 'nothing'} -> {row.now}" for row in _some(summary.worse, style)] or ["  nothing"]
    if summary.failed:
        lines += ["", style.paint("could not be read", "bold")]
        for name, error in _some(summary.failed, style):
            lines += wrap(f"{name}: {error}", style.width, "    ", "  ")
    return "\n".join([*lines, *([""] if lines else []), *_counts(summary), ""])


def _some(rows: Sequence[Any], style: Style) -> Sequence[Any]:
    return rows if style.verbosity > 0 else rows[:MOST_ROWS]


def _projects(rows: Sequence[ProjectRow], style: Style) -> Iterator[str]:
    shown = _some(rows, style)
    if not shown:
        return
    width = min(max(len(f"{row.project} {row.version}") for row in shown), max(style.width - 60, 16))
    yield style.paint(f"{'project':{width}}  {'severity':8}  wheels  systems, culprits", "bold")
    for row in shown:
        name = shortened(f"{row.project} {row.version}", width)
        yield f"{name:{width}}  {style.paint(f'{row.worst:8}', _COLOURS[row.worst])}  {row.wheels:>6}  {_about(row)}"
    if len(rows) > len(shown):
        yield f"and {count_of(len(rows) - len(shown), 'project')} more; -v shows them"


def _about(row: ProjectRow) -> str:
    systems = ", ".join(_SYSTEMS.get(system, system) for system in row.systems)
    culprits = f": {', '.join(row.culprits)}" if row.culprits else f": {', '.join(row.rules)}"
    return systems + culprits


def _counts(summary: IndexSummary) -> Iterator[str]:
    counts = summary.counts
    read, whole = counts["bytes_read"], counts["bytes_whole"]
    share = f", {read / 1e6:,.1f} of {whole / 1e6:,.1f} MB read" if whole else ""
    known = f", {counts['known']:,} known from the store" if counts["known"] else ""
    failed = f"; {counts['failed']:,} could not be read" if counts["failed"] else ""
    yield f"{summary.source}: {count_of(counts['wheels'], 'wheel')}, {counts['clear']:,} clear by their beginnings{known}{share}{failed}"


def markdown(summary: IndexSummary) -> str:
    """The same as tables of Markdown."""
    lines = ["| project | severity | wheels | systems | culprits |", "|---|---|---:|---|---|"]
    lines += [
        f"| {_cell(f'{row.project} {row.version}')} | {row.worst} | {row.wheels} | {', '.join(_SYSTEMS.get(s, s) for s in row.systems)} |"
        f" {', '.join(row.culprits) or ', '.join(row.rules)} |"
        for row in summary.projects
    ] or ["| none | | | | |"]
    if summary.worse:
        lines += ["", f"Worse than in run {summary.since}:", ""]
        lines += [f"- {_cell(row.wheel)}: {row.before or 'nothing'} to {row.now}" for row in summary.worse]
    if summary.failed:
        lines += ["", "Could not be read:", ""]
        lines += [f"- {_cell(name)}: {_cell(error)}" for name, error in summary.failed]
    return "\n".join([*lines, "", *map(_cell, _counts(summary)), ""])


def _cell(words: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in printable(words))


def document_pieces(entries: Iterable[Mapping[str, Any]], summary: IndexSummary) -> Iterator[str]:
    """The document of ``index --format json`` in pieces: an index has more entries than fit into memory."""
    head = {"version": 1, "tool": {"name": "tls-wheel-guard", "version": __version__}, "source": summary.source}
    yield json.dumps(head)[:-1] + ', "wheels": [\n'
    for number, entry in enumerate(entries):
        yield (",\n" if number else "") + json.dumps(entry)
    more = {
        **summary.counts,
        "projects": [
            {
                "project": row.project, "version": row.version, "worst": row.worst, "wheels": row.wheels, "rules": list(row.rules),
                "systems": list(row.systems), "culprits": list(row.culprits), "downloads": row.downloads,
            }
            for row in summary.projects
        ],
        "culprits": [{"id": row.culprit, "projects": row.projects, "wheels": row.wheels} for row in summary.culprits],
        "since": summary.since,
        "worse": [{"wheel": row.wheel, "before": row.before, "now": row.now} for row in summary.worse],
    }  # fmt: skip
    yield '\n], "summary": ' + json.dumps(more, indent=1) + "}\n"
