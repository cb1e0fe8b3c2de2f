"""A run over an index -> what it has found, by project and by culprit."""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard.commands.index import IndexRun
from tls_wheel_guard.index.results import Results
from tls_wheel_guard.index.summary import IndexSummary

__all__ = ["results_of", "summary_of"]


def results_of(done: IndexRun, downloads: Iterable[tuple[str, int]] = ()) -> Results:
    """The results of a run. ``downloads``: project and number, for the order."""
    return Results(done.store, done.run, done.since, downloads)


def summary_of(done: IndexRun, found: Results) -> IndexSummary:
    """What a run has found. Its rows are read from the store as they are asked for, so the store must be open."""
    return IndexSummary(
        done.source, done.counts, done.seconds, found.worst, found.projects, found.culprits, found.failed, found.worse, done.since
    )  # fmt: skip
