"""Advice about tunables against the real loader: the advised values work, and the model is right about others too."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.histories import Act, History, make_history
from tests.support.runtimes import Runtime
from tests.support.truth import libc_of, run_history, without_folder
from tls_wheel_guard.doctor.settings_search import Start, Tuning, brought, first_refused, least_tuning
from tls_wheel_guard.loaders import Given, Loader, Open, glibc, loader_called

__all__ = ["Case", "Count", "make_case", "prove"]

DEFAULT = Tuning(4, 512)
AMPLE = Tuning(16, 1 << 17)
OTHERS = 10
"""Random values of both tunables that are tried beside the advised ones."""


@dataclass
class Count:
    """What was proved."""

    cases: int = 0
    descriptors: int = 0
    by_spaces: int = 0
    by_optional: int = 0
    works: int = 0
    padded_works: int = 0
    one_less: int = 0
    one_less_fails: int = 0
    others: int = 0
    others_fail: int = 0
    differences: list[str] = field(default_factory=list)

    def row(self) -> str:
        """The cells of a row."""
        counts = (
            self.cases, self.descriptors, self.by_spaces, self.by_optional, self.works, self.padded_works,
            f"{self.one_less} ({self.one_less_fails})", f"{self.others} ({self.others_fail})", len(self.differences),
        )  # fmt: skip
        return " | ".join(map(str, counts))


@dataclass(frozen=True)
class Case:
    """Modules that do not all find room one after another, under the tunables of ``start``."""

    history: History
    start: Start
    events: tuple[Open, ...]
    descriptors: bool
    least: Tuning
    padded: Tuning


def _state(runtime: Runtime, tuning: Tuning) -> glibc.State:
    return glibc.place_at_start([libc_of(runtime)], runtime.version, runtime.machine, nns=tuning.nns, optional=tuning.optional)


def _loading(loader: Loader[Any], state: glibc.State, acts: list[Act], history: History) -> list[Act]:
    """Those of the openings that load where there is room for all, so that only room can be wanting."""
    given = Given(history.given)
    kept: list[Act] = []
    for act in acts:
        after, step = loader.step(state, Open(history.modules[act.path], given))
        if step.loads and not step.unsafe:
            state, kept = after, [*kept, act]
    return kept


def make_case(runtime: Runtime, seed: int, folder: Path, *, descriptors: bool) -> Case | None:
    """A case with or without descriptors that take room; None where this seed gives none."""
    draw = random.Random(f"advice {seed}")
    history = make_history(seed, runtime.machine, folder)
    loader = loader_called(f"glibc-{'.'.join(map(str, runtime.version))}", runtime.machine)
    now = DEFAULT if draw.random() < 0.7 else Tuning(draw.randint(1, 6), draw.choice([0, draw.randint(0, 900)]))
    acts = [Act("open", path) for path in history.modules]
    draw.shuffle(acts)
    acts = _loading(loader, _state(runtime, AMPLE), acts, history)
    history = History(history.modules, (), tuple(acts))
    events = tuple(event for event in history.events() if isinstance(event, Open))
    start = Start(loader, _state(runtime, now), now)
    if first_refused(loader, start.state, events) is None or brought(loader, start.state, events).has_descriptors != descriptors:
        return None
    found = least_tuning(start, events)
    return Case(history, start, events, descriptors, *found) if found is not None else None


def _differs(runtime: Runtime, case: Case, tuning: Tuning, folder: Path) -> tuple[bool, str | None]:
    """Whether all load in the real loader, and where the model says something else."""
    words = f"glibc.rtld.nns={tuning.nns}:glibc.rtld.optional_static_tls={tuning.optional}"
    _, answers, _ = run_history(runtime, case.history, {"LD_BIND_NOW": "1", "GLIBC_TUNABLES": words}, None)
    state = case.start.tuned(tuning)
    for act, event, answer in zip(case.history.acts, case.events, answers, strict=True):
        state, step = case.start.loader.step(state, event)
        if step.loads != (answer.error == "") or (state.used, state.optional) != (answer.used, answer.optional):
            return False, f"{tuning}, {act.path.name}: loader {answer}, model {step}, used {state.used}, optional {state.optional}"
        if (step.error or "") != without_folder(answer.error, folder):
            return False, f"{tuning}, {act.path.name}: loader {answer.error!r}, model {step.error!r}"
    return all(answer.error == "" for answer in answers), None


def prove(runtime: Runtime, seed: int, case: Case, folder: Path, count: Count) -> None:
    """Run the advised values, one less, and random ones; differences go into the count."""
    draw = random.Random(f"others {seed}")
    now = case.start.tuning
    assert now is not None
    count.cases += 1
    count.descriptors += case.descriptors
    count.by_spaces += case.least.nns != now.nns
    count.by_optional += case.least.optional != now.optional
    good, padded_good = (_differs(runtime, case, tuning, folder) for tuning in (case.least, case.padded))
    count.works += good[0]
    count.padded_works += padded_good[0]
    less = Tuning(case.least.nns, case.least.optional - 1) if case.least.optional != now.optional else Tuning(case.least.nns - 1, now.optional)
    worse = _differs(runtime, case, less, folder)
    count.one_less += worse[1] is None
    count.one_less_fails += not worse[0]
    tries = [Tuning(draw.randint(1, 16), draw.choice([draw.randint(0, 600), draw.randint(0, 6000)])) for _ in range(OTHERS)]
    results = [_differs(runtime, case, tuning, folder) for tuning in tries]
    count.others += sum(difference is None for _, difference in results)
    count.others_fail += sum(not loads for loads, _ in results)
    where = f"seed {seed}, now {now}, least {case.least}, padded {case.padded}"
    count.differences += [f"{where}: {difference}" for _, difference in (good, padded_good, worse, *results) if difference]
    count.differences += [f"{where}: {name} does not work" for name, found in (("least", good), ("padded", padded_good)) if not found[0]]
    if worse[0]:
        count.differences.append(f"{where}: {less} works too")
