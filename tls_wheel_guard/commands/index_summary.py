"""A run over an index -> what it has found, by project and by culprit."""

from __future__ import annotations

from collections.abc import Mapping

from tls_wheel_guard.commands.index import IndexRun
from tls_wheel_guard.index.summary import CulpritRow, IndexSummary, ProjectRow, WorseRow

__all__ = ["summary_of"]


def summary_of(done: IndexRun, downloads: Mapping[str, int]) -> IndexSummary:
    """What a run has found, by project and by culprit. ``downloads``: of each project, for the order."""
    projects: dict[tuple[str, str], _Tally] = {}
    culprits: dict[str, tuple[set[str], set[str]]] = {}
    for project, version, filename, rule, severity, system, culprit in done.store.findings(done.run):
        tally = projects.setdefault((project, version), _Tally())
        tally.wheels.setdefault(filename, set()).add(severity)
        tally.rules[rule] = None
        tally.systems[system] = None
        if culprit:
            tally.culprits[culprit] = None
            names, wheels = culprits.setdefault(culprit, (set(), set()))
            names.add(project)
            wheels.add(filename)
    rows = [tally.row(project, version, downloads.get(project)) for (project, version), tally in projects.items()]
    order = ("note", "warning", "error")
    rows.sort(key=lambda row: (-order.index(row.worst), -(row.downloads or 0), -row.wheels, row.project))
    ranked = sorted(
        (CulpritRow(name, len(names), len(wheels)) for name, (names, wheels) in culprits.items()), key=lambda row: (-row.projects, row.culprit)
    )
    return IndexSummary(done.source, done.counts, tuple(rows), tuple(ranked), tuple(done.store.failed(done.run)), _worse(done), done.since)


def _worse(done: IndexRun) -> tuple[WorseRow, ...]:
    """Wheels whose worst finding is more severe than in the earlier run, new wheels with findings among them."""
    if done.since is None:
        return ()
    order = (None, "note", "warning", "error")
    before, now = done.store.worst_in(done.since), done.store.worst_in(done.run)
    worse = ((name, before.get(name), worst) for name, worst in now.items() if order.index(worst) > order.index(before.get(name)))
    return tuple(WorseRow(name, was if name in before else "new", str(worst)) for name, was, worst in sorted(worse))


class _Tally:
    """What one release has."""

    def __init__(self) -> None:
        self.wheels: dict[str, set[str]] = {}
        self.rules: dict[str, None] = {}
        self.systems: dict[str, None] = {}
        self.culprits: dict[str, None] = {}

    def row(self, project: str, version: str, downloads: int | None) -> ProjectRow:
        every = set().union(*self.wheels.values())
        worst = next(severity for severity in ("error", "warning", "note") if severity in every)
        return ProjectRow(
            project,
            version,
            worst,
            len(self.wheels),
            tuple(self.rules),
            tuple(sorted(filter(None, self.systems))),
            tuple(self.culprits),
            downloads,
        )
