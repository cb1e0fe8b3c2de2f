"""A wheel with some members changed.

Members that do not change are copied as they lie in the file, compressed bytes and all, whatever their method. A member that
changes keeps its place, name, date, mode and compression method. SOURCE_DATE_EPOCH, where it is set, dates the members that changed.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

from tls_wheel_guard.archive.members import Archive
from tls_wheel_guard.archive.metadata import dist_info_member
from tls_wheel_guard.archive.record import digest_field, update_record
from tls_wheel_guard.errors import Refused, TlsWheelGuardError

__all__ = ["Change", "update_wheel"]

Change = Callable[[Iterable[bytes]], Iterator[bytes]]
"""From a member's old bytes to its new ones, in pieces."""

EARLIEST, LATEST = 315532800, 4354819198
"""1980-01-01 and 2107-12-31 in seconds since 1970: what a zip's dates can say."""
BLOCK = 1 << 20
"""Bytes copied at a time."""


def update_wheel(
    archive: Archive, out: IO[bytes], changes: Mapping[int, Change], epoch: int | None, added: Mapping[str, bytes] | None = None
) -> None:
    """Write an open wheel to ``out`` with the members of the given directory indexes changed, and RECORD brought up to date.

    ``added``: new members by name; they stand before RECORD. What was written is read again.
    Raises Refused, UnreadableMember or InputReadError, and OSError where ``out`` can't be written.
    """
    infos = archive.infos
    record = _record_index(archive)
    _refuse_odd(infos, {*changes, record}, archive.directory_at)
    # RECORD may stand before the members that change, so their hashes come first.
    hashes = {infos[i].orig_filename: _digest(change(archive.pieces(i))) for i, change in changes.items()}
    more = {name: _digest([data]) for name, data in (added or {}).items()}
    new_record = update_record(b"".join(archive.pieces(record)), hashes, more)
    ends = _ends(infos, archive.directory_at)
    with zipfile.ZipFile(out, "w") as target:
        for index, info in enumerate(infos):
            if index == record:
                for name, data in (added or {}).items():
                    _write(target, _added_info(name, info, epoch), [data])
                _write(target, _new_info(info, epoch), [new_record])
            elif index in changes:
                _write(target, _new_info(info, epoch), changes[index](archive.pieces(index)))
            else:
                _carry_over(archive.file, target, info, ends[info.header_offset])
        target.comment = archive.comment
    _read_again(out, {**hashes, **more})


def _read_again(file: IO[bytes], hashes: Mapping[str, tuple[str, int]]) -> None:
    """Check that what was written can be read and has the hashes that RECORD lists."""
    with zipfile.ZipFile(file) as written:
        for name, digest in hashes.items():
            with written.open(name) as member:
                if _digest(iter(functools.partial(member.read, BLOCK), b"")) != digest:
                    raise TlsWheelGuardError(f"a bug in tls-wheel-guard: {name} is not what was to be written; nothing was changed")


def _record_index(archive: Archive) -> int:
    if any(info.orig_filename.endswith((".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")) for info in archive.infos):
        raise Refused("the wheel is signed, and a change would break the signature", hint="change it before it is signed")
    record = dist_info_member(archive, "RECORD")
    if record is None:
        raise Refused("the wheel has no RECORD", hint="build it again")
    return record.index


def _refuse_odd(infos: list[zipfile.ZipInfo], written: set[int], directory: int) -> None:
    """Refuse what could not be carried over faithfully, and two members of one name, which RECORD can't tell apart."""
    names = Counter(info.orig_filename for info in infos)
    for index in sorted(written):
        if names[infos[index].orig_filename] > 1:
            raise Refused(f"the wheel has {names[infos[index].orig_filename]} members named {infos[index].orig_filename}", hint="build it again")
    if len({info.header_offset for info in infos}) < len(infos) or max(info.header_offset for info in infos) >= directory:
        raise Refused("members of the wheel share their bytes, or lie after its directory", hint="build it again")
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


def _added_info(name: str, like: zipfile.ZipInfo, epoch: int | None) -> zipfile.ZipInfo:
    """A new member with the date, the mode and the method of another."""
    new = zipfile.ZipInfo(name, like.date_time)
    new.compress_type, new.external_attr, new.create_system = like.compress_type, like.external_attr, like.create_system
    return _new_info(new, epoch)


def _write(target: zipfile.ZipFile, info: zipfile.ZipInfo, pieces: Iterable[bytes]) -> None:
    with target.open(info, "w", force_zip64=info.file_size >= zipfile.ZIP64_LIMIT) as out:
        for piece in pieces:
            out.write(piece)
