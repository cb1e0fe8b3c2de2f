"""What one loader does with one module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tls_wheel_guard.platforms import Target

__all__ = ["FreshFit", "Outcome", "Verdict", "VerdictWord"]

VerdictWord = Literal["always", "if-room", "never", "unsafe", "unknown"]


@dataclass(frozen=True, slots=True)
class FreshFit:
    """Whether a module loads into a process that has loaded nothing late yet: of the oldest and of a current version."""

    oldest: bool
    current: bool

    @property
    def both(self) -> bool:
        """Whether it loads into either."""
        return self.oldest and self.current


@dataclass(frozen=True, slots=True)
class Outcome:
    """A loader's answer before it is tied to a target. Fields as in :class:`Verdict`."""

    word: VerdictWord
    taken: int = 0
    error: str | None = None
    takes_at_most: int = 0
    fits_fresh_process: FreshFit | None = None
    room: int | None = None
    used: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the loader of one target does with one module.

    ``verdict``: ``always`` (needs no static TLS), ``if-room`` (takes ``taken`` bytes of the room), ``never``, ``unsafe`` (loads,
    then memory is overwritten, or the loader crashes), ``unknown``. ``error``: the loader's words when it refuses.
    ``takes_at_most``: bytes that descriptors may take without ever failing. ``room``: bytes that the loader keeps for late
    modules, None where that is not known; ``used``: bytes that stand before it at the start.
    """

    target: Target
    loader: str
    outcome: Outcome

    @property
    def verdict(self) -> VerdictWord:
        """The answer in one word."""
        return self.outcome.word

    @property
    def refuses(self) -> bool:
        """Whether a fresh process of this target cannot load the module, or must not."""
        fit = self.outcome.fits_fresh_process
        return self.verdict in ("never", "unsafe") or (fit is not None and not fit.both)
