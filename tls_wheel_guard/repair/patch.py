"""A change of some bytes, and how it is applied to a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tls_wheel_guard.errors import Refused

__all__ = ["Patch", "apply_patches", "apply_to"]


@dataclass(frozen=True, slots=True)
class Patch:
    """``old`` becomes ``new``, of the same length, at file ``offset``."""

    offset: int
    old: bytes
    new: bytes
    why: str


def apply_patches(pieces: Iterable[bytes], patches: Sequence[Patch]) -> Iterator[bytes]:
    """The stream with the patches applied; raises Refused where the old bytes are not as planned, or are not reached."""
    at = 0
    left = sorted(patches, key=lambda patch: patch.offset)
    held = b""
    for piece in pieces:
        held += piece
        while left and left[0].offset + len(left[0].old) <= at + len(held):
            held = _patched(held, left.pop(0), at)
        # What a waiting patch may need stays; the rest goes on.
        keep = max(0, at + len(held) - left[0].offset) if left else 0
        yield held[: len(held) - keep]
        at += len(held) - keep
        held = held[len(held) - keep :]
    if left:
        raise Refused(f"the file ends before the bytes at offset {left[0].offset} that were to change")
    yield held


def _patched(held: bytes, patch: Patch, at: int) -> bytes:
    start = patch.offset - at
    if held[start : start + len(patch.old)] != patch.old:
        raise Refused(f"the bytes at offset {patch.offset} are not the ones that were planned for")
    return held[:start] + patch.new + held[start + len(patch.old) :]


def apply_to(data: bytes, patches: Sequence[Patch], tail: int, appended: bytes) -> bytes:
    """``data`` up to file offset ``tail`` with the patches applied, and ``appended`` behind it; raises Refused as :func:`apply_patches`."""
    return b"".join(apply_patches([data[:tail]], patches)) + appended
