"""Patterns that are compiled late: a check asks few of those that the data files have."""

from __future__ import annotations

import functools
import re

__all__ = ["Pattern"]


class Pattern:
    """A regular expression. It is compiled for the first text that has what all of its matches begin with."""

    def __init__(self, text: str) -> None:
        self.text = text

    @functools.cached_property
    def beginning(self) -> str:
        """Letters, digits, underscores and blanks with which every match begins."""
        rest = self.text
        while (inner := re.sub(r"\\.|\[[^]]*\]|\([^()]*\)", "", rest)) != rest:
            rest = inner
        found = re.match(r"[\w ]*", self.text)
        word = found[0] if found and "|" not in rest else ""
        return word[:-1] if self.text[len(word) : len(word) + 1] in ("*", "?", "{") else word

    @functools.cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern itself; raises re.error."""
        return re.compile(self.text)

    def is_whole(self, text: str) -> bool:
        """Whether it matches all of a text."""
        return text.startswith(self.beginning) and self.compiled.fullmatch(text) is not None

    def is_in(self, text: str) -> bool:
        """Whether it matches somewhere in a text."""
        return self.beginning in text and self.compiled.search(text) is not None
