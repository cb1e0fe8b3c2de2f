"""JUnit's XML: a test case a wheel; an error or warning is a failure of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # only written, never parsed
from collections.abc import Sequence

from tls_wheel_guard.findings import Finding, Report
from tls_wheel_guard.report.identity import project_of
from tls_wheel_guard.report.paragraph import paragraph
from tls_wheel_guard.report.story import stories_of
from tls_wheel_guard.report.style import Style, printable, shortened

__all__ = ["write"]

MOST_MESSAGE = 300


def write(reports: Sequence[Report], style: Style) -> str:
    """The document as text."""
    del style
    counted = [[f for f in report.findings if f.severity != "note"] for report in reports]
    numbers = {
        "tests": str(len(reports)),
        "failures": str(sum(bool(found) for found in counted)),
        "errors": str(sum(report.error is not None for report in reports)),
    }
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", {"name": "tls-wheel-guard", **numbers, "skipped": "0", "time": "0"})
    for report, found in zip(reports, counted, strict=True):
        case = ET.SubElement(suite, "testcase", classname=printable(project_of(report)), name=printable(report.wheel), time="0")
        if report.error is not None:
            ET.SubElement(case, "error", message=printable(report.error), type="unreadable").text = printable(report.error_hint or "")
        for finding in found:
            _failure(case, report, finding)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True).replace("encoding='us-ascii'", "encoding='utf-8'") + "\n"


def _failure(case: ET.Element, report: Report, finding: Finding) -> None:
    (story,) = stories_of([Report(report.wheel, report.path, report.tags, findings=(finding,))])
    message = printable(shortened(f"{story.severity}: {story.headline}", MOST_MESSAGE))
    ET.SubElement(case, "failure", message=message, type=finding.rule).text = paragraph(story)
