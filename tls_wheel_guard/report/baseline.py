"""A baseline: the findings that a project has today. They are shown as known, and do not fail; new ones and worse ones do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tls_wheel_guard.errors import ConfigError
from tls_wheel_guard.findings import SEVERITIES, Finding, Report, Severity
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.report.identity import culprits_of, project_of, stem_of

__all__ = ["Baseline", "baseline_text", "parse_baseline", "with_known"]

HINT = "`tls-wheel-guard check PATH... --baseline FILE --write-baseline` writes it"
NO_SYSTEM = "any"
"""In place of a system, for what is no loader's verdict."""


@dataclass(frozen=True, slots=True)
class Known:
    """One finding of a baseline: what stays the same from release to release.

    ``systems``: a libc and a machine, such as ``musl x86_64`` -> the severity there. ``culprits``: the ids of those that are sure.
    """

    project: str
    module: str
    rule: str
    systems: Mapping[str, Severity]
    culprits: frozenset[str]

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.project, self.module, self.rule

    def covers(self, other: Known) -> bool:
        """Whether a finding is no more than this: no other system, no higher severity, nobody else who brought it in."""
        if self.key != other.key or not other.culprits <= self.culprits:
            return False
        rank = SEVERITIES.index
        return all(system in self.systems and rank(severity) <= rank(self.systems[system]) for system, severity in other.systems.items())


@dataclass(frozen=True, slots=True)
class Baseline:
    """The findings that are known."""

    known: tuple[Known, ...]

    def covers(self, report: Report, finding: Finding) -> bool:
        """Whether a finding is known."""
        found = _known(report, finding)
        return any(known.covers(found) for known in self.known)


def _known(report: Report, finding: Finding) -> Known:
    systems = dict.fromkeys(f"{v.target.libc} {v.target.machine}" for v in finding.verdicts) or {NO_SYSTEM: None}
    module = stem_of(finding.module) if finding.module != report.path else ""
    return Known(project_of(report), module, finding.rule, dict.fromkeys(systems, finding.severity), frozenset(culprits_of(finding)))


def with_known(reports: Iterable[Report], baseline: Baseline) -> list[Report]:
    """The reports, with what the baseline covers moved from ``findings`` to ``known``."""
    return [_with_known(report, baseline) for report in reports]


def _with_known(report: Report, baseline: Baseline) -> Report:
    known = tuple(finding for finding in report.findings if baseline.covers(report, finding))
    if not known:
        return report
    return replace(report, findings=tuple(f for f in report.findings if f not in known), known=(*report.known, *known))


def baseline_text(reports: Sequence[Report]) -> tuple[str, int]:
    """A baseline of all findings of some reports, the same text for the same findings, and how many entries it has."""
    found: dict[tuple[str, str, str], Known] = {}
    for report in reports:
        for finding in (*report.findings, *report.known):
            new = _known(report, finding)
            found[new.key] = _joined(found[new.key], new) if new.key in found else new
    entries = [_entry(found[key]) for key in sorted(found)]
    return json.dumps({"version": 1, "findings": entries}, indent=2) + "\n", len(entries)


def _joined(first: Known, second: Known) -> Known:
    systems = dict(first.systems)
    for system, severity in second.systems.items():
        systems[system] = max(severity, systems.get(system, severity), key=SEVERITIES.index)
    return replace(first, systems=systems, culprits=first.culprits | second.culprits)


def _entry(known: Known) -> dict[str, Any]:
    systems = {system: known.systems[system] for system in sorted(known.systems)}
    return {"project": known.project, "module": known.module, "rule": known.rule, "systems": systems, "culprits": sorted(known.culprits)}


def parse_baseline(text: str, where: str) -> Baseline:
    """The baseline that a file holds; raises ConfigError with the place."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: it is no JSON document: {error}", hint=HINT) from error
    if not isinstance(document, dict) or document.get("version") != 1 or not isinstance(document.get("findings"), list):
        raise ConfigError(f"{where}: it is no baseline: it has no version 1 and no list of findings", hint=HINT)
    return Baseline(tuple(_parsed(document["findings"], where)))


def _parsed(entries: list[Any], where: str) -> Iterator[Known]:
    for number, entry in enumerate(entries):
        try:
            project, module, rule = (entry[name] for name in ("project", "module", "rule"))
            systems, culprits = dict(entry["systems"]), frozenset(entry["culprits"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: findings[{number}] has no project, module, rule, systems and culprits", hint=HINT) from error
        if not all(isinstance(text, str) for text in (project, module, rule, *systems, *culprits)) or not set(systems.values()) <= set(
            SEVERITIES
        ):
            raise ConfigError(f"{where}: findings[{number}] has a value of a wrong kind", hint=HINT)
        yield Known(project, module, rule, systems, culprits)
