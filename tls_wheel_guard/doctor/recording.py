"""What an interpreter really opens while it imports a module: each dlopen with what it mapped, and the loader's numbers after it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tls_wheel_guard.doctor.replay import Segment
from tls_wheel_guard.doctor.result import Stage
from tls_wheel_guard.errors import UnreadableInterpreter
from tls_wheel_guard.live.answer import Answer, live_from
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.live.reading import ask
from tls_wheel_guard.loaders.refusals import is_static_tls, named_in

__all__ = ["Recording", "record"]


@dataclass(frozen=True, slots=True)
class Recording:
    """One process. ``live``: as it was before the first stage; ``at_start``: files that were mapped then; ``segments``: in order."""

    live: Live
    at_start: tuple[str, ...]
    stages: tuple[Stage, ...]
    segments: tuple[Segment, ...]

    @property
    def failed(self) -> int | None:
        """The number of the stage that failed; it is the last."""
        return len(self.stages) - 1 if self.stages and self.stages[-1].error is not None else None

    @property
    def swallowed(self) -> Segment | None:
        """The last dlopen of the last import that was refused for static TLS, though the import went on and ended well."""
        if not self.stages or self.failed is not None:
            return None
        last = len(self.stages) - 1
        return next((s for s in reversed(self.segments) if s.stage == last and s.opened and is_static_tls(s.error)), None)

    @property
    def refusal(self) -> str | None:
        """The loader's words that the refusal is known by; None without one."""
        swallowed = self.swallowed
        return (swallowed.error if swallowed else None) or (self.stages[-1].static_tls if self.stages else None)

    @property
    def refused_file(self) -> str | None:
        """The file whose dlopen was refused for static TLS last; None where no call of dlopen was seen to be."""
        return next((s.opened for s in reversed(self.segments) if s.opened and is_static_tls(s.error)), None)

    def is_past(self, refused: str | None) -> bool:
        """Whether the run came further than a refusal of that file, so that what stopped it, if anything, is another failure.

        A run that ended before the file was opened says nothing about it.
        """
        if self.stages[-1].static_tls or any(s.opened == refused and is_static_tls(s.error) for s in self.segments if refused):
            return False
        if self.failed is None:
            return True
        return refused is not None and any(s.opened == refused and s.error is None for s in self.segments)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that were mapped, those that were asked for, and those that a refusal names: they are gone again."""
        asked = (path for segment in self.segments for path in (segment.opened or "", *segment.mapped, *_refused(segment.error)))
        return tuple(dict.fromkeys(path for path in (*self.at_start, *asked) if path.startswith("/")))


def record(
    python: Path, stages: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> Recording:
    """Run ``stages`` (stages.py) in a child of an interpreter, one after another, up to the first that fails.

    ``environment``: all variables of the child; None for those of this process. ``arguments``: those of a script.
    Raises UsageError, UnreadableInterpreter.
    """
    answer = ask(python, stages=stages, arguments=arguments, timeout=timeout, environment=environment)
    live = live_from(answer)
    reader = _Reader(answer)
    segments = tuple(reader.segments())
    if not reader.stages:
        raise UnreadableInterpreter(f"{python}: it has written nothing down ({live.implementation})", hint="doctor needs Python 3.6 or newer")
    return Recording(live, tuple(reader.at_start), tuple(reader.stages), segments)


def _refused(words: str | None) -> Iterator[str]:
    """The file whose variables a refusal is about, by its true path."""
    if words is not None and is_static_tls(words):
        yield os.path.realpath(named_in(words)[0])


@dataclass
class _Opening:
    """A dlopen that has not returned yet. ``told``: a segment has been made of it. ``is_global``: with RTLD_GLOBAL."""

    path: str
    is_global: bool = False
    told: bool = False


@dataclass
class _Reader:
    """Cuts the lines at each snapshot: what was mapped between two of them belongs to the innermost dlopen that has not returned."""

    answer: Answer
    at_start: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    _waiting: list[_Opening] = field(default_factory=list)
    _mapped: list[str] = field(default_factory=list)
    _begun: bool = False

    def segments(self) -> Iterator[Segment]:
        """One for each dlopen, and one wherever something was mapped without one."""
        pairs = self.answer.pairs
        for place, (name, value) in enumerate(pairs):
            if name == "mapped":
                self._mapped.append(value)
            elif name == "numbers":
                refused = pairs[place + 1][1] if pairs[place + 1 : place + 2] and pairs[place + 1][0] == "refused" else None
                yield from self._snapshot(value, refused)
            elif name == "open":
                self._waiting.append(_Opening(value, is_global=pairs[place - 1][0] == "global"))
            elif name in ("opened", "refused") and self._waiting:
                self._waiting.pop()
            elif name == "stage":
                self.stages.append(Stage(value))
            elif name == "failed-stage" and self.stages:
                self.stages[-1] = Stage(self.stages[-1].name, value)
            elif name == "static-tls" and self.stages:
                self.stages[-1] = Stage(self.stages[-1].name, self.stages[-1].error, value)

    def _snapshot(self, numbers: str, refused: str | None) -> Iterator[Segment]:
        mapped, self._mapped = tuple(self._mapped), []
        if not self._begun:
            self._begun = True
            self.at_start += mapped
            return
        used, optional = self._numbers(numbers)
        opening = self._waiting[-1] if self._waiting and not self._waiting[-1].told else None
        if opening is not None:
            opening.told = True
        if opening is not None or mapped:
            is_global = opening is not None and opening.is_global
            path, error = (opening.path, refused) if opening else (None, None)
            yield Segment(len(self.stages) - 1, path, error, mapped, used, optional, is_global)

    def _numbers(self, text: str) -> tuple[int | None, int | None]:
        words = text.split()
        if not words:
            return None, None
        if len(words) != 4 or not all(word.isascii() and word.isdigit() and len(word) <= 20 for word in words):
            raise UnreadableInterpreter(f"{self.answer.python}: its answer is broken: 'numbers' is {text[:100]!r}", hint="start it by hand")
        limited = self.answer.get("optional") is not None
        return int(words[0]), int(words[3]) if limited else None
