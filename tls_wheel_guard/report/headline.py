"""One line a finding: what happens to whom. The systems come from the verdicts, so that it agrees with every number below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.platforms import Libc
from tls_wheel_guard.rules.phrases import SYSTEMS, count_of

__all__ = ["headline", "joined", "system_name"]


class Verb(NamedTuple):
    """``import`` or ``load``, and the ending of verbs behind the subject: ``s``, or none behind several."""

    word: str
    s: str


def system_name(libc: Libc) -> str:
    """A system by the name that its users know."""
    return "Alpine (musl)" if libc == "musl" else SYSTEMS[libc]


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def headline(finding: Finding, subjects: Sequence[str], is_import: bool, verdicts: Sequence[Verdict], wheels: int = 1) -> tuple[str, bool]:
    """The line, and whether it says all: where it does not, the finding's own sentence stands below it.

    ``verdicts``: those of every wheel with this finding. ``is_import``: Python imports the subjects by their names.
    ``wheels``: how many a finding is about that is about whole wheels.
    """
    subject = joined([*subjects[:2], *([count_of(len(subjects) - 2, "more module")] if len(subjects) > 2 else [])])
    if wheels > 1:
        subject = count_of(wheels, "wheel")
    verb = Verb("import" if is_import else "load", "" if len(subjects) > 1 or wheels > 1 else "s")
    if finding.rule in _OWN and (finding.module is None) == (finding.rule in _WHEELS):
        return f"{subject} {_OWN[finding.rule](verb, _systems(verdicts) or joined(finding.targets))}", finding.rule in _WHOLE
    if any(v.verdict != "always" for v in verdicts):
        return f"{subject} {'; '.join(_clauses(verb, verdicts))}", True
    first = finding.parts[0].rstrip(".")
    return f"{subject}: {first.removeprefix('it ')}", True


def _systems(verdicts: Sequence[Verdict]) -> str:
    return joined(list(dict.fromkeys(system_name(v.target.libc) for v in verdicts)))


_OWN: dict[str, Callable[[Verb, str], str]] = {
    "static-tls-overflow": lambda verb, systems: f"will not {verb.word} on {systems} together with what it needs: there is not enough room",
    "static-tls-crowding": lambda verb, systems: f"{verb.word}{verb.s}, and leave{verb.s} little static TLS to others on {systems}",
    "local-exec-tls": lambda verb, systems: (
        f"{verb.word}{verb.s}, then overwrite{verb.s} memory of other modules{' on ' + systems if systems else ''}"
    ),
    "needed-initial-exec": lambda verb, _: f"need{verb.s} a library from outside the wheel that has initial-exec TLS",
    "damaged-repair": lambda verb, _: f"will not {verb.word}: it was repaired, and another tool has broken it since",
    "foreign-machine": lambda verb, targets: f"hold{verb.s} no module of the machine of {targets}",
    "descriptor-clobber": lambda _, systems: (
        f"may compute wrong values at the first use in each thread{' on ' + systems + ' older than 2.40' if systems else ''}"
    ),
    "unflagged-static-tls": lambda verb, _: f"need{verb.s} static TLS and say{verb.s} nothing of it (no DF_STATIC_TLS)",
}
"""Rules whose findings say more than the verdicts: a verb and the systems -> what happens."""
_WHOLE = frozenset({"unflagged-static-tls", "foreign-machine"})
"""Those whose line says all."""
_WHEELS = frozenset({"foreign-machine"})
"""Those that are about a whole wheel."""


def _fate(verdict: Verdict) -> str:
    fit = verdict.outcome.fits_fresh_process
    if verdict.computes_wrong_values:
        return "wrong"
    if verdict.verdict in ("if-room", "never") and verdict.outcome.fits_start is None and fit is not None and fit.oldest != fit.current:
        return "new" if fit.oldest else "old"
    if verdict.refuses:
        return "unsafe" if verdict.verdict == "unsafe" else "fails"
    return verdict.verdict


def _clauses(verb: Verb, verdicts: Sequence[Verdict]) -> list[str]:
    """The worst first; each system once."""
    fates: dict[Libc, str] = {}
    for verdict in verdicts:
        fate, libc = _fate(verdict), verdict.target.libc
        if libc not in fates or _ORDER.index(fate) < _ORDER.index(fates[libc]):
            fates[libc] = fate
    clauses: list[str] = []
    for fate in _ORDER:
        systems = joined([system_name(libc) for libc, word in fates.items() if word == fate])
        if systems and fate in _SAID:
            first, later = _SAID[fate]
            clauses.append((later if clauses else first).format(verb=verb.word, s=verb.s, es="es" if verb.s else "", systems=systems))
    return clauses


_SAID = {
    "fails": ("will not {verb} on {systems}", "not on {systems}"),
    "old": ("will not {verb} on {systems} of the oldest version promised", "not on {systems} of the oldest version promised"),
    "new": ("will not {verb} on {systems} of a current version", "not on {systems} of a current version"),
    "unsafe": ("{verb}{s} on {systems}, then overwrite{s} memory or crash{es}", "on {systems} it crashes or overwrites memory"),
    "wrong": ("{verb}{s} on {systems}, and may compute wrong values at the first use in each thread", "on {systems} it may compute wrong values"),
    "if-room": ("{verb}{s} on {systems} only while there is room", "on {systems} only while there is room"),
    "unknown": ("can't be judged for {systems}: there is no model of that loader", "not judged for {systems}"),
}
"""A fate -> what a sentence says of its systems when it begins with it, and when it goes on with it."""
_ORDER = ("fails", "old", "new", "unsafe", "wrong", "if-room", "unknown", "always")
