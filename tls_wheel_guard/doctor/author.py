"""What cures a refusal for good, and which file must change: told by who asked, who took the room, and the culprit in it."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.doctor.refusal import Refusal
from tls_wheel_guard.doctor.result import Advice
from tls_wheel_guard.loaders.refusals import NO_MORE_STATIC

__all__ = ["author_advice"]

WAYS = '`tls-wheel-guard explain initial-exec-tls` has the ways; action = "rewrite" builds it so without an edit'


def author_advice(refusal: Refusal, asking: tuple[str, ...], used_before: bool) -> Iterator[Advice]:
    """A line for the file that was refused, and one for the file that took most of the room, where that is another.

    ``asking``: the files whose code asks; ``used_before``: the definer's block had become dynamic.
    """
    if NO_MORE_STATIC.mark in (refusal.first.refusal or ""):
        yield Advice("author", True, _too_many(refusal))
    elif used_before:
        yield Advice("author", True, _of_another(refusal, asking))
    else:
        yield Advice("author", True, _definer(refusal))
    if (most := _took_most(refusal)) is not None:
        yield Advice("author", True, most)


def _too_many(refusal: Refusal) -> str:
    name = refusal.name or refusal.failing.partition(" ")[2]
    return (
        "glibc up to 2.21 numbers the modules with TLS, and in a process with threads it refuses initial-exec for one above 14, whatever"
        f" the room: import {name} before the others, or use a newer glibc; built with -ftls-model=global-dynamic it loads everywhere"
    )


def _of_another(refusal: Refusal, asking: tuple[str, ...]) -> str:
    others = [path.rsplit("/", 1)[-1] for path in asking if path != refusal.definer] or [refusal.asking.rsplit("/", 1)[-1]]
    return (
        f"{', '.join(others)} must not reach {refusal.name}'s variables by initial-exec: compile it with -ftls-model=global-dynamic, which is the"
        f" default with -fPIC; {refusal.name} needs no change. {WAYS}"
    )


def _definer(refusal: Refusal) -> str:
    opened = {segment.opened for segment in refusal.first.segments}
    if "malloc" in refusal.linkage.defined and refusal.definer in opened:
        # __tls_get_addr may itself call malloc.
        return f"{refusal.name} replaces malloc, so it must stay initial-exec: preload it, never open it late"
    if (culprit := _culprit(refusal, refusal.definer)) is not None:
        return culprit
    text = f"{refusal.name} must reach its thread-local variables by global-dynamic code (-ftls-model=global-dynamic)"
    if refusal.definer not in opened:
        text += "; it came as another file's dependency: where it is a copy in a wheel, leave it out, or replace it by one that is built that way"
    return f"{text}. {WAYS}"


def _culprit(refusal: Refusal, path: str) -> str | None:
    """Who brought it in, and the first cures, where that is sure; a library that was compiled elsewhere is out of a rewrite's reach."""
    found = next((s for s in refusal.files.traced(path).sure if not s.match.culprit.generic), None)
    if found is None:
        return None
    culprit, name = found.match.culprit, path.rsplit("/", 1)[-1]
    cures = [remedy.text for remedy in found.remedies if "today" not in remedy.builds]
    text = f"{name} holds {culprit.name} ({found.match.confidence}: {found.match.evidence[0]})"
    return (
        f"{text}: {'; or '.join(cures[:2])}. `tls-wheel-guard explain {culprit.id}` says more" if cures else f"{text}. {'; '.join(found.advice)}"
    )


def _took_most(refusal: Refusal) -> str | None:
    """The late file with the largest share of the room, where it is not the one that was refused, and has more than that one asked."""
    observed = refusal.observed
    facts = refusal.files.facts(refusal.definer)
    asked = facts.tls_segment.memsz if facts and facts.tls_segment else 0
    taken = [each for happened in observed.replay.happened for each in happened.taken] if observed else []
    most = max(taken, key=lambda each: each.size, default=None)
    if observed is None or most is None or most.module.path == refusal.definer or most.size < asked:
        return None
    name, room = most.module.name, refusal.first.live.room or 0
    text = f"{name} took most of the room, {most.size:,} of {room:,} bytes, and should change first"
    culprit = _culprit(refusal, most.module.path)
    return f"{text}: {culprit}" if culprit else f"{text}. {WAYS}"
