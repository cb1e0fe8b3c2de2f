"""A file behind HTTP ranges, opened as any file is: what is asked for is fetched, with some bytes more where reading goes on."""

from __future__ import annotations

import io
from collections.abc import Iterable

from tls_wheel_guard.index.connection import Connection, FileChanged

__all__ = ["RangeFile"]

TAIL = 64 << 10
"""Bytes of the end that are fetched first: most central directories are in the last 16 KB, those of large wheels in the last 64."""
NEAR = 128 << 10
"""Bytes between two places that are cheaper to fetch than one more request."""
LEAST, MOST = 64 << 10, 1 << 20
"""Bytes fetched at a time: more each time that reading goes on where it stopped."""


class RangeFile(io.RawIOBase):
    """The file of an address; raises NoRanges, FileChanged and UnreadableIndex while reading.

    ``size``: where the index says it; else it comes with the first range. What was fetched is kept until the file is closed, at most
    ``keeps`` bytes of it: the end of the file always.
    """

    def __init__(self, connection: Connection, url: str, size: int | None = None, keeps: int = 64 << 20) -> None:
        super().__init__()
        self._connection, self._url, self._keeps = connection, url, keeps
        self._at = 0
        self._ahead = LEAST
        self._blocks: list[tuple[int, bytes]] = []
        part = connection.part(url, None, min(TAIL, size) if size else TAIL)
        if size is not None and part.total != size:
            raise FileChanged
        self.size, self.version = part.total, part.version
        self.bytes_read, self.requests = len(part.data), 1
        self._tail = (part.first, part.data)

    def cost(self, spans: Iterable[tuple[int, int]]) -> int:
        """Bytes that :meth:`prefetch` would fetch."""
        return sum(high - low for low, high in self._plan(spans))

    def prefetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch some places, each from and to: those near each other together."""
        for low, high in self._plan(spans):
            for start in range(low, high, 8 * MOST):
                self._fetch(start, min(8 * MOST, high - start))

    def _plan(self, spans: Iterable[tuple[int, int]]) -> list[list[int]]:
        todo: list[list[int]] = []
        for start, end in sorted(spans):
            low, high = max(start, 0), min(end, self._tail[0])
            if low >= high or self._found(low, high - low) is not None:
                continue
            if todo and low - todo[-1][1] <= NEAR:
                todo[-1][1] = max(todo[-1][1], high)
            else:
                todo.append([low, high])
        return todo

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
        data = self._found(self._at, left)
        if data is None:
            data = self._fetched(self._at, left)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        """All that is left."""
        return self.read(-1)

    def _found(self, at: int, length: int) -> bytes | None:
        for start, block in (self._tail, *reversed(self._blocks)):
            if start <= at and at + length <= start + len(block):
                return block[at - start : at - start + length]
        return None

    def _fetched(self, at: int, length: int) -> bytes:
        """Bytes that no block has whole: the beginning may stand in one, the end in the tail."""
        parts = []
        end = at + length
        while at < end:
            block = next((b for b in (self._tail, *reversed(self._blocks)) if b[0] <= at < b[0] + len(b[1])), None)
            if block is None:
                goes_on = any(start + len(data) == at for start, data in self._blocks)
                self._ahead = min(2 * self._ahead, MOST) if goes_on else LEAST
                stop = min(max(end, at + self._ahead), self._tail[0])
                block = self._fetch(at, min(stop - at, 8 * MOST))
            piece = block[1][at - block[0] : end - block[0]]
            parts.append(piece)
            at += len(piece)
        return b"".join(parts)

    def _fetch(self, at: int, length: int) -> tuple[int, bytes]:
        part = self._connection.part(self._url, at, length)
        if part.total != self.size or part.version != self.version:
            raise FileChanged
        self.bytes_read += len(part.data)
        self.requests += 1
        self._blocks.append((at, part.data))
        while len(self._blocks) > 1 and sum(len(data) for _, data in self._blocks) > self._keeps:
            self._blocks.pop(0)
        return self._blocks[-1]
