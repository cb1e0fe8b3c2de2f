"""Set DF_STATIC_TLS in wheels and shared objects: which modules need it, how it is done, what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from tls_wheel_guard.archive.atomic import written_whole
from tls_wheel_guard.archive.update import Change, update_wheel
from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.errors import MalformedElf, Refused, UnreadableInput, UnreadableMember, UsageError, reason_of
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.inputs.wheel import OpenWheel
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.repair import Patch, apply_patches, plan_flag

__all__ = ["Marking", "copy_input", "mark_file", "mark_input", "needs_flag", "place_in"]

Said = tuple[tuple[str, str], ...]
"""Names of modules, each with a sentence."""


@dataclass(frozen=True, slots=True)
class Marking:
    """What was done. ``marked``: (module, how); ``refused`` and ``unreadable``: (module, why), and it is as it was.

    Nothing was written where ``marked`` is empty.
    """

    path: Path
    marked: Said = ()
    refused: Said = ()
    unreadable: Said = ()


def needs_flag(module: SharedObject) -> bool:
    """Own initial-exec relocations in a shared object without the flag."""
    return module.kind == "shared" and module.initial_exec.own > 0 and not module.df_static_tls


def mark_file(path: Path, destination: Path, epoch: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Marking:
    """As :func:`mark_input`, for a file that is not open yet."""
    with open_input(path, limits) as opened:
        return mark_input(opened, destination, epoch)


def mark_input(opened: OpenInput, destination: Path, epoch: int | None = None) -> Marking:
    """Set the flag in a wheel or bare shared object and write the result to ``destination``, which may be its own path.

    Modules where it can't be set are refused and left as they are; the others are marked. ``epoch``: seconds since 1970, the date of
    members that change. The input is closed once something was written. Raises UnreadableInput, UsageError, and Refused where the
    wheel itself must not change.
    """
    contents = opened.contents
    if not contents.is_archive and not contents.modules:
        _refuse_no_elf(opened)
    plans: dict[int, tuple[str, Patch]] = {}
    refused: list[tuple[str, str]] = []
    unreadable = list(contents.unreadable)
    for module in contents.modules:
        if not needs_flag(module.facts):
            continue
        try:
            with opened.open_module(module) as source:
                patch = plan_flag(source)
        except Refused as error:
            refused.append((module.name, error.line()))
        except (MalformedElf, UnreadableMember) as error:
            unreadable.append((module.name, error.message))
        else:
            if patch is not None:
                plans[module.index] = (module.name, patch)
    if plans:
        _write(opened, destination, {index: partial(_apply, patch) for index, (_, patch) in plans.items()}, epoch)
    return Marking(Path(opened.path), tuple((name, patch.why) for name, patch in plans.values()), tuple(refused), tuple(unreadable))


def copy_input(opened: OpenInput, destination: Path) -> None:
    """Copy an open file that needs no mark; it appears under its name only when it is whole. Raises InputReadError, UsageError."""
    _write(opened, destination, {}, None)


def place_in(folder: Path, path: Path) -> Path:
    """Where a file's new version lies in a folder, which is made; raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: it can't be made: {error.strerror}", hint="choose a folder that can be written") from error
    return folder / path.name


def _refuse_no_elf(opened: OpenInput) -> NoReturn:
    if opened.contents.unreadable:
        raise MalformedElf(opened.contents.unreadable[0][1])
    raise UnreadableInput("it is neither a wheel nor an ELF file", hint="give wheels, shared objects, or folders of wheels")


def _write(opened: OpenInput, destination: Path, changes: Mapping[int, Change], epoch: int | None) -> None:
    """The input with some modules changed, put in place whole; then the input is closed: Windows replaces no file that is open."""
    try:
        with written_whole(destination, Path(opened.path)) as out:
            if isinstance(opened, OpenWheel) and changes:
                update_wheel(opened.archive, out, changes, epoch)
            else:
                change = next(iter(changes.values()), iter)
                out.writelines(change(opened.pieces()))
            opened.close()
    except OSError as error:
        raise UsageError(f"{destination}: it can't be written: {reason_of(error)}", hint="choose a folder that can be written") from error


def _apply(patch: Patch, pieces: Iterable[bytes]) -> Iterator[bytes]:
    return apply_patches(pieces, [patch])
