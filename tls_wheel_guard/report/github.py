"""Workflow commands of GitHub Actions: findings as annotations, then the summary line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import text
from tls_wheel_guard.report.style import Style, printable

__all__ = ["write"]

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def _annotations(report: Report) -> Iterator[str]:
    for finding in report.findings:
        where = report.wheel + (f": {finding.module}" if finding.module else "")
        title = _property(printable(f"{finding.rule} in {where}"))
        body = _data(printable(f"{finding.message} hint: {finding.hint}"))
        yield f"::{_COMMANDS[finding.severity]} file={_property(printable(report.path))},title={title}::{body}"


def write(reports: Sequence[Report], style: Style) -> str:
    """One annotation a finding, and the summary."""
    lines = [line for report in reports for line in _annotations(report)]
    return "\n".join([*lines, text.summary(reports, Style(style.width))]) + "\n"
