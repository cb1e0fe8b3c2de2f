"""One finding for people: what happens to whom, where, the picture, why, what to do."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Severity
from tls_wheel_guard.report.block import bar
from tls_wheel_guard.report.story import Cause, Story, conditions
from tls_wheel_guard.report.style import SEVERITY_COLOURS, Style, printable, shortened, wrap
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["finding_lines"]

_INDENT = " " * 12
MOST_TODAY = 3
"""Ways out for users that are shown without -v: one a system, for most findings."""
MOST_CAUSES = 3
"""Culprits of one finding that are shown without -v."""


def finding_lines(story: Story, style: Style) -> Iterator[str]:
    """One finding: what happens to whom, where, the picture, why, what to do."""
    tag = style.paint(style.link(f"[{story.rule}]", story.rule), "dim")
    head = wrap(f"{story.severity}: {shortened(story.headline, 400)}", style.width, "  ", "")
    # The rule's name is what a reader wants last: it stands in the headline only where it costs no line.
    beside = len(head) == 1 and len(head[0]) + 3 + len(story.rule) + 2 <= style.width
    head = _painted(head, story.severity, style)
    yield from (*head[:-1], f"{head[-1]}   {tag}" if beside else head[-1])
    yield from _place(story, style)
    for block in story.blocks:
        yield from bar(block, style)
    yield from _why_and_cures(story, style)
    if story.why:
        yield from _labelled("why:", story.why, style)
    for number, step in enumerate(story.today if style.verbosity > 0 else story.today[:MOST_TODAY]):
        yield from _labelled("today:" if number == 0 else "", step, style)
    if style.verbosity > 0:
        from tls_wheel_guard.report.details import details  # noqa: PLC0415  (most runs are without -v)

        yield from details(story, style)
    last = _labelled("more:", _more(story, style), style) if style.verbosity <= 0 and story.severity != "note" else []
    if beside:
        yield from last
    elif last and len(last[-1]) + 3 + len(story.rule) + 2 <= style.width:
        yield from (*last[:-1], f"{last[-1]}   {tag}")
    else:
        yield from (*last, f"  {tag}")


def _why_and_cures(story: Story, style: Style) -> Iterator[str]:
    for cause in story.causes if style.verbosity > 0 else story.causes[:MOST_CAUSES]:
        yield from _cause(cause, style)
    if len(story.causes) > 1:
        yield from _labelled("", f"each of these {len(story.causes)} needs its own cure", style)
    if story.cures:
        if not story.causes and story.look:
            yield from _labelled("cause:", "no library that is known; `show --sites` lists the code", style)
        yield from _labelled("for good:", story.cures[0], style)


def _painted(lines: list[str], severity: Severity, style: Style) -> list[str]:
    """The headline's lines, in bold; the severity in its colour."""
    first = lines[0].removeprefix(f"{severity}:")
    return [
        style.paint(f"{severity}:", SEVERITY_COLOURS[severity], "bold") + style.paint(first, "bold"),
        *(style.paint(line, "bold") for line in lines[1:]),
    ]


def _place(story: Story, style: Style) -> Iterator[str]:
    """Where: the wheel, how many more have it, and the file in it where that costs no line; -v has every place whole."""
    first = story.places[0]
    wheels, modules = len(story.wheels), len(story.subjects)
    path = printable(shortened(first.report.path, 240))
    more = f", and {count_of(wheels - 1, 'more wheel')}" if wheels > 1 else ""
    member = "" if first.finding.module == first.report.path else printable(shortened(first.finding.module or "", 240))
    if modules > 1:
        member += f", and {count_of(modules - 1, 'more module')}"
    if member and len(f"  --> {path}{more}: {member}") <= style.width:
        yield f"  --> {path}{more}: {member}"
    elif len(f"  --> {path}{more}") <= style.width or not more:
        yield f"  --> {path}{more}"
    else:
        yield f"  --> {path}"
        yield f"      {more.removeprefix(', ')}"


def _labelled(label: str, words: str, style: Style) -> list[str]:
    return wrap(words, style.width, _INDENT, f"  {label:10}")


def _cause(cause: Cause, style: Style) -> Iterator[str]:
    name = style.link(cause.name, cause.id)
    lines = _labelled("cause:", f"{cause.name} ({cause.confidence}): {cause.evidence[0]}", style)
    if len(lines) > 1 and style.verbosity <= 0:
        # How it is known can wait: what to type can't.
        lines = _labelled("cause:", f"{cause.name} ({cause.confidence})", style)
    yield from (line.replace(cause.name, name, 1) for line in lines)
    remedies = cause.remedies if style.verbosity > 0 else cause.remedies[:1]
    for number, remedy in enumerate(remedies):
        yield from _labelled("for good:" if number == 0 else "or:", remedy.text + conditions(remedy), style)
    notes = cause.notes if style.verbosity > 0 or not remedies else ()
    for number, note in enumerate(notes):
        yield from _labelled("for good:" if number == 0 and not remedies else "", note, style)


def _more(story: Story, style: Style) -> str:
    """Where the rest stands."""
    pages = [cause.id for cause in story.causes] or [story.rule]
    others = sum(max(0, len(cause.remedies) - 1) for cause in story.causes)
    first = f"tls-wheel-guard explain {' | '.join(pages)}" + (f" ({count_of(others, 'other way')})" if others else "")
    # A build prints its findings without an option to ask for more.
    return "; ".join([first, *(["-v"] if style.verbosity >= 0 else [])])
