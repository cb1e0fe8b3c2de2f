"""Allowed findings, and notes about allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tls_wheel_guard.config.model import Allow, Config
from tls_wheel_guard.findings import Finding, Hint, Report
from tls_wheel_guard.records import replace
from tls_wheel_guard.rules import RULES


def apply_allows(findings: list[Finding], config: Config) -> tuple[list[Finding], list[Finding]]:
    """Findings that count, and those that the user allows."""
    counted: list[Finding] = []
    allowed: list[Finding] = []
    for finding in findings:
        matching = [allow for allow in config.allow if allow.matches(finding)]
        if matching:
            allowed.append(replace(finding, allowed=matching[0].reason or "no reason given"))
        else:
            counted.append(finding)
    return counted, allowed


def with_allow_notes(reports: Iterable[Report], config: Config) -> list[Report]:
    """The reports of one run; the last that could be read gets a note on each allow that has no reason, or that no input needed."""
    found = list(reports)
    last = next((place for place in reversed(range(len(found))) if found[place].error is None), None)
    if last is None or not config.allow:
        return found
    used = {allow for report in found for finding in report.allowed for allow in config.allow if allow.matches(finding)}
    where = "in this wheel" if len(found) == 1 else f"in {len(found)} files"
    # An input that could not be read may need any of them.
    whole = all(report.error is None for report in found)
    notes = [n for n in _allow_notes(config, used, where) if n.rule not in config.ignore and (whole or n.rule != "unused-allow")]
    found[last] = replace(found[last], findings=(*found[last].findings, *notes))
    return found


def _allow_notes(config: Config, used: set[Allow], where: str) -> Iterator[Finding]:
    for allow in config.allow:
        what = f'allow of {allow.rule} for "{allow.module}"'
        if allow.rule in RULES and allow not in used and allow.rule in config.rules:
            yield Finding(
                "unused-allow",
                "note",
                None,
                (f"the {what} matched nothing {where}.",),
                (Hint("take it out if no wheel needs it"),),
            )
        elif allow in used and not allow.reason:
            yield Finding("unexplained-allow", "note", None, (f"the {what} has no reason.",), (Hint('add reason = "..."'),))
