"""Set DF_STATIC_TLS in wheels and shared objects: which modules need it, how it is done, what was refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tls_wheel_guard.archive import open_archive
from tls_wheel_guard.archive.rewrite import Change, rewrite_wheel
from tls_wheel_guard.elf import SharedObject, read_shared_object
from tls_wheel_guard.errors import MalformedElf, Refused, UnreadableMember, UsageError
from tls_wheel_guard.inspection import FileSource, is_wheel
from tls_wheel_guard.repair import Patch, apply_patches, plan_flag

__all__ = ["Marking", "mark_file", "needs_flag"]


@dataclass(frozen=True, slots=True)
class Marking:
    """What was done. ``marked``: (module, how); ``refused``: (module, why). Nothing was written where ``marked`` is empty."""

    path: Path
    marked: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]


def needs_flag(module: SharedObject) -> bool:
    """Own initial-exec relocations in a shared object without the flag."""
    return module.kind == "shared" and module.initial_exec.own > 0 and not module.df_static_tls


def mark_file(path: Path, destination: Path, epoch: int | None = None) -> Marking:
    """Set the flag in a wheel or bare shared object and write the result to ``destination``, which may be ``path``.

    Modules where it can't be set are refused and left as they are; the others are marked. Raises UnreadableInput, UsageError.
    """
    try:
        return _mark_wheel(path, destination, epoch) if is_wheel(path) else _mark_object(path, destination)
    except OSError as error:
        raise UsageError(f"{destination}: it can't be written: {error.strerror or error}", hint="choose a folder that can be written") from error


def _mark_wheel(path: Path, destination: Path, epoch: int | None) -> Marking:
    plans: dict[int, tuple[str, Patch]] = {}
    refused: list[tuple[str, str]] = []
    with open_archive(path.open("rb")) as archive:
        for member in archive.members():
            try:
                source = archive.source(member)
                if archive.peek(member, 4) != b"\x7fELF" or not needs_flag(read_shared_object(source)):
                    continue
                patch = plan_flag(source)
                if patch is not None:
                    plans[member.index] = (member.name, patch)
            except (MalformedElf, UnreadableMember):
                continue
            except Refused as error:
                refused.append((member.name, error.message))
    if plans:
        changes: dict[int, Change] = {index: partial(_apply, patch) for index, (_, patch) in plans.items()}
        rewrite_wheel(path, destination, changes, epoch)
    return Marking(path, tuple((name, patch.why) for name, patch in plans.values()), tuple(refused))


def _apply(patch: Patch, pieces: Iterable[bytes]) -> Iterator[bytes]:
    return apply_patches(pieces, [patch])


def _mark_object(path: Path, destination: Path) -> Marking:
    with path.open("rb") as file:
        source = FileSource(file)
        if not needs_flag(read_shared_object(source)):
            return Marking(path, (), ())
        try:
            patch = plan_flag(source)
        except Refused as error:
            return Marking(path, (), ((str(path), error.message),))
        if patch is None:
            return Marking(path, (), ())
        file.seek(0)
        data = b"".join(apply_patches([file.read()], [patch]))
    write_whole(destination, data, path.stat().st_mode & 0o7777)
    return Marking(path, ((str(path), patch.why),), ())


def write_whole(destination: Path, data: bytes, mode: int) -> None:
    """Write a file beside its place and rename it: a process that maps the old one keeps it."""
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".unfinished", dir=destination.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        unfinished.chmod(mode)
        unfinished.replace(destination)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
