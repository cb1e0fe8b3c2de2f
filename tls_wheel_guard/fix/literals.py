"""Words in the string literals of a text: where a flag stands, and the edit that exchanges it.

A build system's module gives the literals of its language. Here the word is exchanged, and the proof made: read again, the text has the
same literals in the same order, and only the intended one has another value. What stands between the literals is untouched by
construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from tls_wheel_guard.culprits.remedy_edits import FlagChange
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, Unparsable, apply, line_of
from tls_wheel_guard.records import dataclass

__all__ = ["Literal", "Reader", "exchanged", "flag_proposal", "has_flag"]

Reader = Callable[[str], Sequence["Literal"]]
"""A language's literals in the order of the text; raises Unparsable."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal's span, quotes included. ``value``: what it means. ``doubt``: why a change of it may not do what is meant.

    ``item``: the span to take out together with it where it is one item of a list: with a comma, or a blank; None where it is none.
    ``bare``: it is no literal that can be changed, but its text is compared. ``elsewhere``: it is for a system without a static TLS block.
    """

    start: int
    end: int
    value: str
    doubt: str = ""
    item: tuple[int, int] | None = None
    bare: bool = False
    elsewhere: bool = False


def _word(flag: str) -> re.Pattern[str]:
    # A flag ends where a shell's word or a linker's list ends.
    return re.compile(rf"(?<![\w-]){re.escape(flag)}(?![\w=-])")


def has_flag(text: str, flag: str) -> bool:
    """Whether a flag stands in a text as a word of its own."""
    return _word(flag).search(text) is not None


def exchanged(text: str, change: FlagChange) -> str:
    """A text with the flag exchanged, or taken out together with the blank before it."""
    if change.new:
        return _word(change.old).sub(lambda _: change.new, text)
    return _removal(change.old).sub("", text)


def _removal(flag: str) -> re.Pattern[str]:
    """The flag with the blanks before it; at the start of a text with those behind it."""
    return re.compile(rf"[ \t]+{re.escape(flag)}(?![\w=-])|(?<![\w-]){re.escape(flag)}(?![\w=-])[ \t]*")


def flag_proposal(path: str, text: str, read: Reader, change: FlagChange, culprit: str, vendored: str = "") -> Proposal:
    """The edits that exchange a flag in the literals of one file. ``vendored``: why this file is not the author's to change.

    Raises Unparsable where the file is not in the language of ``read``.
    """
    found = Proposal()
    if change.old not in text:
        return found
    literals = read(text)
    made: dict[int, TextEdit] = {}
    instead = f"{change.old} becomes {change.new}" if change.new else f"{change.old} goes"
    for number, literal in enumerate(literals):
        if literal.bare or not has_flag(literal.value, change.old):
            continue
        if literal.elsewhere:
            found.elsewhere.add((path, line_of(text, literal.start)))
            continue
        edit = _edit(path, text, literal, change, culprit)
        if vendored or edit is None:
            found.advice.append(Advice(path, line_of(text, literal.start), instead, vendored or _NOT_SPELLED, culprit))
        else:
            made[number] = edit
    _keep_proved(found, text, read, literals, made, change)
    return found


_PLAIN = re.compile(r"(?:^|(?<=\s))[A-Za-z][a-z']*(?=\s|[.,;:!?]?$)")
_PROSE = "it reads like a sentence"
_NOT_SPELLED = "the flag is not spelled out there, so the edit could not be proved"
MOST_ALONE = 50
"""Edits of one file that are proved one by one where they do not hold together."""


def _keep_proved(found: Proposal, text: str, read: Reader, literals: Sequence[Literal], made: Mapping[int, TextEdit], change: FlagChange) -> None:
    """All edits at once, which takes one more look at the file; one by one where that fails."""
    if _proved(text, read, literals, made, change):
        found.edits += made.values()
        return
    for place, (number, edit) in enumerate(made.items()):
        if place < MOST_ALONE and _proved(text, read, literals, {number: edit}, change):
            found.edits.append(edit)
        else:
            instead = f"{change.old} becomes {change.new}" if change.new else f"{change.old} goes"
            found.advice.append(Advice(edit.path, line_of(text, edit.start), instead, _NOT_SPELLED, edit.culprit))


def _edit(path: str, text: str, literal: Literal, change: FlagChange, culprit: str) -> TextEdit | None:
    raw = text[literal.start : literal.end]
    pattern = _word(change.old) if change.new else _removal(change.old)
    places = list(pattern.finditer(raw))
    if not places or len(places) != len(pattern.findall(literal.value)):
        return None
    doubt = literal.doubt or change.doubt or (_PROSE if len(_PLAIN.findall(literal.value)) > 2 else "")
    if not change.new and literal.value.strip() == change.old:
        return TextEdit(path, *literal.item, "", change.why, culprit, doubt) if literal.item else None
    first, last = literal.start + places[0].start(), literal.start + places[-1].end()
    return TextEdit(path, first, last, exchanged(text[first:last], change), change.why, culprit, doubt)


def _proved(text: str, read: Reader, before: Sequence[Literal], made: Mapping[int, TextEdit], change: FlagChange) -> bool:
    """Only the literals that have an edit differ, and by the flag alone."""
    try:
        after = read(apply(text, made.values()))
    except (Unparsable, ValueError):
        return False
    wanted: list[str] = []
    for number, literal in enumerate(before):
        if number not in made:
            wanted.append(literal.value)
        elif change.new or literal.value.strip() != change.old:
            wanted.append(exchanged(literal.value, change))
    return wanted == [literal.value for literal in after]
