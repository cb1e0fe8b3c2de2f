"""The members of a wheel: the zip's directory, read with ``zipfile``; each member's bytes streamed on demand."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from tls_wheel_guard.archive.inflate import MemberSource, raw_pieces
from tls_wheel_guard.errors import UnreadableMember, UnreadableWheel

__all__ = ["Archive", "Member", "open_archive"]

MAX_MEMBERS = 200_000
"""Members of one wheel. The largest wheels have some 20,000."""
MAX_MEMBER_SIZE = 16 << 30
"""Bytes of one inflated member; a wheel on PyPI may not have more than 10 GB in all."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the zip's directory. ``index``: its place there; names need not be unique."""

    name: str
    size: int
    index: int


class Archive:
    """An open wheel."""

    def __init__(self, file: IO[bytes], directory: zipfile.ZipFile) -> None:
        self._file = file
        self._zip = directory
        self._infos = directory.infolist()

    def members(self) -> Iterator[Member]:
        """All files, in directory order; folders are left out."""
        for index, info in enumerate(self._infos):
            if not info.is_dir():
                yield Member(info.orig_filename, info.file_size, index)

    def source(self, member: Member) -> MemberSource:
        """The member's bytes; raises UnreadableMember, here or while reading."""
        info = self._infos[member.index]
        if info.file_size > MAX_MEMBER_SIZE:
            raise UnreadableMember(f"it claims {info.file_size} bytes; at most {MAX_MEMBER_SIZE} are read")
        return MemberSource(lambda: raw_pieces(self._file, self._zip, info), info.file_size)

    def text(self, suffix: str, limit: int = 1 << 20) -> str | None:
        """The text of the first member in the top-level dist-info folder that ends with ``suffix``, None if there is none."""
        for member in self.members():
            folder, _, base = member.name.rpartition("/")
            if base == suffix and folder.endswith(".dist-info") and "/" not in folder and member.size <= limit:
                return self.source(member).read(0, member.size).decode("utf-8", "replace")
        return None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_archive(file: IO[bytes]) -> Archive:
    """Read the directory of a zip from a seekable binary file; raises UnreadableWheel. The file then belongs to the archive."""
    try:
        directory = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError, EOFError) as error:
        file.close()
        raise UnreadableWheel(
            f"it is not a zip archive or is cut short: {error}", hint="build or download the wheel again, and check its size"
        ) from error
    if len(directory.infolist()) > MAX_MEMBERS:
        directory.close()
        file.close()
        raise UnreadableWheel(f"it has more than {MAX_MEMBERS} members", hint="no wheel needs so many; look at what it holds")
    return Archive(file, directory)
