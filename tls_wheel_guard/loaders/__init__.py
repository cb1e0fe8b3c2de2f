"""Models of the dynamic loaders, one module or package a loader.

``judge``: the verdict on one module. ``loader_called`` and ``Loader.step``: what a process does, open by open; a simulation is a fold
over it. Pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Callable

from tls_wheel_guard.loaders import bionic, freebsd, glibc, musl, others
from tls_wheel_guard.loaders.naming import LOADERS, Loader, loader_called
from tls_wheel_guard.loaders.process import Close, Event, Given, Open, Step, Use, dependencies
from tls_wheel_guard.loaders.reach import dependencies_first, reached
from tls_wheel_guard.loaders.together import MAX_SIMULATED, Together, block_of, load_together
from tls_wheel_guard.loaders.verdict import FreshFit, Outcome, Verdict, VerdictWord
from tls_wheel_guard.platforms import Libc, Target, machine_called
from tls_wheel_guard.tls import TlsDemand

__all__ = [
    "LOADERS",
    "Close",
    "Event",
    "FreshFit",
    "MAX_SIMULATED",
    "Given",
    "Loader",
    "Open",
    "Outcome",
    "Step",
    "Together",
    "Use",
    "Verdict",
    "VerdictWord",
    "block_of",
    "dependencies",
    "dependencies_first",
    "judge",
    "load_together",
    "loader_called",
    "reached",
]

_FAMILIES: dict[Libc, Callable[[TlsDemand, Target], Outcome]] = {
    "glibc": glibc.judge,
    "musl": musl.judge,
    "freebsd": freebsd.judge,
    "bionic": bionic.judge,
}


def judge(demand: TlsDemand, target: Target) -> Verdict:
    """What the loader of ``target`` does with a module of that demand."""
    if machine_called(demand.machine) is None:
        return Verdict(target, target.libc, Outcome("unknown"))
    return Verdict(target, target.libc, _FAMILIES.get(target.libc, others.judge)(demand, target))
