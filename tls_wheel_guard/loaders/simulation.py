"""A simulation: a fold of a loader's steps over a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tls_wheel_guard.loaders.link_map import Close, Event, Given, Open, Step, Use
from tls_wheel_guard.loaders.registry import Loader
from tls_wheel_guard.tls import TlsModule

__all__ = ["Deed", "Simulation", "StepReport", "fold"]

Deed = Literal["open", "close", "use"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: what was done to which module, the answer, and the numbers after it. ``asked``: bytes of the module's TLS segment."""

    deed: Deed
    module: str
    step: Step
    used: int
    room: int
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Simulation:
    """A loader, the process that it started from, and what each step did."""

    loader: Loader[Any]
    start: dict[str, int | None]
    room: int
    steps: tuple[StepReport, ...]

    @property
    def fails(self) -> bool:
        """Whether a step failed, or is unsafe."""
        return any(not report.step.loads or report.step.unsafe for report in self.steps)


def fold(steps: Sequence[tuple[Deed, Sequence[TlsModule]]], given: Given, loader: Loader[Any], state: Any) -> Simulation:
    """What the steps do to a process that starts in ``state``; each is done with all its modules, closing in reverse."""
    start, room = loader.start_numbers(state), state.room
    reports: list[StepReport] = []
    for deed, modules in steps:
        for module in modules if deed == "open" else reversed(modules):
            state, step = loader.step(state, _event(deed, module, given))
            reports.append(StepReport(deed, _named(module), step, state.used, state.room, module.demand.block_size))
    return Simulation(loader, start, room, tuple(reports))


def _event(deed: Deed, module: TlsModule, given: Given) -> Event:
    if deed == "open":
        return Open(module, given)
    return Close(module) if deed == "close" else Use(module)


def _named(module: TlsModule) -> str:
    """A module's name in a report: the file, or the member of a wheel."""
    wheel, colon, member = module.path.partition(".whl:")
    return member if colon and wheel else module.path
