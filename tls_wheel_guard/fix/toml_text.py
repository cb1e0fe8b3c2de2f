"""Where things stand in a TOML text, and edits of it that are proved.

``tomllib`` says whether a text is TOML and what it means, but not where. This module finds the places in a text that ``tomllib`` has
accepted, and nothing rests on it being right: after each edit the text is parsed again by ``tomllib``, and the edit is only given where
the intended key changed and nothing else did. No library writes TOML back byte for byte, so the text is spliced.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tls_wheel_guard.fix.edit import Unparsable, newline_of
from tls_wheel_guard.fix.literals import Literal
from tls_wheel_guard.fix.toml_scanner import Entry, Key, Scanner, Value, parse_toml
from tls_wheel_guard.records import dataclass

__all__ = ["Key", "Splice", "TomlText", "parse_toml", "proved", "quoted", "same", "string_literals", "written"]


@dataclass(frozen=True, slots=True)
class Splice:
    """``text[start:end]`` becomes ``new``."""

    start: int
    end: int
    new: str


def same(one: Any, other: Any) -> bool:
    """Equal in value and type, at every depth: True is not 1, and NaN is NaN. The order of keys does not count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124  (NaN)


def proved(before: str, after: str, path: Key, value: Any) -> bool:
    """Whether ``after`` is TOML whose only difference from ``before`` is that ``path`` has ``value``."""
    wanted = copy.deepcopy(parse_toml(before))
    at: Any = wanted
    try:
        for key in path[:-1]:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
        at[path[-1]] = value
        return same(wanted, parse_toml(after))
    except (Unparsable, TypeError, IndexError):
        return False  # a way through what is no table


def quoted(text: str) -> str:
    """A basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda c: f"\\u{ord(c[0]):04x}", escaped) + '"'


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else quoted(text)


def written(value: Any) -> str:
    """A value in TOML: strings, truth, whole numbers, lists of them, and inline tables."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {written(part)}" for key, part in value.items()) + " }"
    return "[" + ", ".join(written(part) for part in value) + "]"


class TomlText:
    """A TOML text with the places of its entries. Raises Unparsable where tomllib does not take it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.value = parse_toml(text)
        self.entries, self.headers = Scanner(text).document()
        self.newline = newline_of(text)

    def get(self, path: Key) -> Any:
        """The value at a path, None where there is none."""
        at: Any = self.value
        for key in path:
            if isinstance(at, dict):
                at = at.get(key)
            elif isinstance(key, int) and isinstance(at, list) and key < len(at):
                at = at[key]
            else:
                return None
        return at

    def entry(self, path: Key) -> Entry | None:
        """The entry that gives a path its value, inside inline tables too."""
        return next((entry for entry in self.all_entries() if entry.path == path), None)

    def all_entries(self) -> Iterator[Entry]:
        """Every ``key = value``, those of inline tables behind their own."""
        todo = list(reversed(self.entries))
        while todo:
            entry = todo.pop()
            yield entry
            todo += reversed(entry.value.entries)

    def strings(self) -> Iterator[tuple[Key, Value]]:
        """Every string value, at any depth, with its path."""
        todo: list[tuple[Key, Value]] = [(entry.path, entry.value) for entry in reversed(self.entries)]
        while todo:
            path, value = todo.pop()
            if value.kind == "string":
                yield path, value
            todo += [((*path, n), item) for n, item in reversed(list(enumerate(value.items)))]
            todo += [(entry.path, entry.value) for entry in reversed(value.entries)]

    def set(self, path: Key, value: Any) -> Splice | None:
        """The splice that gives ``path`` a value, in the style that the file has there; None where it can't be proved."""
        splice = self._place(path, value)
        if splice is None:
            return None
        after = self.text[: splice.start] + splice.new + self.text[splice.end :]
        return splice if proved(self.text, after, path, value) else None

    def append(self, tables: Mapping[tuple[str, ...], Mapping[str, Any]]) -> Splice | None:
        """The splice that puts new tables behind everything else; None where it can't be proved, such as for a table that is there."""
        nl, text = self.newline, self.text
        parts = [
            f"[{'.'.join(map(_key, table))}]{nl}" + "".join(f"{_key(key)} = {written(value)}{nl}" for key, value in values.items())
            for table, values in tables.items()
        ]
        gap = (("" if text.endswith("\n") else nl) + nl) if text.strip() else ""
        new = gap + nl.join(parts)
        if text and not text.endswith("\n"):
            new = new.removesuffix(nl)
        wanted = copy.deepcopy(self.value)
        for table, values in tables.items():
            at: Any = wanted
            for key in table:
                at = at.setdefault(key, {}) if isinstance(at, dict) else None
            if at != {}:
                return None
            at.update(values)
        try:
            return Splice(len(text), len(text), new) if same(wanted, parse_toml(text + new)) else None
        except Unparsable:
            return None

    def _place(self, path: Key, value: Any) -> Splice | None:
        if (found := self.entry(path)) is not None:
            old = self.get(path)
            if isinstance(old, list) and isinstance(value, list) and value[: len(old)] == old and found.value.kind == "array":
                return self._appended(found.value, value[len(old) :])
            return Splice(found.value.start, found.value.end, written(value))
        for length in range(len(path) - 1, 0, -1):
            parent, rest = path[:length], path[length:]
            if (place := self._inside(parent, rest, value)) is not None:
                return place
        return self._new_table(path, value)

    def _inside(self, parent: Key, rest: Key, value: Any) -> Splice | None:
        """A new key in a table that is there: as an inline table, by a header, or by dotted keys."""
        name = ".".join(_key(str(key)) for key in rest)
        entry = self.entry(parent)
        if entry is not None:
            return self._in_inline(entry.value, f"{name} = {written(value)}") if entry.value.kind == "table" else None
        if header := next((h for h in self.headers if h.path == parent), None):
            return self._line(header.end, f"{name} = {written(value)}")
        dotted = [e for e in self.entries if e.path[: len(parent)] == parent and e.dotted]
        if not dotted:
            return None
        last = dotted[-1]
        # The key as it is written there, up to the table that gets the new one.
        written_key = ".".join(_key(str(key)) for key in (*last.path[self._depth(last) : len(parent)], *rest))
        end = self.text.find("\n", last.value.end)
        return self._line(len(self.text) if end < 0 else end + 1, f"{written_key} = {written(value)}")

    def _depth(self, entry: Entry) -> int:
        """How many keys of an entry's path come from its header."""
        above = [h for h in self.headers if h.start < entry.start]
        return len(above[-1].path) if above else 0

    def _in_inline(self, table: Value, text: str) -> Splice:
        if not table.entries:
            return Splice(table.start, table.end, "{ " + text + " }")
        return Splice(table.entries[-1].value.end, table.entries[-1].value.end, f", {text}")

    def _appended(self, array: Value, values: Sequence[Any]) -> Splice:
        """New items behind the last one: on lines of their own where the others are."""
        if not array.items:
            return Splice(array.start, array.end, written(list(values)))
        last = array.items[-1]
        between = self.text[array.start + 1 : array.items[0].start]
        if "\n" not in between:
            return Splice(last.end, last.end, "".join(f", {written(value)}" for value in values))
        indent = between.rsplit("\n", 1)[1]
        comma = _comma_behind(self.text, last.end, array.end)
        at = last.end if comma is None else comma + 1
        # A comment behind the last item stays with that item.
        comment = _COMMENT.match(self.text, at)
        end = comment.end() if comment else at
        lines = ("," + self.newline + indent).join(written(value) for value in values)
        new = ("," if comma is None else "") + self.text[at:end] + self.newline + indent + lines + ("" if comma is None else ",")
        return Splice(at, end, new)

    def _line(self, at: int, text: str) -> Splice:
        before = "" if at == 0 or self.text[at - 1] == "\n" else self.newline
        # A file without a newline at its end keeps that.
        return Splice(at, at, f"{before}{text}" + ("" if before else self.newline))

    def _new_table(self, path: Key, value: Any) -> Splice | None:
        """``[a.b]`` and the key, behind everything else."""
        if any(isinstance(key, int) for key in path):
            return None
        at, nl = len(self.text), self.newline
        end = "" if self.text.endswith("\n") or not self.text else nl
        gap = nl if self.text.strip() else ""
        table = ".".join(_key(str(key)) for key in path[:-1])
        body = f"[{table}]{nl}{_key(str(path[-1]))} = {written(value)}" if table else f"{_key(str(path[-1]))} = {written(value)}"
        return Splice(at, at, f"{end}{gap}{body}" + ("" if end else nl))


_COMMENT = re.compile(r"[ \t]*#[^\r\n]*")


def string_literals(text: str, doubt_of: Callable[[Key], str | None]) -> list[Literal]:
    """Every string of a TOML text. ``doubt_of``: by a string's path, why a flag in it may not be one; None where it is none."""
    toml = TomlText(text)
    found: list[Literal] = []
    for path, value in toml.strings():
        doubt = doubt_of(path)
        found.append(Literal(value.start, value.end, value.text, doubt or "", _item(text, value, path), bare=doubt is None))
    return found


def _item(text: str, value: Value, path: Key) -> tuple[int, int] | None:
    """The string with its comma, where it is an item of an array."""
    if not isinstance(path[-1], int):
        return None
    comma = _comma_behind(text, value.end, len(text))
    if comma is not None:
        after = re.compile(r"[ \t]*(?:\r?\n[ \t]*)?").match(text, comma + 1)
        return value.start, after.end() if after else comma + 1
    at = value.start
    while at and text[at - 1] in " \t\r\n":
        at -= 1
    return (at - 1 if text[at - 1 : at] == "," else value.start), value.end


def _comma_behind(text: str, start: int, end: int) -> int | None:
    """Where the comma behind an item is; comments are passed over."""
    found = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*,").match(text, start, end)
    return found.end() - 1 if found else None
