"""Play what a process was seen to open by its loader's model, and compare the model's numbers with the process's own, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tls_wheel_guard.loaders import Given, Loader, Open, Step, Use
from tls_wheel_guard.loaders.link_map import LinkMapEntry
from tls_wheel_guard.loaders.refusals import is_static_tls, named_in
from tls_wheel_guard.tls import TlsModule

__all__ = ["Happened", "Replay", "Segment", "Taken", "replay", "taken_by"]


@dataclass(frozen=True, slots=True)
class Segment:
    """What happened between two looks at a process. ``stage``: the number of the import it belongs to.

    ``opened``: the file that was given to dlopen, None where files were mapped without one that was seen; ``error``: the loader's
    words; ``mapped``: files that are new; ``used``, ``optional``: glibc's numbers after it, None where they were not read.
    ``is_global``: dlopen with RTLD_GLOBAL.
    """

    stage: int
    opened: str | None
    error: str | None
    mapped: tuple[str, ...]
    used: int | None = None
    optional: int | None = None
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """Room that one module took: ``size`` bytes with their padding."""

    module: TlsModule
    size: int


@dataclass(frozen=True, slots=True)
class Happened:
    """One dlopen, as the model has it."""

    stage: int
    event: Open
    step: Step
    taken: tuple[Taken, ...]


@dataclass(slots=True)
class Replay:
    """All of it. ``state``: the loader's state at the end. ``difference``: where model and process first disagree; None: nowhere.

    ``used``: modules whose variables must have been used dynamically before, since only that explains a refusal.
    """

    state: Any
    used: list[TlsModule] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    difference: str | None = None

    @property
    def events(self) -> tuple[tuple[int, Open], ...]:
        """What loaded: the stage and the dlopen."""
        return tuple((each.stage, each.event) for each in self.happened if each.step.loads)


def taken_by(before: Any, after: Any) -> tuple[Taken, ...]:
    """Which modules have got a place between two states, and what each took."""
    had = {row.module.path for row in before.loaded if row.block is not None}
    rows: list[LinkMapEntry] = [
        row for row in after.loaded if row.block is not None and row.module.path not in had and row.module.demand.block_size
    ]
    found, end = [], before.used
    for row in sorted(rows, key=lambda row: row.block.end if row.block else 0):
        found.append(Taken(row.module, row.block.end - end if row.block else 0))
        end = row.block.end if row.block else end
    return tuple(found)


def replay(loader: Loader[Any], state: Any, segments: Iterable[Segment], modules: Mapping[str, TlsModule], given: Given) -> Replay:
    """Tell the model. ``modules``: the files that were mapped, read; ``given``: those that DT_NEEDED may mean."""
    run = _Run(loader, given, Replay(state))
    for segment in segments:
        run.segment(segment, modules)
    return run.replay


@dataclass(slots=True)
class _Run:
    loader: Loader[Any]
    given: Given
    replay: Replay

    def segment(self, segment: Segment, modules: Mapping[str, TlsModule]) -> None:
        refused = is_static_tls(segment.error)
        root = modules.get(segment.opened or "")
        # A file that is mapped in spite of an error has loaded: what failed came after.
        if root is not None and (segment.error is None or refused or root.path in segment.mapped):
            self._open(segment, root, refused and root.path not in segment.mapped)
        while waiting := self._waiting(segment, modules):
            wanted = {name for module in waiting for name in module.needed}
            first = next((module for module in waiting if not wanted & {module.name, module.soname}), waiting[0])
            self._open(segment, first, False)
        self._compare(segment)

    def _waiting(self, segment: Segment, modules: Mapping[str, TlsModule]) -> list[TlsModule]:
        there = {row.module.path for row in self.replay.state.loaded}
        return [modules[path] for path in segment.mapped if path in modules and path not in there]

    def _open(self, segment: Segment, module: TlsModule, refused: bool) -> None:
        before = self.replay.state
        event = Open(module, self.given, is_global=segment.is_global)
        after, step = self.loader.step(before, event)
        if refused and step.loads:
            before, after, step = self._used_before(before, event, segment.error or "") or (before, after, step)
        self.replay.state = after
        self.replay.happened.append(Happened(segment.stage, event, step, taken_by(before, self.replay.state)))
        if step.loads == refused or step.unsafe:
            answer = segment.error or "it loads"
            self._differs(f"{module.name}: the process says: {answer}; the model: {step.unsafe or step.error or 'it loads'}")
        if module.path not in {row.module.path for row in self.replay.state.loaded} and not refused:
            # Otherwise the rest of the segment would never be played.
            rows = (*self.replay.state.loaded, LinkMapEntry(module, relocated=True, stays=True))
            self.replay.state = replace(self.replay.state, loaded=rows)

    def _used_before(self, before: Any, event: Open, words: str) -> tuple[Any, Any, Step] | None:
        """The states around a refusal, and the answer, where the definer's block had become dynamic; a use leaves no other trace."""
        name = named_in(words)[0].rsplit("/", 1)[-1]
        definer = next((row.module for row in before.loaded if row.block is None and name in (row.module.name, *row.names)), None)
        if definer is None:
            return None
        used, _ = self.loader.step(before, Use(definer))
        after, step = self.loader.step(used, event)
        if step.reason != "dynamic":
            return None
        self.replay.used.append(definer)
        return used, after, step

    def _compare(self, segment: Segment) -> None:
        state = self.replay.state
        after = (segment.opened or (segment.mapped[0] if segment.mapped else "?")).rsplit("/", 1)[-1]
        for name, seen in (("used", segment.used), ("optional", segment.optional)):
            if seen is not None and seen != getattr(state, name):
                self._differs(f"after {after}: the process has {name} {seen}, the model {getattr(state, name)}")

    def _differs(self, text: str) -> None:
        if self.replay.difference is None:
            self.replay.difference = text
