"""A simulation: a fold of a loader's steps over a process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from tls_wheel_guard.loaders.link_map import Close, Event, Given, Open, Step, Use
from tls_wheel_guard.loaders.registry import Loader
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsModule

__all__ = ["Assumed", "Deed", "Simulation", "StepReport", "fold"]

Deed = Literal["open", "global", "close", "use"]
_C_LIBRARY = re.compile(
    r"(ld-linux|ld64|ld-musl|ld-elf|libc|libm|libdl|librt|libpthread|libutil|libresolv|libanl|libnsl|libcrypt|libmvec|libthr|linux-vdso)"
    r"([-.].*)?"
)
"""Libraries of the C library itself: in every process, or without TLS."""


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
class Assumed:
    """What was not given and is taken to be there. ``module``: the first that wants it."""

    kind: Literal["library", "variable"]
    name: str
    module: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """A loader, the process that it started from, and what each step did.

    ``assumed``: libraries and thread-local variables that were not given; what they take of the room is not counted.
    ``order``: the files in an order in which all of them load, where this one fails and another was found; ``works``: what it does.
    """

    loader: Loader[Any]
    start: dict[str, int | None]
    room: int
    steps: tuple[StepReport, ...]
    assumed: tuple[Assumed, ...] = ()
    order: tuple[str, ...] = ()
    works: Simulation | None = None

    @property
    def fails(self) -> bool:
        """Whether a step failed, or is unsafe."""
        return any(not report.step.loads or report.step.unsafe for report in self.steps)


def fold(steps: Sequence[tuple[Deed, Sequence[TlsModule]]], given: Given, loader: Loader[Any], state: Any) -> Simulation:
    """What the steps do to a process that starts in ``state``; each is done with all its modules, closing in reverse.

    Several modules of one step are those of a wheel: one that others of it need comes by its name, as their DT_NEEDED would bring it, so a
    library of that SONAME that is there already is found again.
    """
    start, room = loader.start_numbers(state), state.room
    reports: list[StepReport] = []
    assumed: dict[tuple[str, str], Assumed] = {}
    for deed, modules in steps:
        needed = {name for module in modules for name in module.needed}
        for module in reversed(modules) if deed == "close" else modules:
            meant = _by_name(module, state) if needed & {module.soname, module.name} else module
            state, step = loader.step(state, _event(deed, meant, given))
            reports.append(StepReport(deed, _named(meant), step, state.used, state.room, meant.demand.block_size))
            for found in _assumed(step, _named(module)):
                assumed.setdefault((found.kind, found.name), found)
    return Simulation(loader, start, room, tuple(reports), tuple(assumed.values()))


def _by_name(module: TlsModule, state: Any) -> TlsModule:
    """The module that is there under this one's SONAME, else itself."""
    name = module.soname or module.name
    return next((row.module for row in state.loaded if name in row.names), module)


def _assumed(step: Step, module: str) -> Iterator[Assumed]:
    yield from (Assumed("library", name, module) for name in step.missing if not _C_LIBRARY.fullmatch(name))
    yield from (Assumed("variable", name, module) for name in step.assumed)


def _event(deed: Deed, module: TlsModule, given: Given) -> Event:
    if deed in ("open", "global"):
        return Open(module, given, assumes=True, is_global=deed == "global")
    return Close(module) if deed == "close" else Use(module)


def _named(module: TlsModule) -> str:
    """A module's name in a report: the file, or the member of a wheel."""
    wheel, colon, member = module.path.partition(".whl:")
    return member if colon and wheel else module.path
