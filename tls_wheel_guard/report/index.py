"""What a run over an index has found: for people, for a page, and for programs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tls_wheel_guard.index.summary import CulpritRow, IndexSummary, ProjectRow, Rows, WorseRow
from tls_wheel_guard.report.markdown import plain
from tls_wheel_guard.report.style import Colour, Style, printable, shortened, wrap
from tls_wheel_guard.rules.phrases import SYSTEMS, count_of
from tls_wheel_guard.version import __version__

__all__ = ["cost", "document_pieces", "markdown", "system_word", "text"]

R = TypeVar("R")

MOST_ROWS = 100
"""Rows of a table without -v."""
MOST_MARKDOWN = 1000
"""Rows of a table of Markdown: a job's summary holds 1 MiB."""
_COLOURS: dict[str, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}
_SYSTEMS: dict[str, str] = {str(name): words.replace("Linux with ", "").partition(" (")[0] for name, words in SYSTEMS.items()}


def system_word(system: str) -> str:
    """A system's name, as short as it is in a table."""
    return _SYSTEMS.get(system, system)


def text(summary: IndexSummary, style: Style) -> str:
    """The projects with findings, the culprits, what became worse, what could not be read, and the counts."""
    return "\n".join([*_parts(summary, style), *_counts(summary), ""])


def _parts(summary: IndexSummary, style: Style) -> Iterator[str]:
    lines = list(_projects(summary.projects, style))
    if len(summary.culprits):
        lines += ["", style.paint("who brought it in", "bold")]
        lines += _listed(summary.culprits, "culprit", style, lambda row: [f"  {printable(row.culprit):<16} {_places(row)}"])
    if summary.since is not None:
        lines += ["", style.paint(f"worse than in run {summary.since}", "bold")]
        lines += _listed(summary.worse, "wheel", style, lambda row: [f"  {printable(row.wheel)}: {_change(row)}"]) or ["  nothing"]
    if len(summary.failed):
        lines += ["", style.paint("could not be read", "bold")]
        lines += _listed(summary.failed, "wheel or page", style, lambda row: wrap(f"{row[0]}: {row[1]}", style.width, "    ", "  "))
    yield from [*lines, *([""] if lines else [])]


def _listed(rows: Rows[R], what: str, style: Style, lines: Callable[[R], list[str]]) -> list[str]:
    """The first rows, all with -v, and how many more there are."""
    shown = [line for row in _some(rows, style) for line in lines(row)]
    more = len(rows) - MOST_ROWS
    return [*shown, f"  and {count_of(more, f'more {what}')}; -v shows them"] if more > 0 and style.verbosity <= 0 else shown


def _places(row: CulpritRow) -> str:
    return f"{count_of(row.projects, 'project')}, {count_of(row.wheels, 'wheel')}"


def _change(row: WorseRow) -> str:
    return f"{row.before or 'nothing'} -> {row.now}"


def _some(rows: Rows[R], style: Style) -> Iterator[R]:
    return iter(rows) if style.verbosity > 0 else itertools.islice(rows, MOST_ROWS)


def _projects(rows: Rows[ProjectRow], style: Style) -> Iterator[str]:
    if not len(rows):
        return
    width = min(max(len(f"{row.project} {row.version}") for row in _some(rows, style)), max(style.width - 60, 16))
    yield style.paint(f"{'project':{width}}  {'severity':8}  wheels  systems, culprits", "bold")
    for row in _some(rows, style):
        name = shortened(printable(f"{row.project} {row.version}"), width)
        yield f"{name:{width}}  {style.paint(f'{row.worst:8}', _COLOURS[row.worst])}  {row.wheels:>6}  {_about(row)}"
    if len(rows) > MOST_ROWS and style.verbosity <= 0:
        yield f"and {count_of(len(rows) - MOST_ROWS, 'more project')}; -v shows them"


def _about(row: ProjectRow) -> str:
    systems = ", ".join(system_word(system) for system in row.systems)
    return printable(f"{systems}: {', '.join(row.culprits or row.rules)}")


def cost(summary: IndexSummary) -> str:
    """Wheels, how they were read, bytes."""
    counts = summary.counts
    read, whole = counts["bytes_read"], counts["bytes_whole"]
    share = f", {read / 1e6:,.1f} of {whole / 1e6:,.1f} MB read" if whole else ""
    known = f", {counts['known']:,} known from the store" if counts["known"] else ""
    failed = f"; {counts['failed']:,} could not be read" if counts["failed"] else ""
    return f"{count_of(counts['wheels'], 'wheel')}, {counts['clear']:,} clear by their beginnings{known}{share}{failed}"


def _counts(summary: IndexSummary) -> Iterator[str]:
    yield printable(f"{summary.source}: {cost(summary)}")


def markdown(summary: IndexSummary) -> str:
    """The same as tables of Markdown."""
    lines = ["| project | severity | wheels | systems | culprits |", "|---|---|---:|---|---|"]
    lines += [
        f"| {plain(f'{row.project} {row.version}')} | {row.worst} | {row.wheels} | {', '.join(map(system_word, row.systems))} |"
        f" {plain(', '.join(row.culprits or row.rules))} |"
        for row in itertools.islice(summary.projects, MOST_MARKDOWN)
    ] or ["| none | | | | |"]
    lines += _rest(summary.projects, "project")
    if len(summary.culprits):
        lines += ["", "| culprit | projects | wheels |", "|---|---:|---:|"]
        lines += [f"| {plain(row.culprit)} | {row.projects} | {row.wheels} |" for row in itertools.islice(summary.culprits, MOST_MARKDOWN)]
    if summary.since is not None:
        worse = [f"- {plain(row.wheel)}: {row.before or 'nothing'} to {row.now}" for row in itertools.islice(summary.worse, MOST_MARKDOWN)]
        lines += ["", f"Worse than in run {summary.since}: {'' if worse else 'nothing.'}".rstrip(), "", *worse, *_rest(summary.worse, "wheel")]
    if len(summary.failed):
        lines += ["", "Could not be read:", ""]
        lines += [f"- {plain(name)}: {plain(error)}" for name, error in itertools.islice(summary.failed, MOST_MARKDOWN)]
        lines += _rest(summary.failed, "wheel or page")
    return "\n".join([*lines, "", *map(plain, _counts(summary)), ""])


def _rest(rows: Rows[Any], what: str) -> list[str]:
    more = len(rows) - MOST_MARKDOWN
    return ["", f"And {count_of(more, f'more {what}')}; `--format json` has them all."] if more > 0 else []


def document_pieces(entries: Iterable[Mapping[str, Any]], summary: IndexSummary) -> Iterator[str]:
    """The document of ``index --format json`` in pieces: an index has more entries than fit into memory."""
    head = {"version": 1, "tool": {"name": "tls-wheel-guard", "version": __version__}, "source": summary.source}
    yield json.dumps(head)[:-1] + ', "wheels": [\n'
    for number, entry in enumerate(entries):
        yield (",\n" if number else "") + json.dumps(entry)
    more = {**summary.counts, "seconds": round(summary.seconds, 3), "worst": dict(summary.worst), "since": summary.since}
    yield '\n], "summary": ' + json.dumps(more)[:-1]
    projects = (
        {
            "project": row.project, "version": row.version, "worst": row.worst, "wheels": row.wheels, "rules": list(row.rules),
            "systems": list(row.systems), "culprits": list(row.culprits), "downloads": row.downloads,
        }
        for row in summary.projects
    )  # fmt: skip
    yield from _array("projects", projects)
    yield from _array("culprits", ({"id": row.culprit, "projects": row.projects, "wheels": row.wheels} for row in summary.culprits))
    yield from _array("worse", ({"wheel": row.wheel, "before": row.before, "now": row.now} for row in summary.worse))
    yield "}}\n"


def _array(name: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield f',\n"{name}": ['
    for number, row in enumerate(rows):
        yield (",\n" if number else "\n") + json.dumps(row)
    yield "]"
