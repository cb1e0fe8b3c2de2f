"""A file that appears under its name only when it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["written_whole"]


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
