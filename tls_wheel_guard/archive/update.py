"""A wheel with some members changed, written beside the old one and put in place whole.

Members that do not change are copied as they lie in the file, compressed bytes and all, whatever their method. A member that
changes keeps its place, name, date, mode and compression method. SOURCE_DATE_EPOCH, where it is set, dates the members that changed.
"""

from __future__ import annotations

import copy
import hashlib
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from tls_wheel_guard.archive.atomic import written_whole
from tls_wheel_guard.archive.inflate import raw_pieces
from tls_wheel_guard.archive.record import digest_field, rewrite_record
from tls_wheel_guard.errors import Refused

__all__ = ["Change", "rewrite_wheel"]

Change = Callable[[Iterable[bytes]], Iterator[bytes]]
"""From a member's old bytes to its new ones, in pieces."""

EARLIEST, LATEST = 315532800, 4354819198
"""1980-01-01 and 2107-12-31 in seconds since 1970: what a zip's dates can say."""
BLOCK = 1 << 20
"""Bytes copied at a time."""


def rewrite_wheel(old: Path, new: Path, changes: Mapping[int, Change], epoch: int | None) -> None:
    """Write ``new`` as ``old`` with the members of the given directory indexes changed, and RECORD brought up to date.

    ``new`` may be ``old``. Raises Refused or UnreadableMember, and OSError where it can't be written; then ``new`` is as before.
    """
    with old.open("rb") as raw, zipfile.ZipFile(raw) as source, written_whole(new, old) as out, zipfile.ZipFile(out, "w") as target:
        _copy(raw, source, target, changes, epoch)


def _copy(raw: IO[bytes], source: zipfile.ZipFile, target: zipfile.ZipFile, changes: Mapping[int, Change], epoch: int | None) -> None:
    infos = source.infolist()
    record = _record_index(infos)
    _refuse_odd(infos, {*changes, record}, source.start_dir)
    # RECORD may stand before the members that change, so their hashes come first.
    hashes = {infos[i].orig_filename: _digest(change(raw_pieces(raw, infos[i]))) for i, change in changes.items()}
    ends = _ends(infos, source.start_dir)
    for index, info in enumerate(infos):
        if index == record:
            text = b"".join(raw_pieces(raw, info))
            _write(target, _new_info(info, epoch), [rewrite_record(text, hashes)])
        elif index in changes:
            _write(target, _new_info(info, epoch), changes[index](raw_pieces(raw, info)))
        else:
            _carry_over(raw, target, info, ends[info.header_offset])
    target.comment = source.comment


def _record_index(infos: list[zipfile.ZipInfo]) -> int:
    if any(info.orig_filename.endswith((".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")) for info in infos):
        raise Refused("the wheel is signed, and a change would break the signature", hint="change it before it is signed")
    for index, info in enumerate(infos):
        folder, _, base = info.orig_filename.rpartition("/")
        if base == "RECORD" and folder.endswith(".dist-info") and "/" not in folder:
            return index
    raise Refused("the wheel has no RECORD", hint="build it again")


def _refuse_odd(infos: list[zipfile.ZipInfo], written: set[int], directory: int) -> None:
    """Refuse what could not be carried over faithfully, and two members of one name, which RECORD can't tell apart."""
    names = Counter(info.orig_filename for info in infos)
    for index in sorted(written):
        if names[infos[index].orig_filename] > 1:
            raise Refused(f"the wheel has {names[infos[index].orig_filename]} members named {infos[index].orig_filename}", hint="build it again")
    if len({info.header_offset for info in infos}) < len(infos) or max(info.header_offset for info in infos) >= directory:
        raise Refused("members of the wheel share their bytes, or lie behind its directory", hint="build it again")
    for info in infos:
        if info.filename != info.orig_filename or not (info.filename.isascii() or info.flag_bits & 0x800):
            raise Refused(f"the name of its member {info.orig_filename!r} is not in UTF-8 or not a file's name", hint="build it again")


def _ends(infos: list[zipfile.ZipInfo], directory: int) -> dict[int, int]:
    """Where the bytes of each member end, by where they start: at the next member's, or at the directory."""
    starts = sorted(info.header_offset for info in infos)
    return dict(zip(starts, [*starts[1:], directory], strict=True))


def _carry_over(raw: IO[bytes], target: zipfile.ZipFile, info: zipfile.ZipInfo, end: int) -> None:
    """A member's header, data and descriptor as they are; the directory that zipfile writes at the end points to them."""
    new, out = copy.copy(info), target.fp
    if out is None:
        raise ValueError("the wheel was closed")
    out.seek(target.start_dir)
    raw.seek(info.header_offset)
    left = end - info.header_offset
    while left > 0 and (piece := raw.read(min(left, BLOCK))):
        out.write(piece)
        left -= len(piece)
    new.header_offset, target.start_dir = target.start_dir, out.tell()
    target.filelist.append(new)
    target.NameToInfo[new.filename] = new


def _digest(pieces: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return digest_field(digest.digest()), size


def _new_info(info: zipfile.ZipInfo, epoch: int | None) -> zipfile.ZipInfo:
    new = copy.copy(info)
    if epoch is not None:
        new.date_time = time.gmtime(min(max(epoch, EARLIEST), LATEST))[:6]
    return new


def _write(target: zipfile.ZipFile, info: zipfile.ZipInfo, pieces: Iterable[bytes]) -> None:
    with target.open(info, "w", force_zip64=info.file_size >= zipfile.ZIP64_LIMIT) as out:
        for piece in pieces:
            out.write(piece)
