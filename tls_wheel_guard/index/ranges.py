"""A file behind HTTP ranges, opened as any file is. What was fetched stays in a file with holes, so nothing is fetched twice."""

from __future__ import annotations

import bisect
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.connection import Connection, FileChanged, Told

__all__ = ["RangeFile"]

TAIL = 32 << 10
"""Bytes of the end that are fetched first: most central directories are in the last 16 KB; a larger one costs one more request."""
NEAR = 256 << 10
"""Bytes between two places that are cheaper to fetch than one more request: what a line of 100 Mbit/s carries in 20 ms."""
PART = 256
"""Bytes between two places that are cheaper to fetch than the headers of one more part of an answer."""
MOST_PARTS = 190
"""Ranges of one request. Apache ignores more than 200, and nginx takes a header of 8 KB."""
MOST_TOGETHER = 8 << 20
"""Bytes that are asked for as parts of one answer, which is held in memory; a longer stretch has a request of its own."""
FEW = 3
"""Requests for all that is missing; what lies between is then fetched again."""
LEAST = 16 << 10
"""Bytes that are fetched where reading goes on behind what was asked for."""
PIECE = 1 << 20


class RangeFile(io.RawIOBase):
    """The file of an address; raises NoRanges, FileChanged and UnreadableIndex while reading.

    ``path``: where what was fetched is kept, to be written. ``size``: where the index says it; else it comes with the first range.
    ``bytes_read``: of all answers, with the headers of their parts.
    """

    def __init__(self, connection: Connection, url: str, path: Path, size: int | None = None) -> None:
        super().__init__()
        self._connection, self._url, self._path = connection, url, path
        self._at = 0
        self._spans: list[tuple[int, int]] = []
        self._file: IO[bytes] | None = None
        part = connection.part(url, None, min(TAIL, size) if size else TAIL)
        if size is not None and part.total != size:
            raise FileChanged
        self.size, self.version = part.total, part.version
        self.bytes_read, self.requests = len(part.data), 1
        self._keep(part.first, part.data)
        self._hold(part.first, self.size)

    @property
    def takes_several(self) -> bool:
        """Whether the server may answer one request for several ranges."""
        return self._connection.takes_several(self._url)

    def cost(self, spans: Iterable[tuple[int, int]]) -> int:
        """Bytes that :meth:`fetch` would fetch."""
        return sum(high - low for low, high in self._plan(spans))

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch some places, each from and to: near ones together, and where the server can as parts of one answer."""
        todo = self._plan(spans)
        while todo:
            batch, todo = self._batch(todo)
            told = self._connection.stretches(self._url, batch, self._keep) if len(batch) > 1 else None
            self.requests += len(batch) > 1
            if told is None and len(batch) > 1:
                # This server gives one range at a time: other places are then worth a request.
                todo = self._plan([*batch, *todo])
                continue
            if told is None:
                low, high = batch[0]
                self.requests += 1
                told = self._connection.stretch(self._url, low, high - low, self._keep)
            self._require_same(told)
            self.bytes_read += told.sent
            for low, high in batch:
                self._hold(low, high)

    def _batch(self, todo: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The first places that one request asks for, and the rest."""
        if not self.takes_several:
            return todo[:1], todo[1:]
        count = together = 0
        for low, high in todo[:MOST_PARTS]:
            together += high - low
            if count and together > MOST_TOGETHER:
                break
            count += 1
        return todo[:count], todo[count:]

    def complete(self) -> str:
        """Fetch all that is missing; the file's SHA-256. It then lies whole at ``path``."""
        holes, near = self._missing(0, self.size), NEAR
        while len(holes := self._merged(holes, near)) > FEW:
            near *= 2
        for start, end in holes:
            self.requests += 1
            told = self._connection.stretch(self._url, start, end - start, self._keep)
            self._require_same(told)
            self.bytes_read += told.sent
            self._hold(start, end)
        digest, store = hashlib.sha256(), self._store()
        store.seek(0)
        while piece := store.read(PIECE):
            digest.update(piece)
        store.flush()
        return digest.hexdigest()

    def _require_same(self, told: Told) -> None:
        if told.total != self.size or told.version != self.version:
            raise FileChanged

    def _plan(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        near = PART if self.takes_several else NEAR
        holes = [hole for start, end in sorted(spans) for hole in self._missing(max(start, 0), min(end, self.size))]
        return self._merged(holes, near)

    def _merged(self, holes: Iterable[tuple[int, int]], near: int) -> list[tuple[int, int]]:
        merged: list[tuple[int, int]] = []
        for low, high in holes:
            if merged and low - merged[-1][1] <= near:
                merged[-1] = merged[-1][0], max(merged[-1][1], high)
            else:
                merged.append((low, high))
        return merged

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is not held of the bytes from ``start`` to ``end``."""
        found, at = [], start
        for low, high in self._spans[max(bisect.bisect_right(self._spans, (start, self.size + 1)) - 1, 0) :]:
            if low >= end or at >= end:
                break
            if high > at:
                if low > at:
                    found.append((at, low))
                at = high
        if at < end:
            found.append((at, end))
        return found

    def _hold(self, start: int, end: int) -> None:
        """Note that the bytes from ``start`` to ``end`` are there."""
        first = bisect.bisect_left(self._spans, (start, start))
        if first and self._spans[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(self._spans) and self._spans[last][0] <= end:
            start, end = min(start, self._spans[last][0]), max(end, self._spans[last][1])
            last += 1
        self._spans[first:last] = [(start, end)]

    def _keep(self, at: int, data: bytes) -> None:
        try:
            store = self._store()
            store.seek(at)
            store.write(data)
        except OSError as error:
            raise UnreadableIndex(
                f"{self._path.parent}: it can't be written: {error.strerror}", hint="TMPDIR names a folder with room for the largest wheels"
            ) from error

    def _store(self) -> IO[bytes]:
        if self._file is None:
            self._file = self._path.open("w+b")
        return self._file

    def flush_kept(self) -> None:
        """Let others read what is kept at ``path``."""
        self._store().truncate(self.size)
        self._store().flush()

    def close(self) -> None:
        """Close what is kept; it stays at ``path``."""
        if self._file is not None:
            self._file.close()
        super().close()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The file offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file's."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"a file offset of {start + offset}")
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """As any file's: fewer bytes at the end only."""
        left = self.size - self._at if size is None or size < 0 else min(size, self.size - self._at)
        if left <= 0:
            return b""
        end = self._at + left
        if self._missing(self._at, end):
            self.fetch([(self._at, max(end, self._at + LEAST))])
        store = self._store()
        store.seek(self._at)
        data = store.read(left)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        """All that is left."""
        return self.read(-1)
