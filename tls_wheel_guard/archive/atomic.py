"""Files that appear under their names only when they are whole."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["written_together", "written_whole"]


@contextmanager
def written_whole(destination: Path, like: Path) -> Iterator[IO[bytes]]:
    """A file beside ``destination``, renamed to it at the end with the mode of ``like``; a process that maps the old one keeps it.

    Raises OSError where it can't be written. Whatever goes wrong, ``destination`` is as before.
    """
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".unfinished", dir=destination.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(like.stat().st_mode & 0o7777)
        unfinished.replace(destination)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def written_together(files: Mapping[Path, bytes]) -> None:
    """Give several files new bytes: all of them or, where one can't be written, none. A file that is not there is made, its folder too.

    Every new text lies on the disk before the first file is replaced, each by a rename. Raises OSError.
    """
    ready: dict[Path, Path] = {}
    made: list[Path] = []
    kept: dict[Path, bytes | None] = {}
    try:
        for path, data in files.items():
            if not path.parent.exists():
                path.parent.mkdir()
                made.append(path.parent)
            kept[path] = path.read_bytes() if path.exists() else None
            ready[path] = _unfinished(path, data)
        for path, unfinished in ready.items():
            unfinished.replace(path)
    except BaseException:
        for path, unfinished in ready.items():
            _put_back(path, unfinished, kept[path])
        for folder in made:
            folder.rmdir()
        raise


def _unfinished(path: Path, data: bytes) -> Path:
    """The bytes in a file beside the one that they are for, with its mode."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            Path(name).chmod(path.stat().st_mode & 0o7777)
        else:
            Path(name).chmod(0o666 & ~_umask())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _put_back(path: Path, unfinished: Path, old: bytes | None) -> None:
    """Undo a replacement that was made; where it was not made, only the unfinished file goes."""
    if unfinished.exists():
        unfinished.unlink()
    elif old is None:
        path.unlink(missing_ok=True)
    else:
        _unfinished(path, old).replace(path)
