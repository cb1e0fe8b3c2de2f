"""A recorded process beside its loader's model: the files that were mapped are read, and what happened is told to the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tls_wheel_guard.doctor.recording import Recording
from tls_wheel_guard.doctor.replay import Replay, replay
from tls_wheel_guard.doctor.settings_search import Start, Tuning
from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.wheel import exports_of, inspect_file
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.loaders import LOADERS, Given, loader_called
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.tls import TlsModule, names_asked, tls_module

__all__ = ["Files", "Observed", "observe"]


@dataclass(slots=True)
class Files:
    """ELF files of a process, each read once. What is no ELF file, or can't be read, is left out."""

    _contents: dict[str, Contents] = field(default_factory=dict)

    def read(self, paths: Iterable[str]) -> None:
        """Read more files."""
        for path in paths:
            if path not in self._contents:
                try:
                    self._contents[path] = inspect_file(Path(path))
                except UnreadableInput:
                    self._contents[path] = Contents(path)

    def facts(self, path: str) -> SharedObject | None:
        """What is known of a file."""
        contents = self._contents.get(path)
        return contents.modules[0][1] if contents and contents.modules and not contents.is_archive else None

    def modules(self) -> dict[str, TlsModule]:
        """All files that were read, as a loader meets them."""
        known = {path: facts for path in self._contents if (facts := self.facts(path)) is not None}
        wanted = {name for facts in known.values() for name in names_asked(facts)}
        found = {}
        for path, facts in known.items():
            try:
                exports = exports_of(Path(path), self._contents[path], wanted)
            except UnreadableInput:
                exports = {}
            found[path] = tls_module(facts, path, exports.get(path, ()))
        return found


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
        elif live.room and "space" in loader.numbers:
            state = replace(loader.fresh, space=loader.fresh.used + live.room)
        elif live.room and "limit" in loader.numbers:
            state = replace(loader.fresh, limit=loader.fresh.used + live.room)
        else:
            state = loader.fresh
    except UsageError:
        return None
    tuning = Tuning(live.tunables["rtld.nns"], live.tunables["rtld.optional_static_tls"]) if live.tunables else None
    return Start(loader, replace(state, loaded=tuple(there_from_the_start(module) for module in at_start)), tuning)
