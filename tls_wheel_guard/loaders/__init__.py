"""Models of the dynamic loaders, one module or package a loader.

``judge``: the verdict on one module. ``loader_called`` and ``Loader.step``: what a process does, open by open; a simulation is a fold
over it. Pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Callable

from tls_wheel_guard.loaders import bionic, freebsd, glibc, musl, other_systems
from tls_wheel_guard.loaders.joint import MAX_SIMULATED, Together, block_of, load_together
from tls_wheel_guard.loaders.link_map import Close, Event, Given, Open, Step, Use, dependencies
from tls_wheel_guard.loaders.needed import dependencies_first, reached
from tls_wheel_guard.loaders.registry import LOADERS, Loader, loader_called
from tls_wheel_guard.loaders.verdict import FreshFit, Outcome, Verdict, VerdictWord
from tls_wheel_guard.platforms import Libc, Target, machine_called
from tls_wheel_guard.tls import TlsDemand

__all__ = [
    "LOADERS",
    "MAX_SIMULATED",
    "Close",
    "Event",
    "FreshFit",
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
    return Verdict(target, target.libc, _FAMILIES.get(target.libc, other_systems.judge)(demand, target))
