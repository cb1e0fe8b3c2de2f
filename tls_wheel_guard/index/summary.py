"""What a run over an index has found: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CulpritRow", "IndexSummary", "ProjectRow", "WorseRow"]


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """One release with findings. ``worst``: the most severe; ``wheels``: how many have any; ``downloads``: None where they are not given."""

    project: str
    version: str
    worst: str
    wheels: int
    rules: tuple[str, ...]
    systems: tuple[str, ...]
    culprits: tuple[str, ...]
    downloads: int | None = None


@dataclass(frozen=True, slots=True)
class CulpritRow:
    """One culprit that is certain or likely, and in how many projects and wheels."""

    culprit: str
    projects: int
    wheels: int


@dataclass(frozen=True, slots=True)
class WorseRow:
    """A wheel that has become worse: the worst severity before (``new`` for a wheel that was not there) and now."""

    wheel: str
    before: str | None
    now: str


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """A run. ``projects``: most severe first; ``culprits``: most projects first; ``failed``: file name and error.

    ``counts``: wheels; of these known, clear, judged; failed; bytes_read, bytes_whole. ``since``: the run that ``worse`` compares with.
    """

    source: str
    counts: Mapping[str, int]
    projects: tuple[ProjectRow, ...] = ()
    culprits: tuple[CulpritRow, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    worse: tuple[WorseRow, ...] = ()
    since: int | None = None
