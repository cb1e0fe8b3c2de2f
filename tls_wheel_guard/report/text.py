"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tls_wheel_guard.findings import Report, Severity
from tls_wheel_guard.report.block import bar
from tls_wheel_guard.report.facts import facts
from tls_wheel_guard.report.matrix import matrix_of
from tls_wheel_guard.report.story import Cause, Story, conditions, stories_of
from tls_wheel_guard.report.style import Colour, Style, printable, shortened, wrap
from tls_wheel_guard.report.table import table
from tls_wheel_guard.rules.phrases import count_of, describe_target

__all__ = ["finding_lines", "passed", "summary", "write"]

_COLOURS: dict[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}
_FORMATS = {"mach-o": "Mach-O", "pe": "PE", "wasm": "WebAssembly"}
_INDENT = " " * 12
MOST_TODAY = 3
"""Ways out for users that are shown without -v: one a system, for most findings."""
MOST_CAUSES = 3
"""Culprits of one finding that are shown without -v."""


def write(reports: Sequence[Report], style: Style) -> str:
    """The findings, most severe first; then what else is to be said of a wheel, a table of all wheels, and a summary line."""
    lines = list(_judged(reports, style)) if style.judged else [line for report in reports for line in _shown(report, style)]
    if style.verbosity >= 0 or lines:
        lines.append(summary(reports, style))
        if style.proposed is not None and style.proposed.command:
            lines.append(f"`{printable(style.proposed.command)}` shows the edit")
    return "\n".join(lines) + "\n" if lines else ""


def _judged(reports: Sequence[Report], style: Style) -> Iterator[str]:
    stories = stories_of(reports)
    for story in stories:
        yield from finding_lines(story, style)
        yield ""
    if style.verbosity < 0:
        return
    matrix = matrix_of(reports)
    tabled = bool(stories) and (len(matrix.rows) > 1 or len(matrix.columns) > 1)
    for report in reports:
        yield from _wheel(report, style, tabled)
    if tabled:
        yield from table(matrix, style)
        yield ""


def summary(reports: Sequence[Report], style: Style) -> str:
    """Counts of files, modules and findings in one line."""
    counts = {severity: sum(report.count(severity) for report in reports) for severity in _COLOURS}
    words = ", ".join(style.paint(count_of(n, severity), *([_COLOURS[severity]] if n else [])) for severity, n in counts.items())
    modules = sum(len(report.modules) for report in reports)
    trees = sum(report.is_tree for report in reports)
    inputs = [count_of(n, noun) for n, noun in ((len(reports) - trees, "file"), (trees, "folder")) if n] or ["0 files"]
    line = f"{' and '.join(inputs)}, {count_of(modules, 'ELF module')}" + (f": {words}" if style.judged else "")
    allowed = sum(len(report.allowed) for report in reports)
    unread = sum(report.error is not None for report in reports)
    known = sum(len(report.known) for report in reports)
    line += (f"; {allowed} allowed" if allowed else "") + (f"; {known} known" if known else "")
    return line + (f"; {count_of(unread, 'file')} could not be read" if unread else "")


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
        style.paint(f"{severity}:", _COLOURS[severity], "bold") + style.paint(first, "bold"),
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


def _wheel(report: Report, style: Style, tabled: bool) -> Iterator[str]:
    """A wheel's own line, where something is to be said of it that no finding and no table says."""
    if report.error is not None:
        # The edge has said why on stderr, in every format.
        return
    asides = list(_asides(report, style))
    name = style.paint(printable(report.path), "bold")
    clear = not report.findings
    if style.verbosity > 0:
        yield name
        if report.targets:
            yield from wrap("for " + ", ".join(describe_target(t) for t in report.targets), style.width, "      ", "  ")
        for module in report.modules:
            yield from facts(module, style)
        yield from (*asides, "")
    elif asides or (clear and not tabled):
        yield name + (": " + style.paint("ok", "green") + _what([report]) if clear else "")
        yield from asides


def _shown(report: Report, style: Style) -> Iterator[str]:
    """A wheel for `show`."""
    if report.error is not None:
        return
    yield style.paint(printable(report.path), "bold")
    if report.targets:
        yield from wrap("for " + ", ".join(describe_target(t) for t in report.targets), style.width, "      ", "  ")
    for module in report.modules:
        yield from facts(module, style)
    yield from _asides(report, style)
    yield ""


def passed(reports: Sequence[Report]) -> str:
    """One line for files without findings: which, ok, how many modules, for which systems."""
    names = reports[0].wheel if len(reports) == 1 else f"{reports[0].wheel} and {len(reports) - 1} more"
    return printable(f"{names}: ok{_what(reports)}")


def _what(reports: Sequence[Report]) -> str:
    modules = sum(len(report.modules) for report in reports)
    systems = dict.fromkeys(describe_target(target) for report in reports for target in report.targets) if modules else ()
    return f" ({count_of(modules, 'ELF module') if modules else 'no ELF module'}{', for ' if systems else ''}{', '.join(systems)})"


def _asides(report: Report, style: Style) -> Iterator[str]:
    if report.not_applicable:
        formats = ", ".join(f"{count_of(n, f'{_FORMATS[name]} file')}" for name, n in report.not_applicable)
        yield from wrap(f"does not apply to {formats}: those systems have no static TLS block", style.width, "    ", "  ")
    if report.nested:
        names = ", ".join(report.nested[:3]) + (", ..." if len(report.nested) > 3 else "")
        yield from wrap(f"not entered: {count_of(len(report.nested), 'nested archive')} ({names})", style.width, "    ", "  ")
    if report.excluded:
        names = ", ".join(report.excluded[:3]) + (", ..." if len(report.excluded) > 3 else "")
        yield from wrap(f"excluded: {count_of(len(report.excluded), 'ELF file')} ({names})", style.width, "    ", "  ")
    for finding in report.known:
        yield from wrap(f"known: {finding.severity}: {finding.rule} in {finding.module or 'the wheel'}", style.width, "    ", "  ")
    for finding in report.allowed:
        yield from wrap(f"allowed: {finding.rule} in {finding.module or 'the wheel'}: {finding.allowed}", style.width, "    ", "  ")
