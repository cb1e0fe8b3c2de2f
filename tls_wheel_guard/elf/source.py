"""Where the reader gets bytes from: random access by offset, however the bytes are stored."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Protocol

from tls_wheel_guard.errors import MalformedElf

__all__ = ["BytesSource", "HeldSource", "Source", "pieces", "windows"]


class Source(Protocol):
    """A file's bytes. Reading in ascending order is cheap; going back may cost a second inflation."""

    @property
    def size(self) -> int:
        """Bytes in the file."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``; raises MalformedElf where the file ends before."""
        ...


class BytesSource:
    """A file that is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MalformedElf(f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes")
        return self._data[offset : offset + length]


class HeldSource:
    """Another source of which some ranges are held: what lies scattered is read once, in ascending order, before it is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        self._starts: list[int] = []
        self._held: list[bytes] = []

    def hold(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Read ranges (offset, length) in ascending order and keep them, with those that are held; what lies outside the file is left out."""
        inside = {(start, start + length) for start, length in ranges if start >= 0 and length > 0 and start + length <= self.size}
        inside |= {(start, start + len(data)) for start, data in zip(self._starts, self._held, strict=True)}
        merged: list[tuple[int, int]] = []
        for start, end in sorted(inside):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], end)
            else:
                merged.append((start, end))
        self._held = [self.read(start, end - start) for start, end in merged]
        self._starts = [start for start, _ in merged]

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        place = bisect_right(self._starts, offset) - 1
        if place >= 0 and length > 0:
            start, data = self._starts[place], self._held[place]
            if offset + length <= start + len(data):
                return data[offset - start : offset - start + length]
        return self._source.read(offset, length)


PIECE = 1 << 20
"""Bytes of a relocation table that are held at a time."""
WINDOW = 128 << 10
"""Bytes that are searched at a time, a multiple of four: they stay in a processor's cache while one search after the other goes over them."""


def pieces(source: Source, offset: int, length: int, entry: int) -> Iterator[bytes]:
    """``length`` bytes at ``offset``, in pieces of whole entries of ``entry`` bytes; a last part entry is left out."""
    step = PIECE // entry * entry
    end = offset + length // entry * entry
    while offset < end:
        take = min(step, end - offset)
        yield source.read(offset, take)
        offset += take


def windows(source: Source, offset: int, length: int, ahead: int) -> Iterator[tuple[int, int, bytes]]:
    """``length`` bytes at ``offset`` to be searched: (place among them, bytes of this window's own, these bytes and those behind them).

    A match that begins in a window's own bytes is this window's, any other the next one's. Up to ``ahead`` bytes stand behind them, so that
    a match of up to ``ahead`` + 1 bytes is whole.
    """
    for at in range(0, length, WINDOW):
        yield at, min(WINDOW, length - at), source.read(offset + at, min(WINDOW + ahead, length - at))
