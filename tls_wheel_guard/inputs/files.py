"""Files on disk, opened to be read. An OSError becomes an InputReadError here, so that no reader above has to think of it."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tls_wheel_guard.elf.reader import is_elf
from tls_wheel_guard.errors import InputReadError, MalformedElf, UnreadableInput, UsageError, reason_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["FileSource", "expand", "file_pieces", "open_regular", "read_regular", "sha256_of", "slashed", "starts_as_elf"]


PIECE = 1 << 20
"""Bytes that are copied at a time."""


class FileSource:
    """A file on disk as an ``elf.Source``; raises InputReadError where the system can't read it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        try:
            self.size = file.seek(0, os.SEEK_END)
        except OSError as error:
            raise InputReadError.of(error) from error

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MalformedElf(f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise MalformedElf(f"it ends after {offset + len(data)} of {self.size} bytes")
        return data


def file_pieces(file: IO[bytes]) -> Iterator[bytes]:
    """All bytes of an open file from its start, in pieces; raises InputReadError."""
    file.seek(0)
    while piece := file.read(PIECE):
        yield piece


class _InputFile(io.FileIO):
    """An open file whose failures are read errors. Only what the system itself is asked passes here; buffering lies above."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise InputReadError.of(error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise InputReadError.of(error) from error

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return super().seek(position, whence)
        except OSError as error:
            if error.errno == errno.EINVAL:  # a place in front of the file: what a damaged zip asks for
                raise
            raise InputReadError.of(error) from error


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """A regular file, opened to be read; raises InputReadError, and UnreadableInput where it is no regular file."""
    try:
        # A FIFO would block for ever, a device never end; looked at before it is opened, and again in case it was exchanged.
        if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  (any spelling of a path)
            file = _InputFile(os.open(path, os.O_RDONLY | _FLAGS), "rb")
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return io.BufferedReader(file)
            file.close()
    except OSError as error:
        raise InputReadError.of(error, doing="opened") from error
    except ValueError as error:  # a NUL in a path
        raise InputReadError(f"it can't be opened: {error}", hint="check the path") from error
    raise UnreadableInput("it is not a regular file", hint="give wheels, shared objects, or folders of wheels")


def slashed(path: str, separator: str = os.sep) -> str:
    """A path of this machine with slashes, as a wheel's members and all patterns have them."""
    return path if separator == "/" else path.replace(separator, "/")


def read_regular(path: str | os.PathLike[str], most: int) -> bytes | None:
    """All bytes of a regular file, None where it has more than ``most``; raises UnreadableInput."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    return data if len(data) <= most else None


def starts_as_elf(path: str | os.PathLike[str]) -> bool:
    """Whether a file is regular, can be read and begins as ELF files do."""
    try:
        with open_regular(path) as file:
            return is_elf(file.read(4))
    except UnreadableInput:
        return False


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a regular file in hexadecimal digits; raises UnreadableInput."""
    import hashlib  # noqa: PLC0415  (only builds inside builds ask)

    digest = hashlib.sha256()
    with open_regular(path) as file:
        for piece in file_pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def expand(path: Path, tree: bool = False) -> list[Path]:
    """Expand a path argument into files: itself, or the wheels in a folder, unless it is a tree.

    Raises UsageError where nothing is there, InputReadError where a folder can't be listed.
    """
    try:
        if not path.exists() and not path.is_symlink():
            # Windows shells leave patterns to the program, and so does a shell where they are quoted.
            import glob  # noqa: PLC0415  (a path that is there needs none)

            found = sorted(glob.glob(str(path))) if glob.has_magic(str(path)) else []  # noqa: PTH207  (a path of any form)
            if not found:
                raise UsageError(f"{path}: no such file or folder", hint="check the path; a pattern that matches nothing stays as it is")
            return [each for name in found for each in expand(Path(name), tree)]
        if tree or not path.is_dir():
            return [path]
        wheels = sorted(child for child in path.iterdir() if child.suffix == ".whl")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{path}: no such file or folder: {reason_of(error)}", hint="check the path") from error
        failed = InputReadError.of(error, doing="listed")
        raise InputReadError(f"{path}: {failed.message}", hint=failed.hint) from error
    if not wheels:
        raise UsageError(f"{path}: no wheel in this folder", hint="build one first, or give the folder that holds the *.whl files")
    return wheels
