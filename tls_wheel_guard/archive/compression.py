"""A member's compressed bytes in, its own bytes out, in pieces and within bounds, whatever the method."""

from __future__ import annotations

import bz2
import functools
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from tls_wheel_guard.archive.central_directory import LOCAL_HEADER
from tls_wheel_guard.errors import UnreadableMember
from tls_wheel_guard.limits import Limits, over

__all__ = ["ENCRYPTED", "Readable", "first_bytes", "local_header_size", "raw_pieces"]

INPUT, OUTPUT = 64 << 10, 256 << 10
"""Bytes fed to and taken from the decompressor at a time: feeding all at once is quadratic in zlib's module, and larger pieces fall out of the
processor's cache before they are read."""
LARGE, OF_LARGE = 8 << 20, (256 << 10, 1 << 20)
"""Bytes of a member from which larger pieces are taken, and the same two numbers for it. What isal was fed and has not used it copies at
each call, which leaves holes in memory; larger pieces go back to the system. Threads wait less for each other too."""
FIRST_INPUT = 1 << 10
"""Compressed bytes that are tried first where only a member's beginning is wanted."""
RATIO_FROM = 64 << 20
"""Inflated bytes of a member from which the limit ``ratio`` counts: a small file of zeros is no danger."""

ENCRYPTED = 0x41
"""General purpose bits of encrypted members: the usual one, and that of strong encryption (APPNOTE.TXT 4.4.4)."""
ZSTANDARD = 93
METHODS = {
    8: "deflate", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard, from Python 3.14 on", 95: "XZ", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
"""Compression methods of zip (APPNOTE.TXT 4.4.5), in words for those that this Python may not have."""


class Readable(Protocol):
    """What is asked of a wheel's file."""

    def seek(self, position: int, /) -> int:
        """Where the next read begins: a file offset."""
        ...

    def read(self, length: int, /) -> bytes:
        """Up to ``length`` bytes; none at the end."""
        ...


@functools.cache
def _fastest_zlib() -> Any:
    """The zlib module, or isal's faster module with the same functions."""
    try:
        from isal import isal_zlib  # noqa: PLC0415  (the [fast] extra, where it is installed)
    except ImportError:
        return zlib
    return isal_zlib


@functools.cache
def _failures(fast: bool) -> tuple[type[Exception], ...]:
    """All that decompressors raise on damaged data."""
    known = (zipfile.BadZipFile, zlib.error, _zlib(fast).error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError, UnreadableMember)
    if sys.version_info >= (3, 14):
        try:
            from compression.zstd import ZstdError  # noqa: PLC0415  (an interpreter may be built without it)
        except ImportError:
            return known
        return (*known, ZstdError)
    return known


def _zlib(fast: bool) -> Any:
    return _fastest_zlib() if fast else zlib


def raw_pieces(file: Readable, info: zipfile.ZipInfo, limits: Limits, fast: bool = True) -> Iterator[bytes]:
    """The inflated bytes of a member in pieces, its CRC and size checked at the end; raises UnreadableMember. ``fast``: by isal where it is."""
    try:
        yield from _checked(_inflated(file, info, limits, fast), info, limits, _zlib(fast).crc32)
    except UnreadableMember:
        raise
    except _failures(fast) as error:
        raise UnreadableMember(f"it can't be inflated: {_reason(error)}") from error


def first_bytes(file: Readable, info: zipfile.ZipInfo, length: int) -> bytes:
    """A member's first bytes, up to ``length`` often fewer: as many as a kilobyte of input gives. Nothing is checked, and nothing is raised.

    Most members of a wheel are not ELF files: this costs microseconds where a stream costs a tenth of a millisecond.
    """
    if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    try:
        # Header and data in one step: a wheel may have ten thousand members, and this is most of what each of them costs.
        file.seek(info.header_offset)
        data = file.read(LOCAL_HEADER + len(info.orig_filename) + FIRST_INPUT)
        start = local_header_size(data, info)
        if start is None:
            return b""
        packed = data[start : start + info.compress_size]
        return packed[:length] if info.compress_type == zipfile.ZIP_STORED else zlib.decompressobj(-15).decompress(packed, length)
    except _failures(False):
        return b""


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _inflated(file: Readable, info: zipfile.ZipInfo, limits: Limits, fast: bool) -> Iterator[bytes]:
    if info.flag_bits & ENCRYPTED:
        raise UnreadableMember("it is encrypted")
    position = _data_offset(file, info)
    if info.compress_type == zipfile.ZIP_STORED:
        return _stored(file, position, info.compress_size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        most = OF_LARGE if info.file_size >= LARGE else (INPUT, OUTPUT)
        return _deflated(_zlib(fast).decompressobj(-15), file, position, info.compress_size, most)
    return _others(file, position, info, limits)


def _stored(file: Readable, position: int, left: int) -> Iterator[bytes]:
    while left:
        file.seek(position)
        piece = file.read(min(OUTPUT, left))
        if not piece:
            raise UnreadableMember("its data end too soon")
        position += len(piece)
        left -= len(piece)
        yield piece


def _deflated(inflater: Any, file: Readable, position: int, left: int, most: tuple[int, int]) -> Iterator[bytes]:
    pending = b""
    while not inflater.eof:
        if not pending:
            file.seek(position)
            pending = file.read(min(most[0], left))
            position += len(pending)
            left -= len(pending)
        ended = not pending
        if piece := inflater.decompress(pending, most[1]):
            yield piece
        elif ended and not inflater.eof:
            raise UnreadableMember("its compressed data end too soon")
        pending = inflater.unconsumed_tail


def _others(file: Readable, position: int, info: zipfile.ZipInfo, limits: Limits) -> Iterator[bytes]:
    """bzip2, LZMA and Zstandard. zipfile's own streams inflate 4 KiB of input in one piece, which may become gigabytes."""
    left = info.compress_size
    file.seek(position)
    if info.compress_type == zipfile.ZIP_LZMA:
        head = file.read(min(9, left))
        position, left = position + len(head), left - len(head)
        inflater: Any = _lzma(head, limits)
    elif info.compress_type == zipfile.ZIP_BZIP2:
        inflater = bz2.BZ2Decompressor()
    elif info.compress_type == ZSTANDARD and sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor  # noqa: PLC0415

        inflater = ZstdDecompressor()
    else:
        number = info.compress_type
        raise UnreadableMember(f"this Python does not know its compression method, {number} ({METHODS.get(number, 'no usual one')})")
    size = 0
    # LZMA data may have no end mark.
    while not inflater.eof and (size < info.file_size or info.compress_type != zipfile.ZIP_LZMA):
        data = b""
        if inflater.needs_input:
            file.seek(position)
            data = file.read(min(INPUT, left))
            position, left = position + len(data), left - len(data)
            if not data:
                raise UnreadableMember("its compressed data end too soon")
        if piece := inflater.decompress(data, OUTPUT):
            size += len(piece)
            yield piece


def _lzma(head: bytes, limits: Limits) -> Any:
    """A decompressor for LZMA in zip: version, size of the properties, properties (APPNOTE.TXT 5.8.8)."""
    if len(head) < 9 or int.from_bytes(head[2:4], "little") != 5 or head[4] >= 225:
        raise UnreadableMember("its LZMA header is damaged")
    dictionary = int.from_bytes(head[5:9], "little")
    if dictionary > limits.dictionary:
        raise UnreadableMember(f"it asks for an LZMA window of {dictionary} bytes; {over(limits, 'dictionary')}")
    rest, lc = divmod(head[4], 9)
    pb, lp = divmod(rest, 5)
    chain = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(dictionary, 4096)}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)


def local_header_size(data: bytes, info: zipfile.ZipInfo) -> int | None:
    """Bytes of a member's local header with its name and its extra field (APPNOTE.TXT 4.3.7); raises UnreadableMember where it is another's.

    None where ``data``, which begin with it, do not reach to the end of the name.
    """
    if len(data) < LOCAL_HEADER:
        return None
    if data[:4] != b"PK\x03\x04":
        raise UnreadableMember("its local header is not where the directory says")
    name_size, extra_size = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    raw_name = data[LOCAL_HEADER : LOCAL_HEADER + name_size]
    if len(raw_name) < name_size:
        return None
    # All but the decoding of ASCII is slow, and most names are.
    encoding = "ascii" if raw_name.isascii() else "utf-8" if data[7] & 0x08 else "cp437"
    if raw_name.decode(encoding, "replace") != info.orig_filename:
        raise UnreadableMember("its local header has another name than the directory")
    return LOCAL_HEADER + name_size + extra_size


def _data_offset(file: Readable, info: zipfile.ZipInfo) -> int:
    """Where a member's compressed bytes start: behind its local header."""
    file.seek(info.header_offset)
    # The name is read with the header, where each of its characters is a byte.
    header = file.read(LOCAL_HEADER + len(info.orig_filename))
    if len(header) < LOCAL_HEADER:
        raise UnreadableMember("its local header is not where the directory says")
    size = local_header_size(header, info)
    if size is None:
        size = local_header_size(header + file.read(int.from_bytes(header[26:28], "little")), info)
    if size is None:
        raise UnreadableMember("its local header has another name than the directory")
    return info.header_offset + size


def _checked(pieces: Iterator[bytes], info: zipfile.ZipInfo, limits: Limits, crc32: Callable[[bytes, int], int]) -> Iterator[bytes]:
    crc = size = 0
    most = max(RATIO_FROM, limits.ratio * info.compress_size)
    for piece in pieces:
        size += len(piece)
        if size > info.file_size:
            raise UnreadableMember(f"it inflates to more than the {info.file_size} bytes that it claims")
        if size > most:
            raise UnreadableMember(f"its {info.compress_size} compressed bytes become more than {most}; {over(limits, 'ratio')}")
        crc = crc32(piece, crc)
        yield piece
    if size != info.file_size:
        raise UnreadableMember(f"it inflates to {size} bytes and claims {info.file_size}")
    if crc != info.CRC:
        raise UnreadableMember(f"bad CRC-32: {crc:08x} instead of {info.CRC:08x}")
