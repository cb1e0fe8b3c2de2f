"""A page of Markdown for the terminal: what `explain` prints. Paragraphs, lists, code, bold and links are all that pages have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from tls_wheel_guard.report.style import Style, printable

__all__ = ["rendered"]

_ITEM = re.compile(r"( *)([-*]|\d+\.) +")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_REPOSITORY = re.compile(r"docs/([\w/-]+)\.md")
CODE_INDENT = 4
"""Spaces in front of what is to be typed."""


class _Letter(NamedTuple):
    text: str
    bold: bool
    code: bool


class _Block(NamedTuple):
    """Lines of one kind. ``lead``: the mark of a list's entry, with its indentation."""

    lead: str
    text: str
    is_code: bool


def rendered(markdown: str, style: Style, documentation: str | None = None) -> str:
    """The page as text. ``documentation``: the address of the project's site, for what the page names of the repository."""
    lines = [line for block in _blocks(markdown) for line in _block(block, style, documentation)]
    return "\n".join(lines).strip("\n") + "\n"


def _blocks(markdown: str) -> Iterator[_Block | None]:
    """The blocks; None for an empty line."""
    lead = ""
    words: list[str] = []
    for line in [*markdown.splitlines(), ""]:
        indent = len(line) - len(line.lstrip(" "))
        item = _ITEM.match(line)
        starts = not line.strip() or item is not None or (indent >= CODE_INDENT and not words)
        if starts and words:
            yield _Block(lead, " ".join(words), False)
            lead, words = "", []
        if not line.strip():
            yield None
        elif item is None and indent >= CODE_INDENT and not words:
            yield _Block("", line.strip(), True)
        elif item is not None:
            lead, words = item[0], [line[item.end() :].strip()]
        else:
            lead = lead or " " * indent
            words.append(line.strip())


def _block(block: _Block | None, style: Style, documentation: str | None) -> Iterator[str]:
    if block is None:
        yield ""
    elif block.is_code:
        yield " " * CODE_INDENT + style.paint(printable(block.text), "cyan")
    else:
        yield from _filled(_plain(block.text, documentation), block.lead, style)


def _plain(text: str, documentation: str | None) -> str:
    """Links with their addresses, and the repository's pages as those of the site."""
    text = _LINK.sub(lambda m: f"{m[1]} ({m[2]})" if m[2].startswith("http") else m[1], text)
    return _REPOSITORY.sub(lambda m: f"{documentation}{m[1]}/" if documentation else f"the page {m[1]} of the documentation", text)


def _letters(text: str, keep_ticks: bool) -> Iterator[_Letter]:
    bold = code = False
    for part in re.split(r"(\*\*|`)", text):
        if part == "**" and not code:
            bold = not bold
        elif part == "`":
            code = not code
            if keep_ticks:
                yield _Letter("`", bold, False)
        else:
            yield from (_Letter(letter, bold, code) for letter in printable(part))


def _filled(text: str, lead: str, style: Style) -> Iterator[str]:
    """Lines of at most the style's width; words are never broken."""
    line: list[str] = []
    width, before = len(lead), lead
    for word in _words(text, not style.color):
        if line and width + 1 + len(word) > style.width:
            yield before + " ".join(line)
            line, width, before = [], len(lead), " " * len(lead)
        width += len(word) + bool(line)
        line.append(_painted(word, style))
    yield before + " ".join(line)


def _words(text: str, keep_ticks: bool) -> Iterator[list[_Letter]]:
    word: list[_Letter] = []
    for letter in _letters(text, keep_ticks):
        if letter.text == " ":
            yield from [word] if word else []
            word = []
        else:
            word.append(letter)
    yield from [word] if word else []


def _painted(word: list[_Letter], style: Style) -> str:
    parts = []
    for (bold, code), letters in groupby(word, lambda letter: (letter.bold, letter.code)):
        text = "".join(letter.text for letter in letters)
        text = style.paint(text, "bold") if bold else text
        parts.append(style.paint(text, "cyan") if code else text)
    return "".join(parts)
