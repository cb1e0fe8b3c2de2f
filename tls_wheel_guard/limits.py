"""How much of an input is read: what a wheel from the internet may cost. Every limit has a name, and ``--limit NAME=N`` moves it.

A limit stands far above what real files have, and low enough that a hostile one ends in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.records import dataclass, field, fields, replace

__all__ = ["DEFAULT_LIMITS", "LIMITS", "Limits", "limits_from", "over"]


def _limit(doc: str, default: int) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each thing that is read. docs/hardening.md has the table, made from this class."""

    members: int = _limit("members of one wheel; torch has 13,187", 200_000)
    directory_size: int = _limit("bytes of a zip's directory", 64 << 20)
    wheel_size: int = _limit("bytes of all members of a wheel together, as its directory claims", 64 << 30)
    member_size: int = _limit("bytes of one inflated member", 16 << 30)
    ratio: int = _limit("bytes that one compressed byte of an ELF member may become, from 64 MiB on; the most that was measured is 6.3", 200)
    dictionary: int = _limit("bytes of the window that an LZMA member may ask for", 64 << 20)
    restarts: int = _limit("times that one member is inflated again, because its parts are scattered; real ones need three", 16)
    segments: int = _limit("program headers; real shared objects have below 20", 4096)
    dynamic_size: int = _limit("bytes of the dynamic segment; real ones stay below 8 KiB", 1 << 20)
    needed: int = _limit("DT_NEEDED entries", 4096)
    relocations: int = _limit("dynamic relocations of one file; the most in 196 real wheels is 2.1 million", 100_000_000)
    tls_relocations: int = _limit("TLS relocations of one file; the most in 196 real wheels is 6,014", 250_000)
    packed_size: int = _limit("bytes of CREL and Android relocation tables of one file; Chromium's has 0.4 MB", 4 << 20)
    versions: int = _limit("symbol versions that one file asks for", 4096)
    names_size: int = _limit("characters of all names read from one file; each is cut at 4096", 8 << 20)
    chain: int = _limit("steps in the symbol hash tables of one file; one name takes fewer than ten", 200_000)
    code_size: int = _limit("bytes of code that are searched for local-exec accesses", 4 << 30)
    traced_size: int = _limit("bytes of a module whose culprit is searched, or that is held to follow or repair its code", 1 << 30)
    followed_code: int = _limit("bytes of code of one module that are followed from TLS descriptors on; drjit's library has 1.1 MB", 16 << 20)
    tree_files: int = _limit("files below a folder that is checked with --tree", 10_000_000)


DEFAULT_LIMITS = Limits()

LIMITS = {f.name.replace("_", "-"): f.name for f in fields(Limits)}
"""Name on the command line -> field of Limits."""


def over(limits: Limits, name: str) -> str:
    """The end of a message about a limit that was hit: ``at most 16 are read (limit restarts; --limit restarts=N moves it)``."""
    return f"at most {getattr(limits, LIMITS[name])} are read (limit {name}; --limit {name}=N moves it)"


def limits_from(texts: Iterable[str], start: Limits = DEFAULT_LIMITS) -> Limits:
    """Limits with some changed by ``NAME=N``; raises UsageError."""
    changed: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if name not in LIMITS:
            raise UsageError(f"unknown limit {name!r}", hint=f"known: {', '.join(LIMITS)}")
        if not equals or not (number.isascii() and number.isdecimal()) or not 0 < int(number[:20]) < 2**63:
            raise UsageError(f"limit {text!r} is not NAME=N with a whole number above 0", hint=f"such as {name}={getattr(start, LIMITS[name])}")
        changed[LIMITS[name]] = int(number)
    return replace(start, **changed)
