"""What one loader does with one module: the answer of its model to one dlopen in a process that has opened nothing late yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from tls_wheel_guard.loaders import glibc
from tls_wheel_guard.loaders.descriptors import LAST_THAT_LOSES
from tls_wheel_guard.loaders.link_map import Given, Open, Step
from tls_wheel_guard.loaders.refusals import Reason
from tls_wheel_guard.loaders.registry import ROWS, Loader, Version, loader_of
from tls_wheel_guard.platforms import Libc, Machine, Target, machine_called
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.tls import TlsDemand, TlsModule

__all__ = ["FreshFit", "Outcome", "Verdict", "VerdictWord", "judge"]

VerdictWord = Literal["always", "if-room", "never", "unsafe", "unknown"]
MEASURED_STARTS: tuple[Libc, ...] = ("glibc",)
"""Loaders of which it is known what the start takes."""


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
    reason: Reason | None = None
    align_limit: int | None = None
    fits_start: bool | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the loader of one target does with one module.

    ``verdict``: ``always`` (needs no static TLS), ``if-room`` (takes ``taken`` bytes of the room), ``never``, ``unsafe`` (loads,
    then memory is overwritten, the loader crashes, or values are computed wrong), ``unknown``. ``error``: the loader's words when it
    refuses.
    ``takes_at_most``: bytes that descriptors may take without ever failing. ``room``: bytes that the loader keeps for late
    modules, None where that is not known; ``used``: bytes that stand before it at the start. ``reason``: why a fresh process refuses;
    ``align_limit``: the largest alignment that it grants, where that is why.
    ``fits_start``: whether it loads into the process that the user describes, None without one; ``room`` and ``used`` are then that one's.
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
        """Whether a fresh process of this target, or the one that the user describes, cannot load the module, or must not."""
        fit = self.outcome.fits_fresh_process
        if self.outcome.fits_start is not None:
            return not self.outcome.fits_start
        return (self.verdict in ("never", "unsafe") and not self.computes_wrong_values) or (fit is not None and not fit.both)

    @property
    def computes_wrong_values(self) -> bool:
        """Whether it loads, and what it computes may be wrong: the loader takes registers away that its code keeps."""
        return self.verdict == "unsafe" and self.outcome.reason == "registers"


def judge(module: TlsModule, target: Target, starts: Sequence[glibc.State] = ()) -> Verdict:
    """What the loader of ``target`` does with a module that is opened alone, in a process of each version that counts.

    ``starts``: of glibc, in place of fresh processes where room decides: what the user says that a process has left, or one that was read.
    A foreign variable is that of the definer which ``module.demand.foreign`` names, else of a late library that is not known.
    """
    machine, row = machine_called(module.demand.machine), ROWS.get(target.libc)
    if machine is None or row is None:
        return Verdict(target, target.libc, Outcome("always" if machine and not module.demand.needs_static else "unknown"))
    if not module.accesses and not module.demand.block_size:
        # Most modules are so: to a loader they are all the same.
        return Verdict(target, target.libc, _of_nothing(target.libc, target.oldest, machine))
    outcome = _opened(target.libc, target.oldest, machine, _alone(module))
    if outcome.word == "if-room" and starts and target.libc == "glibc":
        outcome = _started(outcome, _alone(module), starts)
    return Verdict(target, target.libc, outcome)


def _started(fresh: Outcome, event: Open, starts: Sequence[glibc.State]) -> Outcome:
    """The same with the numbers of other processes."""
    steps = [glibc.step(start, event)[1] for start in starts]
    refused = next((step for step in steps if not step.loads), None)
    error, reason = (refused.error, refused.reason) if refused else (fresh.error, None)
    tight = min(starts, key=lambda start: start.room)
    return replace(fresh, error=error, reason=reason, room=tight.room, used=tight.used if len(starts) == 1 else 0, fits_start=refused is None)


def _opened(libc: Libc, oldest: Version | None, machine: Machine, event: Open) -> Outcome:
    row = ROWS[libc]
    versions = row.judged(oldest)
    if libc == "glibc" and event.module.calls_that_keep and versions[0] < LAST_THAT_LOSES:
        # Neither the oldest nor a current one tells: descriptors may take all room up to 2.31, and keep registers since 2.40.
        versions = (versions[0], LAST_THAT_LOSES, versions[-1])
    loaders = [loader_of(libc, version, machine) for version in versions]
    steps = [loader.step(loader.fresh, event)[1] for loader in loaders]
    if oldest is None and steps[0].reason == "registers":
        # Nobody promised that version; its block takes less alignment than those with the same fault that are in use.
        steps[0] = replace(steps[0], unsafe=None, reason=None)
    return _outcome(loaders, steps, event, fresh_counts=row.oldest is not None)


@lru_cache(maxsize=256)
def _of_nothing(libc: Libc, oldest: Version | None, machine: Machine) -> Outcome:
    """The verdict on a module without TLS."""
    empty = TlsDemand("", machine.name, machine.tls_variant, False, 0, 0, 0, 0, 0, 0, (), 0, 0, False, ())
    return _opened(libc, oldest, machine, Open(TlsModule(empty), Given(), assumes=True))


def _alone(module: TlsModule) -> Open:
    """Dlopen of one module, with the definers of its foreign variables as nothing but their blocks."""
    definers: dict[str, tuple[TlsDemand, set[str]]] = {}
    for use in module.demand.foreign:
        if (definer := use.definer.demand) is not None:
            definers.setdefault(definer.module, (definer, set()))[1].add(use.symbol.name)
    if not definers:
        return Open(module, Given(), assumes=True)
    # A path as the name: two definers may have the same file name.
    given = Given(TlsModule(demand, path, exports=frozenset(names)) for path, (demand, names) in definers.items())
    return Open(replace(module, needed=tuple(definers)), given, assumes=True)


def _outcome(loaders: Sequence[Loader[Any]], steps: Sequence[Step], event: Open, *, fresh_counts: bool) -> Outcome:
    crash = next((step for step in steps if step.unsafe), None)
    if crash is not None:
        fit = FreshFit(True, True) if crash.reason == "registers" and fresh_counts else None
        return Outcome("unsafe", error=crash.unsafe, reason=crash.reason, fits_fresh_process=fit)
    refused = next((step for step in steps if not step.loads), None)
    by_descriptors = max(step.by_descriptors for step in steps)
    if refused is None and all(step.asked is None for step in steps):
        return Outcome("always", takes_at_most=by_descriptors)
    # Where tags promise an oldest version and users may have more room, a lack of it is not for ever.
    by_room = fresh_counts and all(step.loads or step.reason in ("room", "slots", "alignment") for step in steps)
    return Outcome(
        "if-room" if refused is None or by_room else "never",
        taken=max(step.asked or 0 for step in steps),
        error=refused.error if refused else _words_without_room(loaders[0], event),
        takes_at_most=by_descriptors,
        fits_fresh_process=FreshFit(steps[0].loads, steps[-1].loads) if fresh_counts else None,
        room=min(loader.fresh.room for loader in loaders),
        used=loaders[0].fresh.used if loaders[0].name in MEASURED_STARTS else 0,
        reason=refused.reason if refused else None,
        align_limit=loaders[steps.index(refused)].fresh.align if refused and refused.reason == "alignment" else None,
    )


def _words_without_room(loader: Loader[Any], event: Open) -> str | None:
    """What the loader says where others came first."""
    answer: Step = loader.step(loader.fresh.without_room(), event)[1]
    return answer.error
