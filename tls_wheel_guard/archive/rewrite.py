"""A wheel with some members changed, written beside the old one and put in place whole.

Every member keeps its place, name, date, mode and compression method. SOURCE_DATE_EPOCH, where it is set, dates the members
that changed.
"""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tls_wheel_guard.archive.inflate import raw_pieces
from tls_wheel_guard.archive.record import digest_field, rewrite_record
from tls_wheel_guard.errors import Refused, UnreadableMember

__all__ = ["Change", "rewrite_wheel"]

Change = Callable[[Iterable[bytes]], Iterator[bytes]]
"""From a member's old bytes to its new ones, in pieces."""

EARLIEST, LATEST = 315532800, 4354819198
"""1980-01-01 and 2107-12-31 in seconds since 1970: what a zip's dates can say."""


def rewrite_wheel(old: Path, new: Path, changes: Mapping[int, Change], epoch: int | None) -> None:
    """Write ``new`` as ``old`` with the members of the given directory indexes changed, and RECORD brought up to date.

    ``new`` may be ``old``. Raises Refused or UnreadableMember, and OSError where it can't be written; then ``new`` is as before.
    """
    handle, name = tempfile.mkstemp(prefix=f".{new.name}.", suffix=".unfinished", dir=new.parent)
    unfinished = Path(name)
    try:
        with old.open("rb") as raw, zipfile.ZipFile(raw) as source, os.fdopen(handle, "w+b") as out:
            with zipfile.ZipFile(out, "w") as target:
                _copy(source, target, changes, epoch)
            out.flush()
            os.fsync(out.fileno())
        unfinished.chmod(old.stat().st_mode & 0o7777)
        unfinished.replace(new)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _copy(source: zipfile.ZipFile, target: zipfile.ZipFile, changes: Mapping[int, Change], epoch: int | None) -> None:
    infos = source.infolist()
    record = next((i for i, info in enumerate(infos) if _is_record(info.orig_filename)), None)
    if any(info.orig_filename.endswith((".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")) for info in infos):
        raise Refused("the wheel is signed, and a change would break the signature", hint="change it before it is signed")
    if record is None:
        raise Refused("the wheel has no RECORD", hint="build it again")
    # RECORD may stand before the members that change, so their hashes come first.
    hashes = {infos[i].orig_filename: _digest(change(_pieces(source, infos[i]))) for i, change in changes.items()}
    for index, info in enumerate(infos):
        pieces: Iterable[bytes]
        if index == record:
            text = source.read(info).decode("utf-8")
            pieces = [rewrite_record(text, hashes).encode("utf-8")]
        elif index in changes:
            pieces = changes[index](_pieces(source, info))
        else:
            pieces = _pieces(source, info)
        _write(target, _new_info(info, epoch if index in changes or index == record else None), pieces)
    target.comment = source.comment


def _is_record(name: str) -> bool:
    folder, _, base = name.rpartition("/")
    return base == "RECORD" and folder.endswith(".dist-info") and "/" not in folder


def _pieces(source: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    file = source.fp
    if file is None:
        raise UnreadableMember("the wheel was closed")
    return raw_pieces(file, info)


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
    if info.filename.endswith("/"):
        target.writestr(info, b"")
        return
    with target.open(info, "w", force_zip64=info.file_size >= zipfile.ZIP64_LIMIT) as out:
        for piece in pieces:
            out.write(piece)
