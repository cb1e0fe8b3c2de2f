"""Files on disk, opened to be read."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import IO

from tls_wheel_guard.errors import MalformedElf, UnreadableInput, UsageError

__all__ = ["FileSource", "expand", "open_regular"]


class FileSource:
    """A file on disk as an ``elf.Source``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MalformedElf(f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise MalformedElf(f"it ends after {offset + len(data)} of {self.size} bytes")
        return data


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def open_regular(path: Path) -> IO[bytes]:
    """A regular file, opened to be read; raises UnreadableInput."""
    try:
        # A FIFO would block for ever, a device never end; looked at before it is opened, and again in case it was exchanged.
        if stat.S_ISREG(path.stat().st_mode):
            handle = os.open(path, os.O_RDONLY | _FLAGS)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.fdopen(handle, "rb")
            os.close(handle)
        raise UnreadableInput("it is not a regular file", hint="give wheels, shared objects, or folders of wheels")
    except OSError as error:
        raise UnreadableInput(f"it can't be opened: {error.strerror or error}", hint="check the path and its permissions") from error


def expand(path: Path, tree: bool = False) -> list[Path]:
    """What one argument stands for: itself, or the wheels in a folder, unless it is a tree; raises UsageError."""
    try:
        if not path.exists() and not path.is_symlink():
            # Windows shells leave patterns to the program, and so does a shell where they are quoted.
            found = sorted(glob.glob(str(path))) if glob.has_magic(str(path)) else []  # noqa: PTH207  (a path of any form)
            if not found:
                raise UsageError(f"{path}: no such file or folder", hint="check the path; a pattern that matches nothing stays as it is")
            return [each for name in found for each in expand(Path(name), tree)]
        if tree or not path.is_dir():
            return [path]
        wheels = sorted(child for child in path.iterdir() if child.suffix == ".whl")
    except OSError as error:
        raise UsageError(f"{path}: it can't be looked at: {error.strerror}", hint="check the path and its permissions") from error
    if not wheels:
        raise UsageError(f"{path}: no wheel in this folder", hint="build one first, or give the folder that holds the *.whl files")
    return wheels
