"""What the rest of the guard sees of the culprits: results only, so that a file without any loads nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tls_wheel_guard.records import dataclass

if TYPE_CHECKING:
    from tls_wheel_guard.culprits.clues import ReachedVariable
    from tls_wheel_guard.culprits.identify import Match
    from tls_wheel_guard.culprits.model import Remedy

__all__ = ["Suspect", "Traced"]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One culprit of a module: a sentence that says who it is and why, and what to do about it, a line each, the best first.

    ``remedies``: those for the build that made the module, in the order in which to try them; none for an interposer, which stays as it is.
    """

    match: Match
    sentence: str
    advice: tuple[str, ...]
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Traced:
    """What the second pass found of one module: its suspects, and what to do where it stands in for the C library's functions.

    ``reached``: the variables that initial-exec reaches.
    """

    suspects: tuple[Suspect, ...] = ()
    interposer: str | None = None
    reached: tuple[ReachedVariable, ...] = ()

    @property
    def sure(self) -> tuple[Suspect, ...]:
        """The suspects that are certain or likely."""
        return tuple(s for s in self.suspects if s.match.confidence != "possible")
