"""Things that take long to make, made once and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked", "made_once"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time works on ``path``, whose folder exists."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(done: Path, make: Callable[[Path], None]) -> Path:
    """The folder ``done``; the first caller has ``make`` fill an empty folder that is then renamed.

    A run that is killed leaves nothing that counts as done, and two runs at the same time wait for each other.
    """
    if done.is_dir():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    with locked(done):
        if not done.is_dir():
            work = done.with_name(f"{done.name}.unfinished")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            make(work)
            work.rename(done)
    return done
