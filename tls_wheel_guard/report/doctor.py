"""What ``doctor`` has found, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tls_wheel_guard.doctor.result import Advice, Diagnosis, Share
from tls_wheel_guard.live.model import KEEPS_NO_ROOM, NO_STATIC_TLS
from tls_wheel_guard.report.style import text_of
from tls_wheel_guard.rules.phrases import bytes_of

__all__ = ["text"]

MOST = 300
"""Characters of an exception that are shown."""


def text(diagnosis: Diagnosis) -> str:
    """The answer for people."""
    return text_of(_lines(diagnosis))


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    live, last = diagnosis.live, diagnosis.stages[-1]
    yield f"{live.python}: {live.implementation}, {live.libc}{f' {live.libc_version}' if live.libc_version else ''}, {live.machine}"
    before = [stage.name for stage in diagnosis.stages[:-1]]
    after = f", after {', '.join(before)}" if before else ""
    if diagnosis.outcome == "loads":
        yield f"  {last.name} loads{after}"
        yield from (f"  a dlopen on the way was refused: {words}" for words in diagnosis.refused)
        yield from _room(diagnosis)
        return
    if diagnosis.error is None:
        yield f"  {last.name} loads{after}, and has swallowed the refusal of a dlopen inside it: {_cut(diagnosis.swallowed or '')}"
    else:
        yield f"  {last.name} fails{after}: {_cut(diagnosis.error)}"
    if diagnosis.not_tried:
        yield f"  not tried after it: {', '.join(diagnosis.not_tried)}"
    if diagnosis.outcome == "fails":
        yield "  static TLS is not the cause"
        if diagnosis.hint:
            yield f"  hint: {diagnosis.hint}"
        yield from (f"  a dlopen on the way was refused: {words}" for words in diagnosis.refused)
        return
    if last.static_tls and last.static_tls not in (diagnosis.error or ""):
        yield f"  the loader says: {_cut(last.static_tls)}"
    yield from _asked(diagnosis)
    yield from _room(diagnosis)
    yield from _remedies(diagnosis)


def _remedies(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.disagrees:
        yield f"  the model of this loader and the process disagree, so no exact numbers are given: {diagnosis.disagrees}"
    elif not diagnosis.has_model:
        yield "  there is no model of this loader, so no exact numbers are given"
    helps = [advice for advice in diagnosis.advice if advice.helps and advice.kind != "author"]
    yield "what helps now" if helps else "nothing helps now but a new build"
    for advice in helps:
        yield from _advice(advice)
    useless = [advice for advice in diagnosis.advice if not advice.helps]
    if useless:
        yield "what does not help"
        yield from (line for advice in useless for line in _item(advice.text))
    author = [advice for advice in diagnosis.advice if advice.kind == "author"]
    yield from ["for the author"] if author else []
    yield from (line for advice in author for line in _item(advice.text))


def _cut(words: str) -> str:
    """An exception's text on one line; it may be a page long."""
    words = " ".join(words.split())
    return words if len(words) <= MOST else f"{words[:MOST]}..."


def _asked(diagnosis: Diagnosis) -> Iterator[str]:
    asked = diagnosis.asked
    if asked is None:
        return
    others = [path for path in asked.asking if path != asked.definer]
    if any(asked.asking):
        yield f"  who asks: {', '.join(asked.asking)}" + (f", for the variables of {asked.definer}" if others else "")
    if asked.opened is not None and asked.opened not in asked.asking:
        yield f"  it is needed by: {asked.opened}"
    if asked.used_before:
        name = asked.definer.rsplit("/", 1)[-1]
        yield f"  why: {name}'s variables were used before, by global-dynamic code: its block can't become static any more, whatever the room"
    if asked.size is not None:
        yield f"  how much: {bytes_of(asked.size)}, alignment {asked.align}"


def _room(diagnosis: Diagnosis) -> Iterator[str]:
    live = diagnosis.live
    if live.method in (KEEPS_NO_ROOM, NO_STATIC_TLS):
        yield f"  {live.method}"
        return
    took = [share for share in diagnosis.took if share.stage is not None]
    if live.room is not None:
        if diagnosis.room is None:
            yield f"  room at the start: {bytes_of(live.room)}"
        else:
            yield f"  room left: {bytes_of(diagnosis.room)}, of {live.room:,} at the start"
    if took:
        yield "  who took room:"
        yield from (f"    {_share(share)}" for share in took)
    elif live.libc == "glibc" and diagnosis.has_model and diagnosis.disagrees is None:
        yield "  no module that came late took any"
    start = [share for share in diagnosis.took if share.stage is None]
    if start:
        names = (f"{share.path.rsplit('/', 1)[-1]} {share.size:,}" for share in start)
        yield f"  loaded at the start: {', '.join(names)}"


def _share(share: Share) -> str:
    return f"{share.size:>6,}  {share.path} (by {share.stage})"


def _item(words: str, mark: str = "-") -> list[str]:
    return textwrap.wrap(words, 100, initial_indent=f"  {mark} ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _advice(advice: Advice) -> Iterator[str]:
    proof = [
        word
        for word, holds in (("simulated", advice.simulated), ("run: this failure is gone" if advice.then else "run: works", advice.ran))
        if holds
    ]
    yield from _item(advice.text + (f" [{', '.join(proof)}]" if proof else ""))
    if advice.command:
        yield f"      {advice.command}"
    if advice.then:
        yield from _item(f"with it the import ends with {_cut(advice.then)}: another failure, and static TLS is not its cause", " ")
