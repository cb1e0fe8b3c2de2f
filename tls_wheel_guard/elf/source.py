"""Where the reader gets bytes from: random access by offset, however the bytes are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tls_wheel_guard.errors import MalformedElf

__all__ = ["BytesSource", "Source", "pieces"]


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


PIECE = 1 << 20
"""Bytes of a relocation table that are held at a time."""


def pieces(source: Source, offset: int, length: int, entry: int) -> Iterator[bytes]:
    """``length`` bytes at ``offset``, in pieces of whole entries of ``entry`` bytes; a last part entry is left out."""
    step = PIECE // entry * entry
    end = offset + length // entry * entry
    while offset < end:
        take = min(step, end - offset)
        yield source.read(offset, take)
        offset += take
