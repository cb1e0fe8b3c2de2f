"""A wheel's dist-info folder: where its files stand, and what WHEEL says (binary distribution format)."""

from __future__ import annotations

from tls_wheel_guard.archive.members import Archive, Member
from tls_wheel_guard.errors import MalformedElf, UnreadableMember
from tls_wheel_guard.records import dataclass

__all__ = ["WheelFile", "dist_info_member", "read_wheel_file"]

MAX_WHEEL_FILE = 1 << 20
"""Bytes of the WHEEL file that is read; real ones have some hundred."""


@dataclass(frozen=True, slots=True)
class WheelFile:
    """What WHEEL says: the platform tags, and who made the wheel."""

    tags: tuple[str, ...] = ()
    generator: str | None = None


def dist_info_member(archive: Archive, name: str) -> Member | None:
    """The first file of a name (``WHEEL``, ``RECORD``) in a dist-info folder at the top of the wheel; None where there is none."""
    end = f".dist-info/{name}"
    for index, info in enumerate(archive.infos):
        path = info.orig_filename
        if path.endswith(end) and path.count("/") == 1 and not info.filename.endswith("/"):
            return Member(path, info.file_size, index)
    return None


def read_wheel_file(archive: Archive) -> WheelFile:
    """What WHEEL says; nothing where it is missing, too long or can't be inflated."""
    member = dist_info_member(archive, "WHEEL")
    if member is None or member.size > MAX_WHEEL_FILE:
        return WheelFile()
    try:
        text = archive.source(member).read(0, member.size).decode("utf-8", "replace")
    except (UnreadableMember, MalformedElf):
        return WheelFile()
    rows = [(key, value.strip()) for key, colon, value in (line.partition(":") for line in text.splitlines()) if colon]
    generator = next((value for key, value in rows if key == "Generator"), None)
    return WheelFile(tuple(value for key, value in rows if key == "Tag"), generator)
