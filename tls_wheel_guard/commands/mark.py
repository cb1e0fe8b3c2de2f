"""Set DF_STATIC_TLS in wheels and shared objects: which modules need it, how it is done, what was refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tls_wheel_guard.archive import Archive, Member, name_says_no_elf, open_archive
from tls_wheel_guard.archive.atomic import written_whole
from tls_wheel_guard.archive.update import Change, rewrite_wheel
from tls_wheel_guard.elf import SharedObject, read_shared_object
from tls_wheel_guard.errors import MalformedElf, Refused, UnreadableInput, UnreadableMember, UsageError
from tls_wheel_guard.inputs.files import FileSource
from tls_wheel_guard.inputs.wheel import is_wheel
from tls_wheel_guard.repair import Patch, apply_patches, plan_flag

__all__ = ["Marking", "copy_file", "mark_file", "needs_flag"]

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


def mark_file(path: Path, destination: Path, epoch: int | None = None) -> Marking:
    """Set the flag in a wheel or bare shared object and write the result to ``destination``, which may be ``path``.

    Modules where it can't be set are refused and left as they are; the others are marked. Raises UnreadableInput, UsageError, and
    Refused where the wheel itself must not change.
    """
    try:
        return _mark_wheel(path, destination, epoch) if is_wheel(path) else _mark_object(path, destination)
    except OSError as error:
        raise _not_written(destination, error) from error


def copy_file(path: Path, destination: Path) -> None:
    """Copy a file that needs no mark; it appears under its name only when it is whole. Raises UsageError."""
    try:
        with path.open("rb") as old, written_whole(destination, path) as new:
            shutil.copyfileobj(old, new)
    except OSError as error:
        raise _not_written(destination, error) from error


def _not_written(destination: Path, error: OSError) -> UsageError:
    return UsageError(f"{destination}: it can't be written: {error.strerror or error}", hint="choose a folder that can be written")


def _mark_wheel(path: Path, destination: Path, epoch: int | None) -> Marking:
    plans: dict[int, tuple[str, Patch]] = {}
    refused: list[tuple[str, str]] = []
    unreadable: list[tuple[str, str]] = []
    with open_archive(path.open("rb")) as archive:
        for member in archive.members():
            try:
                patch = _plan_member(archive, member)
                if patch is not None:
                    plans[member.index] = (member.name, patch)
            except Refused as error:
                refused.append((member.name, error.line()))
            except MalformedElf as error:
                unreadable.append((member.name, error.message))
            except UnreadableMember as error:
                if not name_says_no_elf(member.name):
                    unreadable.append((member.name, error.message))
    if plans:
        changes: dict[int, Change] = {index: partial(_apply, patch) for index, (_, patch) in plans.items()}
        rewrite_wheel(path, destination, changes, epoch)
    return Marking(path, tuple((name, patch.why) for name, patch in plans.values()), tuple(refused), tuple(unreadable))


def _plan_member(archive: Archive, member: Member) -> Patch | None:
    source = archive.source(member)
    if archive.peek(member, 4) != b"\x7fELF" or not needs_flag(read_shared_object(source)):
        return None
    patch = plan_flag(source)
    source.finish()  # a bad CRC is found before anything is written
    return patch


def _apply(patch: Patch, pieces: Iterable[bytes]) -> Iterator[bytes]:
    return apply_patches(pieces, [patch])


def _mark_object(path: Path, destination: Path) -> Marking:
    with path.open("rb") as file:
        source = FileSource(file)
        if source.read(0, min(4, source.size)) != b"\x7fELF":
            raise UnreadableInput("it is neither a wheel nor an ELF file", hint="give wheels, shared objects, or folders of wheels")
        if not needs_flag(read_shared_object(source)):
            return Marking(path)
        try:
            patch = plan_flag(source)
        except Refused as error:
            return Marking(path, refused=((str(path), error.line()),))
        if patch is None:
            return Marking(path)
        file.seek(0)
        with written_whole(destination, path) as out:
            out.writelines(apply_patches([file.read()], [patch]))
    return Marking(path, ((str(path), patch.why),))
