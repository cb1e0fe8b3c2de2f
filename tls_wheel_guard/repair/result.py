"""What became of one file: values for reports and for callers."""

from __future__ import annotations

from dataclasses import dataclass

from tls_wheel_guard.repair.plan import RepairPlan
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["Repair"]


@dataclass(frozen=True, slots=True)
class Repair:
    """One wheel or bare shared object.

    ``modules``: (path, plan) of those that change. ``refused``: (path, why) of those that can't be repaired for certain; nothing is then written.
    ``left``: modules whose finding is allowed. ``written``: the path of the result, None where nothing was written.
    """

    wheel: str
    path: str
    modules: tuple[tuple[str, RepairPlan], ...] = ()
    refused: tuple[tuple[str, CannotRepair], ...] = ()
    left: tuple[str, ...] = ()
    written: str | None = None
