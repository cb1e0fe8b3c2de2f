"""Allowed findings, and notes about allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tls_wheel_guard.config.model import Allow, Config
from tls_wheel_guard.findings import Finding, Hint
from tls_wheel_guard.rules import RULES


def apply_allows(findings: list[Finding], config: Config) -> tuple[list[Finding], list[Finding]]:
    """Findings that count, and those that the user allows; notes about allows that explain or match nothing are added."""
    counted: list[Finding] = []
    allowed: list[Finding] = []
    used: set[Allow] = set()
    for finding in findings:
        matching = [allow for allow in config.allow if allow.matches(finding)]
        used.update(matching)
        if matching:
            allowed.append(replace(finding, allowed=matching[0].reason or "no reason given"))
        else:
            counted.append(finding)
    notes = [*_allow_notes(config, used)]
    return counted + [note for note in notes if note.rule not in config.ignore], allowed


def _allow_notes(config: Config, used: set[Allow]) -> Iterator[Finding]:
    for allow in config.allow:
        what = f'allow of {allow.rule} for "{allow.module}"'
        if allow.rule in RULES and allow not in used and allow.rule in config.rules:
            yield Finding(
                "unused-allow",
                "note",
                None,
                (f"the {what} matched nothing in this wheel.",),
                (Hint("take it out if no wheel needs it"),),
            )
        elif allow in used and not allow.reason:
            yield Finding("unexplained-allow", "note", None, (f"the {what} has no reason.",), (Hint('add reason = "..."'),))
