"""One folder in memory for the files that an input must lie in."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

__all__ = ["scratch"]


@functools.cache
def scratch() -> Path:
    """A folder of this process, gone when it ends."""
    memory = Path("/dev/shm")  # noqa: S108  (faster than a disk)
    folder = tempfile.mkdtemp(prefix="hostile-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
