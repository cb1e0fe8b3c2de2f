"""One member's bytes, inflated as a stream, with a little memory of the beginning.

Relocation tables stand in the first hundredths of a shared object, the dynamic segment that says where they are near its
end. So the first ``HEAD`` bytes are kept while the stream runs on, and only a file whose tables lie beyond them is inflated
a second time, up to there. Memory stays the same for a member of any size.
"""

from __future__ import annotations

import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from tls_wheel_guard.errors import MalformedElf, UnreadableMember

__all__ = ["HEAD", "MemberSource", "raw_pieces"]

HEAD = 8 << 20
"""Bytes of a member's beginning that are kept."""
INPUT, OUTPUT = 64 << 10, 1 << 20
"""Bytes fed to and taken from the decompressor at a time: feeding all at once is quadratic in zlib's module."""
OVERLAP = 64 << 10
"""Bytes before the newest piece that are still at hand: neighbours are read together, and a piece may end between them."""
MAX_RESTARTS = 16
"""Times that one member is inflated again from its start; an ordinary one needs none or one."""

METHODS = {
    8: "deflate", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard, from Python 3.14 on", 95: "XZ", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
"""Compression methods of zip (APPNOTE.TXT 4.4.5), in words for those that this Python may not have."""


def _failures() -> tuple[type[Exception], ...]:
    """All that decompressors raise on damaged data."""
    known = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)
    if sys.version_info >= (3, 14):
        try:
            from compression.zstd import ZstdError  # noqa: PLC0415  (an interpreter may be built without it)
        except ImportError:
            return known
        return (*known, ZstdError)
    return known


_FAILURES = _failures()


def _fastest_zlib() -> Any:
    """The zlib module, or isal's twin of it."""
    try:
        from isal import isal_zlib  # noqa: PLC0415  (the [fast] extra, where it is installed)
    except ImportError:
        return zlib
    return isal_zlib


def raw_pieces(file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The inflated bytes of a member in pieces, its CRC and size checked at the end; raises UnreadableMember."""
    try:
        if info.flag_bits & 0x1:
            raise UnreadableMember("it is encrypted")
        if info.compress_type == zipfile.ZIP_DEFLATED:
            yield from _checked(_deflated(file, info), info)
        else:
            # The library knows the rarer methods, and checks the CRC itself.
            with archive.open(info) as stream:
                while piece := stream.read(OUTPUT):
                    yield piece
    except UnreadableMember:
        raise
    except NotImplementedError as error:
        number = info.compress_type
        raise UnreadableMember(f"this Python does not know its compression method, {number} ({METHODS.get(number, 'no usual one')})") from error
    except _FAILURES as error:
        raise UnreadableMember(f"it can't be inflated: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _deflated(file: IO[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    position = _data_offset(file, info)
    left = info.compress_size
    inflater = _fastest_zlib().decompressobj(-15)
    pending = b""
    while not inflater.eof:
        if not pending:
            file.seek(position)
            pending = file.read(min(INPUT, left))
            position += len(pending)
            left -= len(pending)
            if not pending:
                raise UnreadableMember("its compressed data end too soon")
        if piece := inflater.decompress(pending, OUTPUT):
            yield piece
        pending = inflater.unconsumed_tail


def _data_offset(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where a member's compressed bytes start: behind its local header (APPNOTE.TXT 4.3.7)."""
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise UnreadableMember("its local header is not where the directory says")
    name_size, extra_size = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    raw_name = file.read(name_size)
    name = raw_name.decode("utf-8" if header[7] & 0x08 else "cp437", "replace")
    if name != info.orig_filename:
        raise UnreadableMember("its local header has another name than the directory")
    return info.header_offset + 30 + name_size + extra_size


def _checked(pieces: Iterator[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    crc32 = _fastest_zlib().crc32
    crc = size = 0
    for piece in pieces:
        size += len(piece)
        if size > info.file_size:
            raise UnreadableMember(f"it inflates to more than the {info.file_size} bytes that it claims")
        crc = crc32(piece, crc)
        yield piece
    if size != info.file_size:
        raise UnreadableMember(f"it inflates to {size} bytes and claims {info.file_size}")
    if crc != info.CRC:
        raise UnreadableMember(f"bad CRC-32: {crc:08x} instead of {info.CRC:08x}")


class MemberSource:
    """A member's bytes by offset (an ``elf.Source``), over a stream that can only be started again."""

    def __init__(self, start: Callable[[], Iterator[bytes]], size: int) -> None:
        self.size = size
        self.start = start
        self._stream = start()
        self._head = bytearray()
        self._window = b""
        self._window_at = 0
        self._next = 0
        self._restarts = 0
        self._checked = False

    def peek(self, length: int) -> bytes:
        """Up to ``length`` first bytes."""
        return self.read(0, min(length, self.size))

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MalformedElf(f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes")
        end = offset + length
        if end <= HEAD:
            while len(self._head) < end:
                self._advance()
            return bytes(self._head[offset:end])
        if offset < self._window_at:
            self._restart()
        parts = []
        while offset < end:
            while self._next <= offset:
                self._advance()
            part = self._window[offset - self._window_at : end - self._window_at]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Run to the end once, so that size and CRC are checked; raises UnreadableMember."""
        while not self._checked:
            self._advance(at_end_ok=True)

    def _advance(self, at_end_ok: bool = False) -> None:
        piece = next(self._stream, None)
        if piece is None:
            self._checked = True
            if at_end_ok:
                return
            raise UnreadableMember(f"it ends after {self._next} of {self.size} bytes")
        kept = self._window[-OVERLAP:]
        self._window, self._window_at = kept + piece, self._next - len(kept)
        if len(self._head) == self._next < HEAD:
            self._head += piece[: HEAD - self._next]
        self._next += len(piece)

    def _restart(self) -> None:
        self.finish()
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise MalformedElf(f"its parts are so scattered that it would be inflated more than {MAX_RESTARTS} times")
        self._stream = self.start()
        self._window, self._window_at, self._next = b"", 0, 0
