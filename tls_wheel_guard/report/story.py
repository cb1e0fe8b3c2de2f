"""A finding as a reader meets it: what happens to whom, where, why, what to do. What is the same in many wheels is one story.

Values for every writer for people: text, Markdown, HTML, annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.findings import SEVERITIES, Finding, Report, Severity
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.report.block import Block, blocks_of
from tls_wheel_guard.report.headline import headline, system_name
from tls_wheel_guard.report.identity import culprits_of, import_name, release_of, stem_of, subject_of

if TYPE_CHECKING:
    from tls_wheel_guard.culprits.model import Remedy

__all__ = ["Cause", "Place", "Story", "conditions", "stories_of"]

_NO_BAR = frozenset({"static-tls-overflow", "static-tls-crowding", "local-exec-tls", "unflagged-static-tls", "damaged-repair"})
"""Rules whose numbers are not those of one module in a fresh process."""


@dataclass(frozen=True, slots=True)
class Place:
    """One wheel, or one bare file, and the finding in it."""

    report: Report
    finding: Finding


@dataclass(frozen=True, slots=True)
class Cause:
    """Who brought it in, and what cures that. ``remedies``: the author's, in the order in which to try them; ``notes``: what else to know."""

    name: str
    id: str
    confidence: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    today: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """One finding, in all wheels that have it.

    ``subjects``: what it is about, more than one where several modules of a wheel have the same. ``why``: the finding's own sentence,
    None where the headline says it. ``blocks``: a picture a system. ``cures``: for the author, where no culprit is sure. ``today``: for
    users. ``look``: how to see more. ``accept``: how to allow it.
    """

    rule: str
    severity: Severity
    subjects: tuple[str, ...]
    headline: str
    places: tuple[Place, ...]
    why: str | None
    blocks: tuple[Block, ...]
    causes: tuple[Cause, ...]
    cures: tuple[str, ...]
    today: tuple[str, ...]
    look: tuple[str, ...]
    accept: tuple[str, ...]

    @property
    def wheels(self) -> tuple[Report, ...]:
        """The wheels, each once."""
        return tuple({id(place.report): place.report for place in self.places}.values())

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every verdict behind it, each once."""
        return tuple(dict.fromkeys(v for place in self.places for v in place.finding.verdicts))


def stories_of(reports: Sequence[Report], joined: bool = True) -> tuple[Story, ...]:
    """The findings of a run, the most severe first, and else in the order of the wheels.

    ``joined``: modules of a wheel that differ in nothing but their names are one story.
    """
    groups: dict[tuple[object, ...], list[Place]] = {}
    for report in reports:
        for finding in report.findings:
            groups.setdefault(_key(report, finding), []).append(Place(report, finding))
    found = _joined(groups) if joined else groups.values()
    return tuple(sorted((_story(places) for places in found), key=lambda s: -SEVERITIES.index(s.severity)))


def _key(report: Report, finding: Finding) -> tuple[object, ...]:
    # What is said of a whole wheel is told apart by its targets, else by its words.
    named = () if finding.module is not None else finding.targets or finding.parts
    return finding.rule, release_of(report), stem_of(finding.module), culprits_of(finding), named


def _joined(groups: dict[tuple[object, ...], list[Place]]) -> list[list[Place]]:
    """Groups of one release whose stories differ in the module's name only are one."""
    found: dict[tuple[object, ...], list[Place]] = {}
    for key, places in groups.items():
        rule, release, _, culprits, named = key
        wheels = tuple(dict.fromkeys(id(place.report) for place in places))
        same = tuple((v.target.libc, v.outcome.word, v.refuses) for place in places for v in place.finding.verdicts)
        said = () if culprits or same else places[0].finding.parts
        found.setdefault((rule, release, wheels, culprits, named, same, said), []).extend(places)
    return list(found.values())


def _story(places: list[Place]) -> Story:
    places = sorted(places, key=lambda place: -SEVERITIES.index(place.finding.severity))
    first = places[0]
    finding = first.finding
    subjects = tuple({stem_of(p.finding.module): subject_of(p.finding.module, p.report) for p in reversed(places)}.values())[::-1]
    whole_wheels = len({id(p.report) for p in places}) if finding.module is None else 1
    verdicts = tuple(dict.fromkeys(v for place in places for v in place.finding.verdicts))
    imports = finding.module is not None and import_name(finding.module) is not None and bool(first.report.tags)
    line, whole = headline(finding, subjects, imports, verdicts, whole_wheels)
    causes = _causes(places)
    sure = any(cause.confidence != "possible" for cause in causes)
    cures = () if sure else _hints(places[:1], "cure")
    return Story(
        rule=finding.rule,
        severity=finding.severity,
        subjects=subjects,
        headline=line,
        places=tuple(places),
        why=None if whole else finding.parts[0],
        blocks=() if finding.rule in _NO_BAR else blocks_of(verdicts),
        causes=causes,
        cures=cures,
        today=_today(places, causes),
        look=_hints(places[:1], "look"),
        accept=_hints(places[:1], "accept"),
    )


def _hints(places: Sequence[Place], kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hint.text for place in places for hint in place.finding.hints if hint.kind == kind))


def _today(places: Sequence[Place], causes: Sequence[Cause]) -> tuple[str, ...]:
    """Ways out for users: what is known of the culprit itself, in place of what is known of glibc; where systems differ, with their names."""
    if not _hints(places, "today"):
        return ()
    own = [line for cause in causes for line in cause.today]
    hints = [h for place in places for h in place.finding.hints if h.kind == "today" and not (own and h.libc == "glibc")]
    several = len({hint.libc for hint in hints}) > 1
    said = (f"on {system_name(h.libc)}, {h.text}" if several and h.libc and not h.text.startswith(("on ", "nothing ")) else h.text for h in hints)
    return tuple(dict.fromkeys((*own, *said)))


def _causes(places: Sequence[Place]) -> tuple[Cause, ...]:
    """Each culprit once, the surest first; those that are only possible where none is sure, and then one."""
    found: dict[str, Suspect] = {}
    for place in places:
        for suspect in place.finding.culprits:
            found.setdefault(suspect.match.culprit.id, suspect)
    sure = [suspect for suspect in found.values() if suspect.match.confidence != "possible"]
    return tuple(_cause(suspect) for suspect in sure or list(found.values())[:1])


def _cause(suspect: Suspect) -> Cause:
    match = suspect.match
    # Behind the remedies' own lines the advice says what no remedy does: why no flag helps, that an interposer stays as it is.
    notes = suspect.advice[len(suspect.remedies) :]
    return Cause(
        match.culprit.name + (f" {match.version}" if match.version else ""),
        match.culprit.id,
        match.confidence,
        match.evidence,
        tuple(remedy for remedy in suspect.remedies if "today" not in remedy.builds),
        tuple(remedy.text for remedy in suspect.remedies if "today" in remedy.builds),
        notes,
    )


def conditions(remedy: Remedy) -> str:
    """When a remedy holds, since which version, when not, and how it is known: in brackets, or nothing."""
    said = (("since", remedy.since), ("when", remedy.when), ("not", remedy.cannot))
    known = _KNOWN.get(remedy.status)
    words = [*(f"{word} {text}" for word, text in said if text), *([known] if known else [])]
    return f" ({'; '.join(words)})" if words else ""


_KNOWN = {"read": "as its source says", "not measured": "not tried"}
"""How a remedy is known that was not measured -> words for it."""
