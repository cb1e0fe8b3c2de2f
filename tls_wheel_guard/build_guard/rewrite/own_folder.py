"""A folder inside a build folder that the project has, for one rewritten build alone: nothing old lies in it, no other build uses it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tls_wheel_guard.build_guard.rewrite.settings import OWN_FOLDER
from tls_wheel_guard.errors import UsageError

__all__ = ["own_folder"]

MOST = 64
"""Rewritten builds of one checkout at the same time."""


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A folder for others to make: absent before, removed afterwards, and so is a parent that was not there and is left empty.

    Its name is the same from build to build, since compilers write it into what they make, but for a number where another build is under
    way in the same checkout. A lock tells those from what a killed build left. Raises UsageError where there are too many.
    """
    try:
        had_parent = parent.exists() and not _is_another_builds(parent)
        parent.mkdir(parents=True, exist_ok=True)
        folder, lock, handle = _locked(parent)
    except OSError:
        # Nobody can write there: a build that needs the folder will say so, and most need none.
        yield parent / OWN_FOLDER
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            lock.unlink()
        os.close(handle)
        if not had_parent:
            with suppress(OSError):
                parent.rmdir()


def _is_another_builds(parent: Path) -> bool:
    """Whether another rewritten build, still under way, made the parent: only such builds' files lie in it. The last one removes it."""
    paths = list(parent.iterdir())
    return all(path.name.removeprefix(".").startswith(OWN_FOLDER) for path in paths) and any(_is_held(path) for path in paths)


def _is_held(lock: Path) -> bool:
    """Whether a build that is under way has the lock; False for a folder."""
    if lock.suffix != ".lock":
        return False
    handle = os.open(lock, os.O_RDWR)
    try:
        return not _lock(handle, lock)
    finally:
        os.close(handle)


def _locked(parent: Path) -> tuple[Path, Path, int]:
    """The first folder that nobody uses, its lock, and the open lock; raises UsageError and OSError."""
    for number in range(MOST):
        folder = parent / (f"{OWN_FOLDER}-{number}" if number else OWN_FOLDER)
        lock = parent / f".{folder.name}.lock"
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        if _lock(handle, lock):
            return folder, lock, handle
        os.close(handle)
    raise UsageError(f"{parent}: {MOST} rewritten builds are under way in it", hint="wait for them, or remove the files .*.lock in it")


def _lock(handle: int, path: Path) -> bool:
    import fcntl  # noqa: PLC0415  (POSIX only, as rewriting is)

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: one build at a time must do.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    try:
        # Whoever had the lock may have removed the file meanwhile.
        return os.fstat(handle).st_ino == path.stat().st_ino
    except OSError:
        return False
