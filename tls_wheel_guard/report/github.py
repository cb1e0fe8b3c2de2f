"""Workflow commands of GitHub Actions: findings as annotations, the most severe first, then the summary line.

GitHub shows ten annotations of each level for a step; the job's summary has them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import text
from tls_wheel_guard.report.paragraph import paragraph
from tls_wheel_guard.report.proposed import place_of
from tls_wheel_guard.report.story import Story, stories_of
from tls_wheel_guard.report.style import Style, printable
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["write"]

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
MOST = 10
"""Annotations of one level that a step shows."""


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def _annotation(story: Story, style: Style) -> str:
    title = _property(printable(f"{story.rule} in {story.places[0].report.wheel}"))
    at = place_of(story, style)
    place = f"file={_property(printable(at.path))},line={at.line}," if at else ""
    return f"::{_COMMANDS[story.severity]} {place}title={title}::{_data(paragraph(story))}"


def _annotations(stories: Sequence[Story], style: Style) -> Iterator[str]:
    for severity in _COMMANDS:
        here = [story for story in stories if story.severity == severity]
        yield from (_annotation(story, style) for story in here[:MOST])
        if len(here) > MOST:
            yield f"{count_of(len(here) - MOST, f'more {severity}')}: the job's summary has all of them"


def write(reports: Sequence[Report], style: Style) -> str:
    """One annotation for what is the same in the wheels of a release, and the summary."""
    return "\n".join([*_annotations(stories_of(reports), style), text.summary(reports, Style(style.width))]) + "\n"
