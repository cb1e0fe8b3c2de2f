"""Read as little of a listed wheel as is certain: the beginnings of its members, the members that may ask whole, or all of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tls_wheel_guard.archive import Archive, open_archive
from tls_wheel_guard.errors import UnreadableIndex, UnreadableInput
from tls_wheel_guard.index.beginnings import Looked, TooMuch, look_at
from tls_wheel_guard.index.connection import Connection, FileChanged, NoRanges
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.policy import ClearModule, Policy
from tls_wheel_guard.index.ranges import RangeFile
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass

__all__ = ["WheelRead", "read_wheel"]

SMALL = 128 << 10
"""Bytes of a wheel that is fetched whole: its members would take several requests."""
MOST_BY_PARTS = 0.5
"""The share of a wheel that is fetched by parts; where more would be, it is read whole."""
MOST_OF_MEMBERS = 0.9
"""The share of a wheel up to which members are fetched whole one by one: the whole wheel has a hash, and is then little more."""
REPAIRED = ".dist-info/tls_wheel_guard.json"
"""The note that a repair leaves in a wheel."""
ABOUT = (".dist-info/WHEEL", ".dist-info/sboms/")
"""Parts of the names of members that say who made a wheel of what."""


@dataclass(slots=True)
class WheelRead:
    """What was read of one wheel.

    ``modules``: those that are clear by their beginnings, where not all was read. ``file``: where the wheel lies until the context ends,
    None where all its modules are clear. ``members``: places in the directory of those that lie there whole, and the others' bytes are
    missing; None where all are there. ``rest``: fetches what is missing. ``sha256``: as listed, or as read whole.
    """

    wheel: ListedWheel
    read: Literal["ranges", "whole", "file"]
    bytes_read: int
    sha256: str | None
    modules: tuple[ClearModule, ...] = ()
    file: Path | None = None
    size: int | None = None
    version: str | None = None
    members: frozenset[int] | None = None
    rest: Callable[[], WheelRead] | None = None


@contextmanager
def read_wheel(
    wheel: ListedWheel, targets: Sequence[Target], connection: Connection, policy: Policy | None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[WheelRead]:
    """Read a wheel; with ``policy`` None always whole. Raises UnreadableIndex, and UnreadableInput where a folder's file can't be read."""
    if wheel.path is not None:
        yield WheelRead(wheel, "file", 0, wheel.sha256, file=Path(wheel.path), size=wheel.size)
        return
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-index-") as folder:
        reading = _Reading(wheel, connection, Path(folder, wheel.filename), limits)
        try:
            yield reading.little(targets, policy) if policy is not None and (wheel.size or SMALL + 1) > SMALL else reading.whole()
        finally:
            reading.close()


class _Reading:
    """One wheel on its way from a server to ``path``."""

    def __init__(self, wheel: ListedWheel, connection: Connection, path: Path, limits: Limits) -> None:
        if wheel.url is None:
            raise AssertionError("a wheel has an address or a path")
        self._wheel, self._url, self._connection, self._path, self._limits = wheel, wheel.url, connection, path, limits
        self._file: RangeFile | None = None
        self._spent = 0

    def close(self) -> None:
        """Close what is kept."""
        if self._file is not None:
            self._spent += self._file.bytes_read
            self._file.close()
            self._file = None

    def little(self, targets: Sequence[Target], policy: Policy) -> WheelRead:
        """As little as is certain."""
        for _ in range(2):
            self.close()
            try:
                self._file = RangeFile(self._connection, self._url, self._path, self._wheel.size)
                read = self._by_ranges(self._file, targets, policy) if self._file.size > SMALL else None
                if read is not None:
                    return read
                break
            except FileChanged:
                continue
            except (NoRanges, TooMuch, UnreadableInput):
                # What can't be read by parts may be read whole; what is wrong with it is then said by the judgement.
                break
        return self.whole()

    def whole(self) -> WheelRead:
        """All of it, what is there already not again, and its SHA-256 verified."""
        file, digest = self._file, None
        if file is not None:
            try:
                # An archive that can't be opened has closed its file.
                digest = None if file.closed else file.complete()
            except (NoRanges, FileChanged):
                digest = None
            if digest is None or (self._wheel.sha256 or digest) != digest:
                # Two ranges may be of different files.
                digest = None
            self.close()
        if digest is None:
            digest = self._fetched()
        size = self._path.stat().st_size
        return WheelRead(self._wheel, "whole", self._spent, digest, file=self._path, size=size, version=file.version if file else None)

    def _fetched(self) -> str:
        """The whole file by one request, and its SHA-256."""
        try:
            with self._path.open("w+b") as out:
                digest = self._connection.whole(self._url, out, self._wheel.size or self._limits.wheel_size)
                self._spent += out.tell()
        except OSError as error:
            raise UnreadableIndex(
                f"{self._path.parent}: it can't be written: {error.strerror}", hint="TMPDIR names a folder with room for the largest wheels"
            ) from error
        if self._wheel.sha256 is not None and digest != self._wheel.sha256:
            raise UnreadableIndex(
                f"{self._wheel.place}: its sha256 is {digest}, and the index says {self._wheel.sha256}",
                hint="a proxy or a mirror serves another file",
            )
        return digest

    def _by_ranges(self, file: RangeFile, targets: Sequence[Target], policy: Policy) -> WheelRead | None:
        """What its beginnings say, with the members that may ask; None where it must be read whole."""
        archive = open_archive(file, self._limits)  # type: ignore[arg-type]  # a RawIOBase reads bytes
        if any(info.filename.endswith(REPAIRED) for info in archive.infos):
            # What a repair has written is looked at whole: another tool may have broken it.
            return None
        clear: list[ClearModule] = []
        others: list[int] = []
        for found in look_at(archive, file, int(MOST_BY_PARTS * file.size)):
            module = _clear(found)
            if module is not None and policy.is_clear(targets, module):
                clear.append(module)
            else:
                others.append(found.member.index)
        if others and not self._fetch_members(archive, file, others):
            return None
        read = WheelRead(self._wheel, "ranges", file.bytes_read, self._wheel.sha256, tuple(clear), size=file.size, version=file.version)
        if others:
            file.flush_kept()
            read.file, read.members, read.rest = self._path, frozenset(others), self.whole
        return read

    def _fetch_members(self, archive: Archive, file: RangeFile, members: Sequence[int]) -> bool:
        """Fetch some members whole, and what says who made them; False where the whole wheel is hardly more."""
        infos = [archive.infos[index] for index in members]
        about = [info for info in archive.infos if any(part in info.filename for part in ABOUT)]
        spans = [archive.span(info) for info in (*infos, *about)]
        if file.bytes_read + file.cost(spans) > MOST_OF_MEMBERS * file.size:
            return False
        file.fetch(spans)
        return True


def _clear(found: Looked) -> ClearModule | None:
    """A member whose beginning is clear; None where that is not certain."""
    s = found.screening
    if s is None or s.answer != "clear" or found.machine is None:
        return None
    return ClearModule(found.member.name, found.machine, s.tls, s.descriptors, s.segment, s.libraries, s.unmarked)
