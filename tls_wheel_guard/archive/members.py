"""The members of a wheel: the zip's directory, read with ``zipfile``; each member's bytes streamed on demand."""

from __future__ import annotations

import struct
import threading
import zipfile
from collections.abc import Iterator
from typing import IO

from tls_wheel_guard.archive.central_directory import require_directory, require_no_overlap
from tls_wheel_guard.archive.compression import Readable, first_bytes, raw_pieces
from tls_wheel_guard.archive.inflate import MemberSource
from tls_wheel_guard.errors import TlsWheelGuardError, UnreadableMember, UnreadableWheel
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["Archive", "Member", "open_archive"]

_FAILURES = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError, EOFError, OverflowError, struct.error)
"""All that ``zipfile`` raises on a damaged directory."""

ISAL_PAYS_FROM = 512 << 10
"""Bytes of a wheel from which isal saves more than the 3 ms of its import."""

MAX_EXTRA = 1024
"""Bytes of a local header's extra field that are expected at most; what is longer is read all the same."""


class Member:
    """One entry of the zip's directory. ``index``: its place there; names need not be unique."""

    __slots__ = ("index", "name", "size")

    # Written out: a record takes a microsecond longer to make, and a wheel may have two hundred thousand members.
    def __init__(self, name: str, size: int, index: int) -> None:
        self.name = name
        self.size = size
        self.index = index


class _OwnPlace:
    """A file with a place of its own for each thread that reads it: seeking and reading are one step."""

    def __init__(self, file: IO[bytes], lock: threading.Lock) -> None:
        self._file = file
        self._lock = lock
        self._at = 0

    def seek(self, position: int) -> int:
        """Where the next read begins."""
        self._at = position
        return position

    def read(self, length: int) -> bytes:
        """Up to ``length`` bytes."""
        with self._lock:
            self._file.seek(self._at)
            data = self._file.read(length)
        self._at += len(data)
        return data


class Archive:
    """An open wheel. ``file``: its bytes. ``infos``: the zip's directory, by index; ``directory_at``: the file offset where it starts.

    ``threaded``: whether several threads read members.
    """

    threaded = False

    def __init__(self, file: IO[bytes], directory: zipfile.ZipFile, limits: Limits) -> None:
        self.file = file
        self._lock = threading.Lock()
        self.infos = directory.infolist()
        self.directory_at = directory.start_dir
        self.comment = directory.comment
        self._limits = limits
        self._zip = directory
        self._fast = self.directory_at >= ISAL_PAYS_FROM

    def members(self) -> Iterator[Member]:
        """All files, in directory order; folders are left out."""
        for index, info in enumerate(self.infos):
            # Not is_dir(), which fails on an empty name.
            if not info.filename.endswith("/"):
                yield Member(info.orig_filename, info.file_size, index)

    def peek(self, member: Member, length: int) -> bytes:
        """Up to ``length`` first bytes of the member; raises UnreadableMember."""
        length = min(length, member.size)
        first = first_bytes(self._reader(), self.infos[member.index], length)
        return first if len(first) == length and length else self.source(member).read(0, length)

    def packed_size(self, member: Member) -> int:
        """Its compressed bytes."""
        return self.infos[member.index].compress_size

    def source(self, member: Member) -> MemberSource:
        """The member's bytes; raises UnreadableMember, here or while reading."""
        info, limits = self.infos[member.index], self._limits
        if info.file_size > limits.member_size:
            raise UnreadableMember(f"it claims {info.file_size} bytes; {over(limits, 'member-size')}")
        return MemberSource(lambda: raw_pieces(self._reader(), info, limits, self._fast), info.file_size, limits)

    def _reader(self) -> Readable:
        return _OwnPlace(self.file, self._lock) if self.threaded else self.file

    def pieces(self, index: int) -> Iterator[bytes]:
        """The inflated bytes of the member at ``index``, its CRC and size checked at the end; raises UnreadableMember."""
        return raw_pieces(self.file, self.infos[index], self._limits, self._fast)

    def span(self, info: zipfile.ZipInfo) -> tuple[int, int]:
        """File offsets from and to: a member's local header and data, up to where the next member may begin."""
        behind = min((other.header_offset for other in self.infos if other.header_offset > info.header_offset), default=self.directory_at)
        return info.header_offset, min(behind, info.header_offset + 30 + 2 * len(info.orig_filename) + MAX_EXTRA + info.compress_size)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self.file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_archive(file: IO[bytes], limits: Limits = DEFAULT_LIMITS) -> Archive:
    """Read the directory of a zip with members from a seekable binary file; raises UnreadableWheel. The file then belongs to the archive."""
    try:
        require_directory(file, limits)
        directory = zipfile.ZipFile(file)
        require_no_overlap(directory.infolist(), directory.start_dir, limits)
    except TlsWheelGuardError:
        file.close()
        raise
    except _FAILURES as error:
        file.close()
        raise UnreadableWheel(
            f"it is not a zip archive or is cut short: {error}", hint="build or download the wheel again, and check its size"
        ) from error
    archive = Archive(file, directory, limits)
    if next(archive.members(), None) is None:
        archive.close()
        raise UnreadableWheel("it is an empty zip archive, and no wheel", hint="build the wheel again")
    return archive
