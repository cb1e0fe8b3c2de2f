"""A wheel is built in a temporary folder and renamed into place when it is accepted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tls_wheel_guard.build_guard.audience import is_told
from tls_wheel_guard.build_guard.guard import Say, guard
from tls_wheel_guard.build_guard.products import cargo_folders, copies_of, editable_modules
from tls_wheel_guard.build_guard.rewrite.environment import Rebuilding, rewritten
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError, reason_of
from tls_wheel_guard.report.style import shortened

__all__ = ["GuardedBuild", "guarded_build", "release", "source_date_epoch", "unreleased"]

LONGEST_EPOCH = 18
"""Digits of SOURCE_DATE_EPOCH: more seconds than that are no date."""


def source_date_epoch(environment: Mapping[str, str]) -> int | None:
    """SOURCE_DATE_EPOCH in seconds since 1970, None where it is not set; raises UsageError."""
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST_EPOCH):
        raise UsageError(f"SOURCE_DATE_EPOCH={shortened(text, 40)!r} is not a number of seconds", hint="set it to the output of `date +%s`")
    return int(text)


@dataclass(slots=True)
class GuardedBuild:
    """One build that is under way. ``folder``: where it is to put its wheels, out of sight. ``rebuilding``: what is rewritten, if anything.

    The builder says what it made: ``wheels`` in that folder; ``editable``: whether modules in the source tree are part of it.
    ``until_judged``: what must stay until the verdict, such as the objects that explain it.
    """

    folder: Path
    rebuilding: Rebuilding | None
    until_judged: ExitStack
    editable: bool = False
    wheels: list[Path] = field(default_factory=list)


@contextmanager
def guarded_build(final: Path, config: Config, say: Say, environment: MutableMapping[str, str]) -> Iterator[GuardedBuild]:
    """Build inside this, and what was made is judged at the end: accepted wheels go to ``final``, a rejected one is left nowhere.

    Raises CheckFailed where the build must stop, UsageError where a folder can't be written, and what the build itself raises.
    """
    project, started = Path.cwd(), time.time_ns()
    epoch = source_date_epoch(environment)
    with unreleased(final) as folder, rewritten(config, environment) as rebuilding, ExitStack() as until_judged:
        build = GuardedBuild(folder, rebuilding, until_judged)
        yield build
        in_place = editable_modules(project, started, all_new=rebuilding is not None) if build.editable else []
        try:
            guard([*build.wheels, *in_place], config, say, epoch, rebuilding, is_told(config, project))
        except TlsWheelGuardError:
            for wheel in build.wheels:
                _remove_copies(wheel, project, environment, say)
            raise
        for wheel in build.wheels:
            release(wheel, final)


def _remove_copies(wheel: Path, project: Path, environment: Mapping[str, str], say: Say) -> None:
    """Remove what a backend keeps of a rejected wheel: maturin builds in target/wheels and hands out a copy."""
    try:
        for path in copies_of(wheel, cargo_folders(project, environment)):
            path.unlink()
            say(f"tls-wheel-guard: removed {path}: it is the wheel that is not released")
    except OSError as error:
        say(f"tls-wheel-guard: warning: a copy of the wheel that is not released can't be removed: {error.filename}: {reason_of(error)}")


@contextmanager
def unreleased(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, so that what is built in it can be renamed into place whole; removed at the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".tls-wheel-guard-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(f"{folder}: it can't be written: {reason_of(error)}", hint="choose an output folder that can be written") from error
    with temporary as path:
        yield Path(path)


def release(wheel: Path, folder: Path) -> None:
    """Give an accepted wheel its final place; raises UsageError."""
    try:
        wheel.replace(folder / wheel.name)
    except OSError as error:
        raise UsageError(f"{folder / wheel.name}: it can't be written: {reason_of(error)}", hint="look at what is there") from error
