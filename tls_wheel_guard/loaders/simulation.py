"""A simulation: a fold of a loader's steps over a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tls_wheel_guard.loaders import Loader, Step

__all__ = ["Deed", "Simulation", "StepReport"]

Deed = Literal["open", "close", "use"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: what was done to which module, the answer, and the numbers after it."""

    deed: Deed
    module: str
    step: Step
    used: int
    room: int

    def to_dict(self) -> dict[str, Any]:
        """An entry of ``steps``."""
        found: dict[str, Any] = {
            "module": self.module,
            "loads": self.step.loads,
            "taken": self.step.taken,
            "used": self.used,
            "room": self.room,
            "error": self.step.error,
        }
        if self.deed != "open":
            found["event"] = self.deed
        if self.step.unsafe:
            found["unsafe"] = self.step.unsafe
        return found


@dataclass(frozen=True, slots=True)
class Simulation:
    """A loader, the process that it started from, and what each step did."""

    loader: Loader
    start: dict[str, int | None]
    room: int
    steps: tuple[StepReport, ...]

    @property
    def fails(self) -> bool:
        """Whether a step failed, or is unsafe."""
        return any(not report.step.loads or report.step.unsafe for report in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``simulate --format json``."""
        loader = {"name": self.loader.name, "version": self.loader.spelling, "machine": self.loader.machine}
        return {"version": 1, "loader": loader, "start": self.start, "room": self.room, "steps": [report.to_dict() for report in self.steps]}
