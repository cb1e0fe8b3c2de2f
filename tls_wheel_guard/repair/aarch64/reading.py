"""Thunks in a file that was repaired before, read by their form alone: no decoder is needed to see whether they are whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tls_wheel_guard.repair.aarch64.sites import SITE_SIZE
from tls_wheel_guard.repair.aarch64.thunks import thunk
from tls_wheel_guard.repair.aarch64.words import address_made, jump_of, words_of
from tls_wheel_guard.repair.machine import FoundThunk, Site
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["is_redirected", "read_thunks"]

LONGEST = 13
"""Words of the longest thunk."""


def read_thunks(code: bytes, at: int) -> Iterator[FoundThunk]:
    """The thunks in the new code at an address, up to the first bytes that are none; what is left is then the sign of damage."""
    place = 0
    while (found := _thunk(code[place : place + 4 * LONGEST], at + place)) is not None:
        yield found
        place += found.size


def _thunk(code: bytes, at: int) -> FoundThunk | None:
    """The thunk that begins here: what it says of itself, written again, must be the same bytes."""
    words = words_of(code)
    end = next((n for n, word in enumerate(words) if (jump := jump_of(word, 0)) is not None and jump.kind == "jump"), None)
    if end is None or end < 8:
        return None
    back, page = jump_of(words[end], at + 4 * end), address_made(words[3], at + 12)
    if back is None or back.target is None or page is None:
        return None
    descriptor = page + ((words[4] >> 10 & 0xFFF) << 3)
    register = 0 if words[7] & 0xFFE0FFE0 != 0xAA0003E0 else words[7] & 31
    site = Site(back.target - SITE_SIZE, 0, "ldr", register, SITE_SIZE, True, "")
    try:
        same = thunk(site, "plain", at, descriptor, 0).code == code[: 4 * (end + 1)]
    except CannotRepair:
        return None
    return FoundThunk(at, 4 * (end + 1), site.address, descriptor) if same else None


def is_redirected(code: bytes, thunk: FoundThunk) -> bool:
    """Whether the bytes of a site jump to its thunk."""
    if len(code) != SITE_SIZE:
        return False
    jump = jump_of(struct.unpack("<I", code)[0], thunk.site)
    return jump is not None and (jump.kind, jump.target) == ("jump", thunk.address)
