"""A wheel as a zip of members that are streamed, never extracted."""

from tls_wheel_guard.archive.inflate import MemberSource
from tls_wheel_guard.archive.magic import Format, format_of, name_says_no_elf
from tls_wheel_guard.archive.members import Archive, Member, open_archive

__all__ = ["Archive", "Format", "Member", "MemberSource", "format_of", "name_says_no_elf", "open_archive"]
