"""One refusal under examination: what was recorded, and what can be simulated of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tls_wheel_guard.doctor.observed import Files, Observed, observe
from tls_wheel_guard.doctor.recording import Recording, record
from tls_wheel_guard.doctor.settings_search import Tuning, merged_tunables
from tls_wheel_guard.doctor.stages import name_of
from tls_wheel_guard.elf import Linkage
from tls_wheel_guard.errors import UnreadableInterpreter
from tls_wheel_guard.loaders import Open

__all__ = ["Refusal", "Runner", "Trial"]

AMPLE = (Tuning(16, 16384), Tuning(16, 1 << 20))
"""Tunables under which a process has room for nearly everything: what it opens then is all that the import needs."""


@dataclass(frozen=True, slots=True)
class Runner:
    """An interpreter and what it is to do. ``environment``: its variables. ``arguments``: of a script. ``on_run``: is told what is tried."""

    python: Path
    stages: tuple[str, ...]
    timeout: float
    environment: dict[str, str]
    arguments: tuple[str, ...] = ()
    on_run: Callable[[str], None] = lambda _: None

    def record(self, stages: Sequence[str], more: Mapping[str, str] | None = None) -> Recording:
        """Run it, with more variables."""
        self.on_run(" ".join([*(f"{name}={value}" for name, value in (more or {}).items()), ", ".join(map(name_of, stages))]))
        return record(self.python, stages, self.timeout, {**self.environment, **(more or {})}, self.arguments)

    def tries(self, stages: Sequence[str], more: Mapping[str, str] | None = None) -> Recording | None:
        """As ``run``; None when the child hangs or crashes, which is an answer here too."""
        try:
            return self.record(stages, more)
        except UnreadableInterpreter:
            return None


class Trial(NamedTuple):
    """What a remedy did. ``cures``: this refusal is gone. ``then``: the other failure that the import then ends with, None when it works."""

    cures: bool
    then: str | None = None


@dataclass(slots=True)
class Refusal:
    """A refusal. ``definer``: the file whose variables need static TLS; ``asking``: the one that was opened, or refers to them.

    ``ample``: the same with room for all; ``alone``: the refused import as the first. Both may be missing.
    ``events``: all dlopens that must work, with the number of their stage.
    """

    runner: Runner
    first: Recording
    files: Files
    definer: str
    asking: str
    ample: Recording | None = None
    alone: Recording | None = None
    observed: Observed | None = None
    events: tuple[tuple[int, Open], ...] = ()
    alone_events: tuple[Open, ...] = ()

    @property
    def failing(self) -> str:
        """The stage that failed."""
        return self.runner.stages[len(self.first.stages) - 1]

    def tried(self, stages: Sequence[str], more: Mapping[str, str] | None = None) -> Trial:
        """Run it with other stages, or more variables. Failures are compared, not exit codes: another one is no refusal of static TLS."""
        recording = self.runner.tries(stages, more)
        if recording is None or not recording.is_past(self.first.refused_file):
            return Trial(False)
        return Trial(True, recording.stages[-1].error)

    @property
    def name(self) -> str:
        """The definer's file name."""
        return self.definer.rsplit("/", 1)[-1]

    @property
    def opens(self) -> tuple[Open, ...]:
        """All dlopens that must work."""
        return tuple(event for _, event in self.events)

    @property
    def groups(self) -> list[tuple[Open, ...]]:
        """The same by stage. For the refused stage, what it opens as the first import comes first."""
        failing = len(self.first.stages) - 1
        alone = [self.alone_events if place == failing else () for place in range(len(self.runner.stages))]
        return [(*first, *(event for stage, event in self.events if stage == place)) for place, first in enumerate(alone)]

    @property
    def linkage(self) -> Linkage:
        """The symbols that the definer gives to a process and needs from it."""
        return self.files.linkage(self.definer, ("malloc",))

    @property
    def too_aligned(self) -> bool:
        """Whether glibc refuses the alignment, whatever the room."""
        facts = self.files.facts(self.definer)
        limit = self.first.live.align
        return facts is not None and facts.tls_segment is not None and limit is not None and facts.tls_segment.align > limit

    def tunables(self, tuning: Tuning) -> dict[str, str]:
        """The variable that sets them, what else is in it kept."""
        now = self.now or tuning
        values = tuning.changed(now) or {"rtld.nns": tuning.nns}
        return {"GLIBC_TUNABLES": merged_tunables(self.runner.environment.get("GLIBC_TUNABLES", ""), values)}

    @property
    def now(self) -> Tuning | None:
        """The tunables in force."""
        found = self.first.live.tunables
        return Tuning(found["rtld.nns"], found["rtld.optional_static_tls"]) if found else None

    @property
    def roomy(self) -> tuple[Tuning, ...]:
        """Tunables with room for nearly everything, never less than now. An auditing module takes one of the namespaces."""
        now = self.now or Tuning(0, 0)
        auditors = sum(bool(word) for word in self.runner.environment.get("LD_AUDIT", "").split(":"))
        return tuple(Tuning(max(tuning.nns - auditors, now.nns), max(tuning.optional, now.optional)) for tuning in AMPLE)

    def learn(self) -> None:
        """Run it once with room for all, where the libc has a setting for that, and once with the refused import in front."""
        if self.now is not None and not self.too_aligned:
            for tuning in self.roomy:
                self.ample = self.runner.tries(self.runner.stages, self.tunables(tuning))
                if self.ample is not None and self.ample.is_past(self.first.refused_file):
                    break
        if len(self.runner.stages) > 1:
            self.alone = self.runner.tries([self.failing])
        for recording in (self.ample, self.alone):
            if recording is not None:
                self.files.read(recording.files)

    def settle(self, observed: Observed | None) -> str | None:
        """Decide what can be simulated: only where the model has the numbers of every process that was recorded; else where it first differs."""
        if observed is None or observed.replay.difference is not None:
            return observed.replay.difference if observed else None
        self.events = tuple((each.stage, each.event) for each in observed.replay.happened)
        for recording in (self.ample, self.alone):
            if recording is None:
                continue
            told = observe(recording, self.files)
            if told is None or told.replay.difference is not None:
                return told.replay.difference if told else None
            if recording is self.ample and recording.is_past(self.first.refused_file):
                self.events = told.replay.events
            elif recording is self.alone:
                self.alone_events = tuple(event for _, event in told.replay.events)
        self.observed = observed
        return None
