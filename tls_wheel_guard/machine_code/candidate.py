"""What a machine's finder gives."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Candidate"]


class Candidate(NamedTuple):
    """An access (``text`` is the instruction) or a doubt about a place that may be one (``doubt`` says what)."""

    address: int
    slot: int
    text: str = ""
    doubt: str = ""
