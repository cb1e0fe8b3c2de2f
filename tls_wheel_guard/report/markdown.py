"""Markdown as GitHub and GitLab show it: for job summaries and pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import text
from tls_wheel_guard.report.matrix import COLUMNS, matrix_of
from tls_wheel_guard.report.story import Story, conditions, stories_of
from tls_wheel_guard.report.style import Style, printable, shortened
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["code", "plain", "write"]

MOST_NAME = 200
MOST_ROWS = 200
MOST_FINDINGS = 200
"""With the two above: a job's summary holds 1 MiB."""


def plain(words: str) -> str:
    """Words that mean nothing in Markdown or HTML, whatever they are. Blanks before them could make them code."""
    kept = printable(words).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#@!])", r"\\\1", kept)


def code(words: str) -> str:
    """Words as code: between more backticks than they hold, and with no bar that would end a table's cell."""
    kept = printable(words).replace("|", "\\|") or " "
    longest = max(map(len, re.findall("`+", kept)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if kept.startswith("`") or kept.endswith("`") else ""
    return f"{fence}{pad}{kept}{pad}{fence}"


def write(reports: Sequence[Report], style: Style) -> str:
    """A heading, the findings, and a table of all wheels that folds."""
    stories = stories_of(reports)
    lines = [f"## tls-wheel-guard: {plain(text.summary(reports, Style()))}", ""]
    for story in stories[:MOST_FINDINGS]:
        lines += [*_finding(story, style), ""]
    if len(stories) > MOST_FINDINGS:
        lines += [f"{count_of(len(stories) - MOST_FINDINGS, 'more finding')}, less severe than these.", ""]
    unread = [f"- {code(report.path)}: {plain(report.error)}" for report in reports if report.error is not None]
    if unread:
        lines += ["**Could not be read**", "", *unread[:MOST_ROWS], ""]
    allowed = [_allowed(report, finding.module, finding.rule, finding.allowed) for report in reports for finding in report.allowed]
    if allowed:
        lines += ["**Allowed**", "", *allowed[:MOST_ROWS], ""]
    return "\n".join([*lines, *_table(reports)]).rstrip() + "\n"


def _allowed(report: Report, module: str | None, rule: str, reason: str | None) -> str:
    return f"- {code(rule)} in {code(shortened(module or report.wheel, MOST_NAME))}: {plain(reason or '')}"


def _finding(story: Story, style: Style) -> Iterator[str]:
    address = style.pages(story.rule) if style.pages else None
    rule = f"[`{story.rule}`]({address})" if address else f"`{story.rule}`"
    yield f"### {story.severity}: {plain(shortened(story.headline, 400))} ({rule})"
    yield ""
    more = len(story.wheels) - 1
    first = story.places[0]
    member = f": {code(shortened(first.finding.module, MOST_NAME))}" if first.finding.module else ""
    wheels = f", and {count_of(more, 'more wheel')}" if more else ""
    yield f"{code(shortened(first.report.wheel, MOST_NAME))}{wheels}{member}"
    yield ""
    for block in story.blocks:
        yield f"- **{COLUMNS.get(block.system, block.system)}**: {plain(block.caption)}"
    if story.why:
        yield f"- **why**: {plain(story.why)}"
    for cause in story.causes:
        yield f"- **cause**: {plain(f'{cause.name} ({cause.confidence}): {cause.evidence[0]}')}"
        for remedy in cause.remedies[:1]:
            yield f"- **for good**: {plain(remedy.text)}{plain(conditions(remedy))}"
        if not cause.remedies:
            yield from (f"- **for good**: {plain(note)}" for note in cause.notes[:1])
    yield from (f"- **for good**: {plain(step)}" for step in story.cures[:1])
    yield from (f"- **today**: {plain(step)}" for step in story.today[:2])
    pages = " or ".join(f"`tls-wheel-guard explain {name}`" for name in ([cause.id for cause in story.causes] or [story.rule]))
    yield f"- **more**: {pages}"


def _table(reports: Sequence[Report]) -> Iterator[str]:
    matrix = matrix_of(reports)
    if not matrix.rows or not matrix.columns:
        return
    # Those with findings are never left out for those without.
    rows = sorted(matrix.rows, key=lambda row: not row.report.findings)[:MOST_ROWS]
    yield f"<details><summary>{count_of(len(matrix.rows), 'wheel')} by system</summary>"
    yield ""
    yield "| wheel | " + " | ".join(matrix.columns) + " |"
    yield "|---" * (len(matrix.columns) + 1) + "|"
    for row in rows:
        yield f"| {code(shortened(row.report.wheel, MOST_NAME))} | " + " | ".join(row.cells.get(column, "") for column in matrix.columns) + " |"
    if len(matrix.rows) > len(rows):
        yield f"| and {count_of(len(matrix.rows) - len(rows), 'more wheel')} |" + " |" * len(matrix.columns)
    yield ""
    yield "</details>"
