"""Checks of a zip's directory, before and after ``zipfile`` reads it: its size, overlapping members, claimed sizes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from typing import IO

from tls_wheel_guard.errors import UnreadableWheel
from tls_wheel_guard.limits import Limits, over

__all__ = ["LOCAL_HEADER", "require_directory", "require_no_overlap"]

ENTRY, END, END64_LOCATOR, END64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
END_SIZE, LOCATOR_SIZE, END64_SIZE = 22, 20, 56
MAX_COMMENT = 0xFFFF
LOCAL_HEADER = 30
PIECE = 1 << 20
NEW = "no build tool makes such a wheel: build it again"


def require_directory(file: IO[bytes], limits: Limits) -> None:
    """Raise UnreadableWheel where the directory is so large that reading it would take much memory.

    ``zipfile`` makes an object of half a kilobyte for each entry, however many there are. Where no directory is found, it says so.
    """
    record_at, size = _directory(file)
    if size > limits.directory_size:
        raise UnreadableWheel(f"its zip directory has {size} bytes; {over(limits, 'directory-size')}", hint="look at what it holds")
    entries, tail = 0, b""
    # Each entry starts with a signature. The same bytes inside a name or a comment only make the estimate higher.
    file.seek(max(0, record_at - size - LOCATOR_SIZE - END64_SIZE))
    while size and (piece := file.read(PIECE)):
        entries += (tail + piece).count(ENTRY)
        tail = piece[-3:]
    if entries > limits.members:
        raise UnreadableWheel(f"it has {entries} members; {over(limits, 'members')}", hint="look at what it holds")


def _directory(file: IO[bytes]) -> tuple[int, int]:
    """File offset of the end record and bytes of the directory, as it claims (APPNOTE.TXT 4.3.14 to 4.3.16); 0 bytes where there is none."""
    end = file.seek(0, os.SEEK_END)
    # Nearly every zip ends with its end record; only where there is a comment, the last 64 KB are searched for it.
    start = max(0, end - END_SIZE)
    file.seek(start)
    tail, at = file.read(), 0
    if not (tail.startswith(END) and tail.endswith(b"\0\0")):
        start = max(0, end - END_SIZE - MAX_COMMENT)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(END)
    record = tail[at : at + END_SIZE] if at >= 0 else b""
    if len(record) < END_SIZE:
        return end, 0
    size = int.from_bytes(record[12:16], "little")
    locator_at = start + at - LOCATOR_SIZE
    if locator_at >= END64_SIZE:
        file.seek(locator_at - END64_SIZE)
        before = file.read(END64_SIZE + LOCATOR_SIZE)
        if before[END64_SIZE:].startswith(END64_LOCATOR) and before.startswith(END64):
            size = max(int.from_bytes(before[40:48], "little"), size if size != 0xFFFFFFFF else 0)
    return start + at, min(size, end)


def require_no_overlap(infos: Sequence[zipfile.ZipInfo], directory_at: int, limits: Limits) -> None:
    """Raise UnreadableWheel where members share bytes of the file, or claim more than may be inflated.

    Tools disagree about what overlapping members hold, and a few kilobytes of them can inflate to petabytes.
    """
    total, end, last = 0, 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise UnreadableWheel(f"its members {last!r} and {info.orig_filename!r} overlap", hint=NEW)
        # The local header repeats the name, in at least as many bytes; its extra field may differ, and is left out of the sum.
        end = info.header_offset + LOCAL_HEADER + len(info.orig_filename) + info.compress_size
        last = info.orig_filename
        total += info.file_size
    if end > directory_at:
        raise UnreadableWheel(f"its member {last!r} reaches into the directory", hint=NEW)
    if total > limits.wheel_size:
        raise UnreadableWheel(f"its members claim {total} bytes together; {over(limits, 'wheel-size')}", hint="look at what it holds")
