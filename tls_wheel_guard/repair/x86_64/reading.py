"""Thunks in a file that was repaired before, read by their form alone: no decoder is needed to see whether they are whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tls_wheel_guard.repair.machine import FoundThunk
from tls_wheel_guard.repair.x86_64.sites import SITE_SIZE
from tls_wheel_guard.repair.x86_64.thunks import GUARD

__all__ = ["is_redirected", "read_thunks"]

_THUNK = re.compile(
    rb"\x48\x8d\x64\x24\x80"  # lea -0x80(%rsp),%rsp
    rb"\x50{0,2}(?:\x9f\x0f\x90\xc0\x50)?"  # push %rax; lahf; seto %al; push %rax
    rb"\x48\x8d\x05(?P<descriptor>.{4})"  # lea descriptor(%rip),%rax
    rb"(?:\xe8(?P<guard>.{4})|\xff\x10)"  # call guard, or call *(%rax)
    rb"(?:\x48\x89\x44\x24\x08|[\x48\x49]\x89[\xc0-\xc7])?"  # mov %rax,8(%rsp), or mov %rax,%register
    rb"(?:\x58\x04\x7f\x9e)?\x58?"  # pop %rax; add $0x7f,%al; sahf; pop %rax
    rb"(?:[\x48\x4c]\x03[\x44\x4c\x54\x5c\x64\x6c\x74\x7c]\x24\x00)?"  # add 0(%rsp),%register
    rb"\x48\x8d\xa4\x24[\x80\x88]\x00\x00\x00"  # lea n(%rsp),%rsp
    rb"\xe9(?P<back>.{4})",  # jmp back
    re.DOTALL,
)


def read_thunks(code: bytes, at: int) -> Iterator[FoundThunk]:
    """The thunks in the new code at an address, up to the first bytes that are none; what is left is then the sign of damage."""
    place = len(GUARD) if code.startswith(GUARD) else 0
    while found := _THUNK.match(code, place):
        if found["guard"] is not None and at + found.end("guard") + _signed(found["guard"]) != at:
            return
        yield FoundThunk(
            address=at + place,
            size=found.end() - place,
            site=at + found.end() + _signed(found["back"]) - SITE_SIZE,
            descriptor=at + found.end("descriptor") + _signed(found["descriptor"]),
        )
        place = found.end()


def is_redirected(code: bytes, thunk: FoundThunk) -> bool:
    """Whether the bytes of a site jump to its thunk."""
    if code[:1] != b"\xe9" or code[5:7] != b"\x66\x90":
        return False
    return thunk.site + 5 + _signed(code[1:5]) == thunk.address


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)
