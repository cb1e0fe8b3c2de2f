"""What the code that looks for reads gives, on every machine."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Candidate"]


class Candidate(NamedTuple):
    """An access (``text`` is the instruction), or a place that may be one (``doubt`` says why that is not known)."""

    address: int
    slot: int
    text: str = ""
    doubt: str = ""
