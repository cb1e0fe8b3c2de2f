"""The two tunables of glibc that size the static TLS block, as its loader reads them from GLIBC_TUNABLES.

glibc elf/dl-tunables.c:parse_tunables, elf/dl-minimal.c:_dl_strtoul. Since 2.39 a string that is malformed anywhere counts as
none, and a number must end where its value ends; before, what could be read counted. Proved by ``ld.so --list-tunables`` of 2.36,
2.41 and 2.43.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BOUNDS", "DEFAULTS", "read_tunables"]

DEFAULTS = {"rtld.nns": 4, "rtld.optional_static_tls": 512}
BOUNDS = {"rtld.nns": (1, 16), "rtld.optional_static_tls": (0, 2**64 - 1)}
"""A value outside is ignored."""

_LARGEST = 2**64 - 1
_DIGITS = "0123456789abcdef"


def read_tunables(words: str, version: tuple[int, ...]) -> dict[str, int]:
    """Both tunables as a loader of a version takes them from the variable's value."""
    strict = version >= (2, 39)
    pairs = list(_pairs(words, strict))
    if (None, "") in pairs:
        pairs = []
    if strict:
        pairs = list(dict(pairs).items())
    found = dict(DEFAULTS)
    for name, value in pairs:
        key = (name or "").removeprefix("glibc.")
        if key not in BOUNDS or name == key:
            continue
        number, rest = _number(value)
        if BOUNDS[key][0] <= number <= BOUNDS[key][1] and not (strict and rest):
            found[key] = number
    return found


def _pairs(words: str, strict: bool) -> Iterator[tuple[str | None, str]]:
    """Names and values in their order; (None, "") says that the whole string is malformed."""
    parts = words.split(":") if words else []
    for place, part in enumerate(parts):
        name, mark, value = part.partition("=")
        if mark and not (strict and "=" in value):
            yield name, value
        elif strict and (mark or place == len(parts) - 1):
            yield None, ""


def _number(text: str) -> tuple[int, str]:
    """The number at the start of a text as an unsigned long of 64 bits, and what stands behind it."""
    text = text.lstrip(" \t")
    sign = text[:1] if text[:1] in ("-", "+") else ""
    text = text[len(sign) :]
    base, start = (16, 2) if text[:2].lower() == "0x" else (8, 1) if text[:1] == "0" else (10, 0)
    number, at = 0, start
    while at < len(text) and text[at].lower() in _DIGITS[:base]:
        number = number * base + _DIGITS.index(text[at].lower())
        if number > _LARGEST:
            return _LARGEST, text[at:]
        at += 1
    return (-number & _LARGEST if sign == "-" else number), text[at:]
