"""The static TLS of a live interpreter, for people."""

from __future__ import annotations

from tls_wheel_guard.live.model import KEEPS_NO_ROOM, Live
from tls_wheel_guard.report.style import text_of

__all__ = ["text"]


def text(live: Live) -> str:
    """The answer for people."""
    version = f" {live.libc_version}" if live.libc_version else ""
    lines = [f"{live.python}: {live.implementation}, {live.libc}{version}, {live.machine}"]
    if live.imported:
        lines.append(f"  after import of {', '.join(live.imported)}")
    if live.room is None:
        return text_of([*lines, f"  {live.method}: modules can't run out of it"])
    if live.method == KEEPS_NO_ROOM:
        return text_of([*lines, f"  {live.method}: one with initial-exec TLS of its own never loads"])
    lines.append(f"  room for late modules: {live.room} bytes" + (f", alignment up to {live.align}" if live.align else ""))
    if live.method == "bisecting":
        lines.append("  found by bisecting: the loader was asked for blocks of many sizes")
    elif live.used is not None:
        lines.append(f"  used {live.used} of {live.limit} bytes, found by {live.method}")
    if live.optional is not None:
        lines.append(f"  of the room, descriptors may take: {live.optional} bytes")
    if live.warning:
        lines.append(f"  wrong: {live.warning}")
    if live.tunables:
        lines.append("  tunables: " + ", ".join(f"glibc.{name}={value}" for name, value in live.tunables.items()))
    return text_of(lines)
