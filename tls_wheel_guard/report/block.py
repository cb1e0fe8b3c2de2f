"""The static TLS block as a bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.report.style import Colour, Style

__all__ = ["bar"]

BAR = 40
"""Columns of the bar that shows the static TLS block."""


def different(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """One verdict for each system and outcome."""
    return list({(v.target.libc, v.outcome): v for v in reversed(verdicts)}.values())[::-1]


def bar(verdict: Verdict, style: Style) -> Iterator[str]:
    """The static TLS block of a fresh process: ``=`` taken at the start, ``#`` asked, ``.`` left, ``!`` asked beyond the end."""
    outcome = verdict.outcome
    if outcome.room is None or not outcome.taken or outcome.word not in ("if-room", "never"):
        return
    if outcome.room == 0:
        yield f"    {verdict.target.libc:8} [{style.paint('no room'.center(BAR, '!'), 'red')}] {outcome.taken:,} asked"
        return
    inside = min(outcome.taken, outcome.room)
    beyond, left = outcome.taken - inside, outcome.room - inside
    parts: tuple[tuple[str, int, Colour], ...] = (
        ("=", outcome.used, "dim"), ("#", inside, "yellow"), (".", left, "green"), ("!", beyond, "red"),
    )  # fmt: skip
    total = sum(size for _, size, _ in parts)
    drawn = "".join(style.paint(mark * max(1, round(BAR * size / total)), colour) for mark, size, colour in parts if size)
    taken = f"{outcome.used:,} taken, " if outcome.used else ""
    yield f"    {verdict.target.libc:8} [{drawn}] {taken}{outcome.taken:,} asked, {outcome.room:,} room"
