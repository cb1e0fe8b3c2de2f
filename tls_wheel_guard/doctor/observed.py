"""A recorded process beside its loader's model: the files that were mapped are read, and what happened is told to the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType

from tls_wheel_guard.culprits import Traced
from tls_wheel_guard.culprits.advice import trace
from tls_wheel_guard.culprits.collect import clues_of
from tls_wheel_guard.culprits.data_files import known_culprits, vocabulary
from tls_wheel_guard.doctor.recording import Recording
from tls_wheel_guard.doctor.replay import Replay, replay
from tls_wheel_guard.doctor.settings_search import Start, Tuning
from tls_wheel_guard.elf import Linkage, SharedObject
from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.loaders import LOADERS, Given, loader_called
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.tls import TlsModule, names_asked, tls_module

__all__ = ["Files", "Observed", "observe"]


class Files:
    """ELF files of a process, each opened and read once. What is no ELF file, or can't be read, is left out.

    Files that may define thread-local variables stay open: only when all have been read is it known which of them are needed.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._facts: dict[str, SharedObject | None] = {}
        self._open: dict[str, OpenInput] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def read(self, paths: Iterable[str]) -> None:
        """Read more files."""
        for path in paths:
            if path not in self._facts:
                try:
                    self._facts[path] = self._read(path)
                except UnreadableInput:
                    self._facts[path] = None

    def _read(self, path: str) -> SharedObject | None:
        with ExitStack() as stack:
            opened = stack.enter_context(open_input(path, self._limits))
            if opened.contents.is_archive or not opened.contents.modules:
                return None
            if opened.contents.definitions:
                self._open[path] = opened
                self._stack.enter_context(stack.pop_all())
            return opened.contents.modules[0].facts

    def facts(self, path: str) -> SharedObject | None:
        """What is known of a file."""
        return self._facts.get(path)

    def linkage(self, path: str, names: Iterable[str]) -> Linkage:
        """What a file with thread-local variables defines of ``names``, and what it lacks; nothing where it can't be read."""
        try:
            opened = self._open.get(path)
            return opened.linkage_of(opened.contents.modules[0], tuple(names)) if opened else Linkage()
        except UnreadableInput:
            return Linkage()

    def traced(self, path: str) -> Traced:
        """Who brought initial-exec TLS into a file that defines thread-local variables; nobody where it can't be read."""
        opened = self._open.get(path)
        if opened is None:
            return Traced()
        (module,) = opened.contents.modules
        clues = opened.look(module, lambda source: clues_of(path, module.facts, source, vocabulary(), (), opened.limits))
        return trace(clues, known_culprits(), None) if clues is not None else Traced()

    def modules(self) -> dict[str, TlsModule]:
        """All files that were read, as a loader finds them by name."""
        known = {path: facts for path, facts in self._facts.items() if facts is not None}
        wanted = {name for facts in known.values() for name in names_asked(facts)}
        return {path: tls_module(facts, path, self._exports(path, wanted)) for path, facts in known.items()}

    def _exports(self, path: str, wanted: set[str]) -> set[str]:
        try:
            return set().union(*self._open[path].exports(wanted).values()) if path in self._open else set()
        except UnreadableInput:
            return set()


@dataclass(frozen=True, slots=True)
class Observed:
    """A process and its model. ``program``: the file that was started, where it is known."""

    recording: Recording
    start: Start
    modules: Mapping[str, TlsModule]
    given: Given
    program: TlsModule | None
    replay: Replay

    @property
    def room(self) -> int | None:
        """Bytes left at the end, as the loader itself counts them; None where it keeps none, or the number was not read."""
        live, last = self.recording.live, next((s for s in reversed(self.recording.segments) if s.used is not None), None)
        if live.limit is None or live.method == "bisecting":
            return None
        return live.limit - (last.used if last and last.used is not None else live.used or 0)


def observe(recording: Recording, files: Files) -> Observed | None:
    """Tell the model what was recorded; None where there is no model of that loader. ``files`` holds what was mapped."""
    modules = files.modules()
    at_start = [modules[path] for path in recording.at_start if path in modules]
    program = next((module for module in at_start if (facts := files.facts(module.path)) and facts.kind == "program"), None)
    start = _start(recording.live, at_start)
    if start is None:
        return None
    given = Given(modules.values())
    told = replay(start.loader, start.state, recording.segments, modules, given)
    return Observed(recording, start, modules, given, program, told)


def _start(live: Live, at_start: list[TlsModule]) -> Start | None:
    if live.libc not in LOADERS:
        return None
    version = re.match(r"\d{1,6}(\.\d{1,6}){0,3}", live.libc_version or "")
    try:
        loader = loader_called(f"{live.libc}-{version[0]}" if version else live.libc, live.machine)
        if live.libc == "glibc":
            # What descriptors may take can't be found by bisecting.
            optional = live.optional if live.optional is not None else live.tunables.get("rtld.optional_static_tls")
            state = loader.start({"used": live.used, "limit": live.limit, "align": live.align, "optional": optional})
        elif live.room is not None and "space" in loader.numbers:
            state = replace(loader.fresh, space=loader.fresh.used + live.room)
        elif live.room is not None and "limit" in loader.numbers:
            state = replace(loader.fresh, limit=loader.fresh.used + live.room)
        else:
            state = loader.fresh
    except UsageError:
        return None
    tuning = Tuning(live.tunables["rtld.nns"], live.tunables["rtld.optional_static_tls"]) if live.tunables else None
    return Start(loader, replace(state, loaded=tuple(there_from_the_start(module) for module in at_start)), tuning)
