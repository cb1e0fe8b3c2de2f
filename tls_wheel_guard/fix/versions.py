"""Comparing versions by their numbers, as far as build files need it."""

from __future__ import annotations

import re

__all__ = ["numbers", "older"]


def numbers(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version: "v1.7.3-rc1" is (1, 7, 3)."""
    found = re.match(r"\s*v?(\d{1,9}(?:\.\d{1,9})*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def older(version: str, other: str) -> bool:
    """Whether a version is older than another; missing parts count as zero."""
    one, two = numbers(version), numbers(other)
    length = max(len(one), len(two))
    return one + (0,) * (length - len(one)) < two + (0,) * (length - len(two))
