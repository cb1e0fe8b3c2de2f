"""What a run over an index has found: values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from tls_wheel_guard.findings import Severity
from tls_wheel_guard.records import dataclass

__all__ = ["CulpritRow", "FindingRow", "IndexSummary", "ProjectRow", "Rows", "WorseRow"]

R_co = TypeVar("R_co", covariant=True)


class Rows(Protocol[R_co]):
    """Rows that can be counted and gone through again, and need not be in memory: a tuple is one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[R_co]: ...


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """One release with findings. ``worst``: the most severe; ``wheels``: how many have any; ``downloads``: None where they are not given."""

    project: str
    version: str
    worst: Severity
    wheels: int
    rules: tuple[str, ...]
    systems: tuple[str, ...]
    culprits: tuple[str, ...]
    downloads: int | None = None


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding in a wheel, on some systems. ``module``: None where it is about the wheel."""

    filename: str
    rule: str
    severity: Severity
    module: str | None
    systems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CulpritRow:
    """One culprit that is certain or likely, and in how many projects and wheels."""

    culprit: str
    projects: int
    wheels: int


@dataclass(frozen=True, slots=True)
class WorseRow:
    """A wheel that has become worse: the worst severity before (``new`` for a wheel that was not there, None for no finding) and now."""

    wheel: str
    before: str | None
    now: str


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """A run. ``projects``: most severe first; ``culprits``: most projects first; ``failed``: file name and error.

    ``counts``: wheels; of these known, clear, judged; failed; bytes_read, bytes_whole. ``since``: the run that ``worse`` compares with.
    ``worst``: severity -> wheels of which it is the worst finding.
    """

    source: str
    counts: Mapping[str, int]
    seconds: float
    worst: Mapping[str, int]
    projects: Rows[ProjectRow] = ()
    culprits: Rows[CulpritRow] = ()
    failed: Rows[tuple[str, str]] = ()
    worse: Rows[WorseRow] = ()
    since: int | None = None
