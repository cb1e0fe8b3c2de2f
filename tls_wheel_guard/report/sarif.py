"""SARIF 2.1.0 (OASIS), within what GitHub's code scanning takes: a location in the repository, 5,000 results, 100 places each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from tls_wheel_guard.findings import Report
from tls_wheel_guard.fix.edit import line_of, line_starts
from tls_wheel_guard.records import replace
from tls_wheel_guard.report.identity import fingerprint
from tls_wheel_guard.report.paragraph import paragraph
from tls_wheel_guard.report.proposed import edits_for, place_of
from tls_wheel_guard.report.story import Story, stories_of
from tls_wheel_guard.report.style import Anchor, Style, printable, shortened
from tls_wheel_guard.rules import RULES
from tls_wheel_guard.version import __version__

__all__ = ["write"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST_RESULTS, MOST_PLACES, MOST_NAME = 5_000, 100, 400
LEVELS = {"error": "error", "warning": "warning", "note": "note"}
NOWHERE = Anchor("pyproject.toml", "pyproject.toml", 1)
"""A result without a location in the repository rejects the whole file; an author's settings stand here, or will."""


def write(reports: Sequence[Report], style: Style) -> str:
    """The log as text: one run, one result for what is the same in the wheels of a release."""
    stories = stories_of(reports, joined=False)
    allowed = stories_of([replace(report, findings=report.allowed) for report in reports], joined=False)
    known = stories_of([replace(report, findings=report.known) for report in reports], joined=False)
    results = [_result(story, style) for story in (*stories, *allowed)]
    results += [{**_result(story, style), "baselineState": "unchanged"} for story in known]
    rules = dict.fromkeys([*RULES, *(result["ruleId"] for result in results)])
    order = {rule: place for place, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = order[result["ruleId"]]
    run = {
        "tool": {"driver": _driver(list(rules), style)},
        "invocations": [_invocation(reports, len(results) - MOST_RESULTS)],
        "columnKind": "unicodeCodePoints",
        "results": results[:MOST_RESULTS],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _driver(rules: Sequence[str], style: Style) -> dict[str, Any]:
    return {"name": "tls-wheel-guard", "semanticVersion": __version__, "rules": [_rule(name, style) for name in rules]}


def _rule(name: str, style: Style) -> dict[str, Any]:
    rule = RULES.get(name)
    summary = rule.summary if rule else f"{name.replace('-', ' ')} in the settings or the build"
    found: dict[str, Any] = {
        "id": name,
        "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": summary},
        "fullDescription": {"text": f"{summary}. Severity: {rule.severity}." if rule else summary},
        "defaultConfiguration": {
            "level": "error" if rule and rule.severity.startswith("error") else "note" if not rule or rule.severity == "note" else "warning"
        },
    }
    text = style.page_text(name) if style.page_text else None
    if text:
        found["help"] = {"text": text, "markdown": text}
    if address := style.pages(name) if style.pages else None:
        found["helpUri"] = address
    return found


def _result(story: Story, style: Style) -> dict[str, Any]:
    finding = story.places[0].finding
    found: dict[str, Any] = {
        "ruleId": story.rule,
        "level": LEVELS[story.severity],
        "message": {"text": paragraph(story)},
        "locations": [_location(story, place_of(story, style) or NOWHERE)],
        "partialFingerprints": {"tlsWheelGuard/v1": fingerprint(story.places[0].report, finding)},
        "properties": {
            "targets": list(dict.fromkeys(tag for place in story.places for tag in place.finding.targets)),
            "wheels": len(story.wheels),
        },
    }
    if fixes := list(_fixes(story, style)):
        found["fixes"] = fixes
    if finding.allowed is not None:
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": printable(finding.allowed)}]
    return found


def _fixes(story: Story, style: Style) -> Iterator[dict[str, Any]]:
    """The edits, a fix each: the author chooses."""
    if style.proposed is None:
        return
    fix = style.proposed.fix
    for edit in edits_for(story, style.proposed):
        text = fix.texts.get(edit.path) or ""
        line, column = fix.place(edit)
        end_line = line_of(text, edit.end)
        end = {"endLine": end_line, "endColumn": edit.end - line_starts(text)[end_line - 1] + 1}
        replacement = {"deletedRegion": {"startLine": line, "startColumn": column, **end}, "insertedContent": {"text": edit.new}}
        artifact = {"uri": quote(style.proposed.prefix + edit.path), "uriBaseId": "%SRCROOT%"}
        doubt = "" if edit.safe else f" (not proved to be safe: {edit.doubt})"
        yield {
            "description": {"text": printable(edit.why + doubt)},
            "artifactChanges": [{"artifactLocation": artifact, "replacements": [replacement]}],
        }


def _location(story: Story, anchor: Anchor) -> dict[str, Any]:
    return {
        "physicalLocation": {"artifactLocation": {"uri": anchor.uri, "uriBaseId": "%SRCROOT%"}, "region": {"startLine": anchor.line}},
        "logicalLocations": list(_places(story)),
    }


def _places(story: Story) -> Iterator[dict[str, Any]]:
    for place in story.places[:MOST_PLACES]:
        member = shortened(printable(place.finding.module or ""), MOST_NAME)
        wheel = printable(place.report.wheel)
        yield {"name": member or wheel, "fullyQualifiedName": f"{wheel}!{member}" if member else wheel, "kind": "module"}


def _invocation(reports: Sequence[Report], left_out: int) -> dict[str, Any]:
    unread = [f"{printable(report.path)}: {printable(report.error)}" for report in reports if report.error is not None]
    said = unread + ([f"{left_out} results more than {MOST_RESULTS} are left out: the least severe"] if left_out > 0 else [])
    found: dict[str, Any] = {"executionSuccessful": not unread}
    if said:
        found["toolExecutionNotifications"] = [{"level": "error", "message": {"text": text}} for text in said]
    return found
