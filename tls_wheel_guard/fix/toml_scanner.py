"""Where keys and values stand in a TOML text that tomllib has accepted."""

from __future__ import annotations

import re
import sys
from typing import Any

from tls_wheel_guard.fix.edit import Unparsable
from tls_wheel_guard.records import dataclass, field

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Entry", "Header", "Key", "Scanner", "Value", "parse_toml"]

Key = tuple[str | int, ...]
"""The way to a value: keys of tables, and indexes of arrays of tables."""


@dataclass(slots=True)
class Value:
    """A value's span. ``items``: of an array; ``entries``: of an inline table; ``text``: a string's own value."""

    start: int
    end: int
    kind: str
    items: list[Value] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    text: str = ""


@dataclass(slots=True)
class Entry:
    """``key = value``: the whole path of the key, where the line begins, and its value."""

    path: Key
    start: int
    value: Value
    dotted: bool


@dataclass(slots=True)
class Header:
    """``[table]`` or ``[[array of tables]]``; ``end``: behind the last entry's line, where a key can be added."""

    path: Key
    start: int
    end: int


def parse_toml(text: str) -> dict[str, Any]:
    """The text's value; raises Unparsable with tomllib's words."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unparsable(f"it is not TOML: {' '.join(str(error).split()) or 'nested too deeply'}") from error


_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
_STRINGS = (
    ('"""', re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)),
    ('"', re.compile(r'"(?:[^"\\\n]|\\.)*"')),
    ("'", re.compile(r"'[^'\n]*'")),
)


class Scanner:
    """Reads a text that tomllib has accepted. A text that it can't follow is Unparsable too, never guessed at."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def document(self) -> tuple[list[Entry], list[Header]]:
        """All entries and headers in order."""
        entries: list[Entry] = []
        headers: list[Header] = []
        counts: dict[Key, int] = {}
        table: Key = ()
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return entries, headers
            start = self.at
            if self.text[start] == "[":
                table = self._header(counts)
                headers.append(Header(table, start, self._line_end()))
            else:
                entry = self._entry(table)
                entries.append(entry)
                if headers:
                    headers[-1].end = self._line_end()

    def _line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end + 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _take(self, word: str) -> None:
        if not self.text.startswith(word, self.at):
            raise Unparsable(f"line {self.text.count(chr(10), 0, self.at) + 1}: {word!r} was expected")
        self.at += len(word)

    def _header(self, counts: dict[Key, int]) -> Key:
        array = self.text.startswith("[[", self.at)
        self._take("[[" if array else "[")
        keys = self._keys()
        self._take("]]" if array else "]")
        path: Key = ()
        for n, key in enumerate(keys):
            path = (*path, key)
            if path in counts or (array and n == len(keys) - 1):
                counts[path] = counts.get(path, -1) + (1 if array and n == len(keys) - 1 else 0)
                path = (*path, counts[path])
        return path

    def _keys(self) -> tuple[str, ...]:
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            if self.text[self.at : self.at + 1] in ('"', "'"):
                keys.append(self._string().text)
            elif found := _BARE.match(self.text, self.at):
                keys.append(found[0])
                self.at = found.end()
            else:
                raise Unparsable(f"line {self.text.count(chr(10), 0, self.at) + 1}: a key was expected")
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return tuple(keys)
            self.at += 1

    def _entry(self, table: Key) -> Entry:
        start = self.at
        keys = self._keys()
        self._take("=")
        self._skip(_BLANK)
        path = (*table, *keys)
        return Entry(path, start, self._value(path), len(keys) > 1)

    def _value(self, path: Key) -> Value:
        first = self.text[self.at : self.at + 1]
        if first in ('"', "'"):
            return self._string()
        if first == "[":
            return self._array(path)
        if first == "{":
            return self._inline(path)
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            raise Unparsable(f"line {self.text.count(chr(10), 0, self.at) + 1}: a value was expected")
        start, self.at = self.at, found.start() + len(found[0].rstrip())
        return Value(start, self.at, "other")

    def _string(self) -> Value:
        for mark, pattern in _STRINGS:
            if self.text.startswith(mark, self.at) and (found := pattern.match(self.text, self.at)):
                self.at = found.end()
                return Value(found.start(), found.end(), "string", text=str(tomllib.loads(f"x = {found[0]}")["x"]))
        raise Unparsable(f"line {self.text.count(chr(10), 0, self.at) + 1}: a string does not end")

    def _array(self, path: Key) -> Value:
        start = self.at
        self.at += 1
        items: list[Value] = []
        while True:
            self._skip(_SPACE)
            if self.text.startswith("]", self.at):
                self.at += 1
                return Value(start, self.at, "array", items)
            items.append(self._value((*path, len(items))))
            self._skip(_SPACE)
            if self.text.startswith(",", self.at):
                self.at += 1

    def _inline(self, path: Key) -> Value:
        start = self.at
        self.at += 1
        entries: list[Entry] = []
        while True:
            self._skip(_SPACE)
            if self.text.startswith("}", self.at):
                self.at += 1
                return Value(start, self.at, "table", entries=entries)
            entries.append(self._entry(path))
            self._skip(_SPACE)
            if self.text.startswith(",", self.at):
                self.at += 1
