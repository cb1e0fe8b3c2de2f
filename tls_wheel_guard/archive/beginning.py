"""The beginning of one member, from pieces of the archive that come one after another: what is there is inflated, and no more is asked for."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator

from tls_wheel_guard.archive.central_directory import LOCAL_HEADER
from tls_wheel_guard.archive.compression import ENCRYPTED, local_header_size
from tls_wheel_guard.errors import UnreadableMember

__all__ = ["Beginning"]

PIECE = 256 << 10
"""Bytes that are inflated at a time: a few compressed ones may become very many."""


class Beginning:
    """A member's first bytes. ``at``: the file offset of the next byte that is wanted; ``end``: behind its last, as far as it is known.

    Raises UnreadableMember, also where only a stream can inflate it.
    """

    def __init__(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableMember("it can't be inflated from its beginning alone")
        self.at = info.header_offset
        self.end = info.header_offset + LOCAL_HEADER + len(info.orig_filename.encode()) + len(info.extra) + info.compress_size
        self._info = info
        self._header: bytes | None = b""
        self._inflater = zlib.decompressobj(-15) if info.compress_type == zipfile.ZIP_DEFLATED else None

    @property
    def is_whole(self) -> bool:
        """Whether all of it was fed."""
        return self._header is None and self.at >= self.end

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The archive's next bytes, from ``at`` on; yields the member's."""
        self.at += len(piece)
        if self._header is not None:
            self._header += piece
            found = local_header_size(self._header, self._info)
            if found is None or len(self._header) < found:
                return
            self.end = self._info.header_offset + found + self._info.compress_size
            piece, self._header = self._header[found:], None
        piece = piece[: max(len(piece) - max(self.at - self.end, 0), 0)]
        if self._inflater is None:
            yield piece
            return
        while piece and not self._inflater.eof:
            try:
                found_bytes = self._inflater.decompress(piece, PIECE)
            except zlib.error as error:
                raise UnreadableMember(f"it can't be inflated: {error}") from error
            piece = self._inflater.unconsumed_tail
            yield found_bytes
