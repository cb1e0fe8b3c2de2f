"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report.style import SEVERITY_COLOURS, Style, printable, wrap
from tls_wheel_guard.rules.phrases import count_of, describe_target

__all__ = ["passed", "summary", "write"]

_FORMATS = {"mach-o": "Mach-O", "pe": "PE", "wasm": "WebAssembly"}


def write(reports: Sequence[Report], style: Style) -> str:
    """The findings, most severe first; then what else is to be said of a wheel, a table of all wheels, and a summary line."""
    lines = list(_judged(reports, style)) if style.judged else [line for report in reports for line in _shown(report, style)]
    if style.verbosity >= 0 or lines:
        lines.append(summary(reports, style))
        if style.proposed is not None and style.proposed.command:
            lines.append(f"`{printable(style.proposed.command)}` shows the edit")
    return "\n".join(lines) + "\n" if lines else ""


def _judged(reports: Sequence[Report], style: Style) -> Iterator[str]:
    matrix = None
    if any(report.findings for report in reports):
        # Most releases have none, and their report needs nothing of this.
        from tls_wheel_guard.report.finding_text import finding_lines  # noqa: PLC0415
        from tls_wheel_guard.report.matrix import matrix_of  # noqa: PLC0415
        from tls_wheel_guard.report.story import stories_of  # noqa: PLC0415

        for story in stories_of(reports):
            yield from finding_lines(story, style)
            yield ""
        matrix = matrix_of(reports)
    if style.verbosity < 0:
        return
    tabled = matrix is not None and (len(matrix.rows) > 1 or len(matrix.columns) > 1)
    for report in reports:
        yield from _wheel(report, style, tabled)
    if tabled and matrix is not None:
        from tls_wheel_guard.report.table import table  # noqa: PLC0415

        yield from table(matrix, style)
        yield ""


def summary(reports: Sequence[Report], style: Style) -> str:
    """Counts of files, modules and findings in one line."""
    counts = {severity: sum(report.count(severity) for report in reports) for severity in SEVERITY_COLOURS}
    words = ", ".join(style.paint(count_of(n, severity), *([SEVERITY_COLOURS[severity]] if n else [])) for severity, n in counts.items())
    modules = sum(len(report.modules) for report in reports)
    trees = sum(report.is_tree for report in reports)
    inputs = [count_of(n, noun) for n, noun in ((len(reports) - trees, "file"), (trees, "folder")) if n] or ["0 files"]
    line = f"{' and '.join(inputs)}, {count_of(modules, 'ELF module')}" + (f": {words}" if style.judged else "")
    allowed = sum(len(report.allowed) for report in reports)
    unread = sum(report.error is not None for report in reports)
    known = sum(len(report.known) for report in reports)
    line += (f"; {allowed} allowed" if allowed else "") + (f"; {known} known" if known else "")
    return line + (f"; {count_of(unread, 'file')} could not be read" if unread else "")


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
        yield from _facts(report, style)
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
    yield from _facts(report, style)
    yield from _asides(report, style)
    yield ""


def _facts(report: Report, style: Style) -> Iterator[str]:
    from tls_wheel_guard.report.facts import facts  # noqa: PLC0415  (of `show` and of -v)

    for module in report.modules:
        yield from facts(module, style)


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
