"""Sentences about verdicts: what happens to whom, in the loader's own words. Used by the rules' messages."""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard import platforms
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.platforms import Target

__all__ = ["SYSTEMS", "bytes_of", "count_of", "describe_target", "sentences"]

SYSTEMS = {libc: name for libc, (name, _) in platforms.SYSTEMS.items()}
"""A libc -> its system's name in a sentence."""


def bytes_of(count: int) -> str:
    """``1 byte``, ``177 bytes``."""
    return count_of(count, "byte")


def count_of(count: int, noun: str) -> str:
    """A count with its noun, in the plural where it must be."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_target(target: Target) -> str:
    """The tag and what it promises: ``manylinux_2_17_x86_64 (glibc 2.17 and newer)``."""
    if target.libc == "unknown":
        return f"{target.tag} (each module's own evidence)"
    if target.libc in ("darwin", "windows", "wasm"):
        return f"{target.tag} (no static TLS there)"
    name = {"bionic": "Android API level", "musl": "musl", "glibc": "glibc"}.get(target.libc, SYSTEMS[target.libc])
    version = ".".join(map(str, target.oldest)) + " and newer" if target.oldest else ""
    return f"{target.tag} ({name} {version})".replace(" )", ")")


def sentences(verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    """What each loader does, a sentence each; targets of one system and one outcome share a sentence."""
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.target.libc, verdict.outcome), []).append(verdict)
    return tuple(_sentence(group[0], ", ".join(dict.fromkeys(v.target.tag for v in group))) for group in groups.values())


def _sentence(verdict: Verdict, tags: str) -> str:
    system = f"On {SYSTEMS[verdict.target.libc]} ({tags})"
    outcome = verdict.outcome
    quote = f": `{outcome.error}`" if outcome.error else ""
    if verdict.computes_wrong_values:
        return f"{system} it loads, and may compute wrong values or crash at its first use in each thread."
    if outcome.word == "unsafe":
        return f"{system} loading it crashes the process or corrupts memory{quote}."
    if outcome.word == "never" and outcome.fits_fresh_process is not None and outcome.fits_fresh_process.current:
        return f"{system} import fails on the oldest version promised{quote}."
    if outcome.word == "never":
        return f"{system} every import fails{_because(verdict)}{quote}."
    if outcome.word == "if-room":
        if outcome.fits_start is False:
            return f"{system} import fails where {bytes_of(outcome.room or 0)} are left: it takes {outcome.taken:,}{quote}."
        fit = outcome.fits_fresh_process if outcome.fits_start is None else None
        if fit is not None and not fit.both:
            which = "the oldest version promised" if fit.current else "a current version" if fit.oldest else "any version"
            if outcome.reason == "alignment":
                granted = f"its alignment is above the {outcome.align_limit} that the loader grants late libraries, whatever the room"
                return f"{system} import fails even in a fresh process of {which}: {granted}{quote}."
            return f"{system} import fails even in a fresh process of {which}, where {bytes_of(outcome.room or 0)} are left{quote}."
        room = f" of the {bytes_of(outcome.room)} that all late libraries share" if outcome.room else ""
        return f"{system} it loads only while there is room: it takes {outcome.taken:,}{room}; where others came first, import fails{quote}."
    if outcome.word == "unknown":
        return f"{system} there is no model of this loader; do not rely on it."
    return f"{system} it loads."


def _because(verdict: Verdict) -> str:
    outcome = verdict.outcome
    if outcome.room == 0 and outcome.taken:
        return ", since the loader keeps no room for modules that come after the start"
    if outcome.room and outcome.taken > outcome.room:
        return f", since the loader keeps {bytes_of(outcome.room)} for modules that come after the start and this asks for {outcome.taken:,}"
    return ""
