"""Models of the dynamic loaders, one module a loader. Each is a pure function from a demand and a target to an outcome."""

from __future__ import annotations

from collections.abc import Callable

from tls_wheel_guard.loaders import bionic, freebsd, glibc, musl, others
from tls_wheel_guard.loaders.verdict import FreshFit, Outcome, Verdict, VerdictWord
from tls_wheel_guard.platforms import Libc, Target, machine_called
from tls_wheel_guard.tls import TlsDemand

__all__ = ["FreshFit", "Outcome", "Verdict", "VerdictWord", "judge", "load_together"]

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


def load_together(demands: list[TlsDemand], target: Target, room: int) -> tuple[bool, int, int] | None:
    """Whether modules load one after another into one process: (all load, bytes asked, bytes of room).

    ``room`` is what a glibc process has left. None where the loader has no room to share (musl, Android), or none is known.
    """
    if target.libc == "glibc":
        return (*glibc.load_together(demands, target, room), room)
    if target.libc == "freebsd":
        return (*freebsd.load_together(demands, target), freebsd.EXTRA)
    return None
