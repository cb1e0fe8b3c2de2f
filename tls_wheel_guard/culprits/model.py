"""What the guard knows of one culprit: the words to find, the pattern of its variables, what helps. Written in ``data/*.toml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from tls_wheel_guard.culprits.pattern import Pattern
from tls_wheel_guard.culprits.remedy_edits import RemedyEdit, edit_from
from tls_wheel_guard.records import dataclass, fields

__all__ = ["BUILDS", "HOWS", "STATUSES", "Culprit", "DataError", "Layout", "Remedy", "Words", "culprit_from"]

How = Literal["flag", "attribute", "assembler", "toolchain", "objects", "linker"]
HOWS: tuple[How, ...] = ("flag", "attribute", "assembler", "toolchain", "objects", "linker")
"""How initial-exec got in: by a flag that the project's build passes, an attribute in the source, assembler, a compiler or library
that was built elsewhere, objects compiled for programs, or the linker."""

BUILDS = ("cargo", "setuptools", "cmake", "meson", "autotools", "go", "zig", "bazel", "gn", "auditwheel", "today", "any")
"""Who types a remedy: the build system it is for; ``auditwheel``: when the wheel is repaired; ``today``: the user of a built wheel."""

STATUSES = ("measured", "read", "not measured")
"""``measured``: built and run, ``where`` says by what; ``read``: in the source or documentation; ``not measured``: only believed."""


class DataError(ValueError):
    """A data file says something that the guard can't use: the place and the value are in the message."""


@dataclass(frozen=True, slots=True)
class Words:
    """What to find.

    ``variables`` and ``files`` are patterns on whole names; ``beside``: names of variables that are its own only where one of
    ``variables`` is there too; ``common``: names that others use as well; ``structure``: sections that only its own tools write;
    ``strings``: texts in its data. ``descriptors``: a text in its data that says whose build chose TLS descriptors.
    """

    variables: tuple[Pattern, ...] = ()
    beside: tuple[Pattern, ...] = ()
    common: tuple[Pattern, ...] = ()
    crates: tuple[str, ...] = ()
    files: tuple[Pattern, ...] = ()
    functions: tuple[str, ...] = ()
    structure: tuple[str, ...] = ()
    comments: tuple[Pattern, ...] = ()
    strings: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The variables that it reaches by initial-exec, all of them. ``data``: those with an initial value, ``zero``: those without.

    An entry is ``"pointer"`` (one word, its initial value is an address), ``"constant"`` (the same, of data that is read-only once
    loaded), ``"word"``, a size in bytes, or a range of sizes: ``"500-8000"``.
    ``reads``: how often their slots are read at least, where that can be counted. ``packed``: they follow each
    other without a gap, in this order. ``weak``: so plain that other code may look the same. ``bits``: 32, 64, or 0 for both.
    """

    versions: str
    data: tuple[str | int, ...] = ()
    zero: tuple[str | int, ...] = ()
    packed: bool = False
    weak: bool = False
    bits: int = 0
    reads: int = 0


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do. ``text``: exactly what to type; ``when``, ``since``, ``cannot``: its conditions; ``where``: what proved it.

    ``edits``: how the command ``fix`` writes it into a project's files; see ``remedy_edits.py``.
    """

    builds: tuple[str, ...]
    text: str
    status: str
    where: str = ""
    when: str = ""
    since: str = ""
    cannot: str = ""
    edits: tuple[RemedyEdit, ...] = ()


@dataclass(frozen=True, slots=True)
class Culprit:
    """One culprit. ``id`` is its file's name. ``by_string``: a text in its data and what it says of the version.

    ``no_preload``: libc -> why a process that preloads it crashes.
    ``version_pattern``: finds the version itself in the data, as the first group, in 256 bytes at most; None where it is not written there.
    ``version_end``: its last part, from a byte on that says much: what is looked for first.
    """

    id: str
    name: str
    how: str
    why: str
    versions: str
    measured: str
    words: Words
    layouts: tuple[Layout, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    avoid: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    generic: bool = False
    no_preload: tuple[tuple[str, str], ...] = ()
    by_string: tuple[tuple[str, str], ...] = ()
    version_pattern: re.Pattern[bytes] | None = None
    version_end: re.Pattern[bytes] | None = None


def culprit_from(stem: str, table: Mapping[str, Any], patterns_are_good: bool = False) -> Culprit:
    """A culprit from the parsed TOML of ``data/STEM.toml``; raises DataError.

    ``patterns_are_good``: each was compiled before, so that this can wait until one is asked.
    """
    return _Reader(stem, table, patterns_are_good).culprit()


class _Reader:
    """Checks while it reads: an unknown key, a wrong type or an empty text is an error with its place."""

    def __init__(self, stem: str, table: Mapping[str, Any], patterns_are_good: bool) -> None:
        self._stem, self._table, self._patterns_are_good = stem, table, patterns_are_good

    def culprit(self) -> Culprit:
        table = self._table
        self._known(table, {*(f.name for f in fields(Culprit))} - {"by_string"} | {"strings_by_version"}, "")
        if table.get("id") != self._stem:
            raise DataError(f"{self._stem}.toml: id is {table.get('id')!r}, and must be the file's name")
        how = self._text(table, "how", "")
        if how not in HOWS:
            raise DataError(f"{self._stem}.toml: how is {how!r}; one of {', '.join(HOWS)}")
        return Culprit(
            id=self._stem,
            name=self._text(table, "name", ""),
            how=how,
            why=self._text(table, "why", ""),
            versions=self._text(table, "versions", ""),
            measured=self._text(table, "measured", ""),
            words=self._words(self._rows(table, "words", dict)),
            layouts=tuple(self._layout(row, f"layouts[{n}]") for n, row in enumerate(self._rows(table, "layouts", list))),
            remedies=tuple(self._remedy(row, f"remedies[{n}]") for n, row in enumerate(self._rows(table, "remedies", list))),
            avoid=self._texts(table, "avoid", ""),
            references=self._texts(table, "references", ""),
            generic=bool(table.get("generic", False)),
            no_preload=tuple((str(k), str(v)) for k, v in self._rows(table, "no_preload", dict).items()),
            by_string=tuple((str(k), str(v)) for k, v in self._rows(table, "strings_by_version", dict).items()),
            **self._version(table),
        )

    def _known(self, table: Mapping[str, Any], keys: set[str], place: str) -> None:
        for key in table:
            if key not in keys:
                raise DataError(f"{self._stem}.toml: {place}{'.' if place else ''}{key} is no key; keys: {', '.join(sorted(keys))}")

    def _rows(self, table: Mapping[str, Any], key: str, kind: type) -> Any:
        value = table.get(key, kind())
        if not isinstance(value, kind):
            raise DataError(f"{self._stem}.toml: {key} is {value!r}, and must be a {'table' if kind is dict else 'list of tables'}")
        return value

    def _text(self, table: Mapping[str, Any], key: str, place: str, needed: bool = True) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (needed and not value.strip()):
            raise DataError(f"{self._stem}.toml: {place}{'.' if place else ''}{key} is {value!r}, and must be a text")
        return value.strip()

    def _texts(self, table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise DataError(f"{self._stem}.toml: {place}{'.' if place else ''}{key} is {value!r}, and must be a list of texts")
        return tuple(value)

    def _words(self, table: Mapping[str, Any]) -> Words:
        self._known(table, {f.name for f in fields(Words)}, "words")
        found: dict[str, Any] = {f.name: self._texts(table, f.name, "words") for f in fields(Words)}
        for key in ("variables", "beside", "common", "files", "comments"):
            found[key] = tuple(self._pattern(text, key) for text in found[key])
        return Words(**found)

    def _pattern(self, text: str, key: str) -> Pattern:
        pattern = Pattern(text)
        try:
            if not self._patterns_are_good:
                _ = pattern.compiled
        except re.error as error:
            raise DataError(f"{self._stem}.toml: words.{key} has {text!r}, which is no pattern: {error}") from error
        return pattern

    def _version(self, table: Mapping[str, Any]) -> dict[str, re.Pattern[bytes]]:
        text, end = (self._text(table, key, "", needed=False) for key in ("version_pattern", "version_end"))
        if text and not self._patterns_are_good and self._pattern(text, "version_pattern").compiled.groups != 1:
            raise DataError(f"{self._stem}.toml: version_pattern is {text!r}, and must have one group")
        if (text or end) and (not end or not text.endswith(end) or "|" in text):
            raise DataError(f"{self._stem}.toml: version_end is {end!r}, and must be how version_pattern ends, which has no |")
        return {"version_pattern": re.compile(text.encode()), "version_end": re.compile(end.encode())} if text else {}

    def _layout(self, table: Mapping[str, Any], place: str) -> Layout:
        self._known(table, {f.name for f in fields(Layout)}, place)
        parts: dict[str, tuple[str | int, ...]] = {}
        for key in ("data", "zero"):
            value = table.get(key, [])
            good = isinstance(value, list) and all(
                (isinstance(entry, str) and re.fullmatch(r"constant|pointer|word|[1-9][0-9]*-[1-9][0-9]*", entry))
                or (type(entry) is int and entry > 0)
                for entry in value
            )
            if not good:
                raise DataError(
                    f'{self._stem}.toml: {place}.{key} is {value!r}; entries are "constant", "pointer", "word", a size in bytes or a range "4-8"'
                )
            parts[key] = tuple(value)
        if not parts["data"] and not parts["zero"]:
            raise DataError(f"{self._stem}.toml: {place} names no variable")
        if table.get("bits", 0) not in (0, 32, 64):
            raise DataError(f"{self._stem}.toml: {place}.bits is {table['bits']!r}; 32 or 64")
        return Layout(
            self._text(table, "versions", place), parts["data"], parts["zero"], bool(table.get("packed", False)), bool(table.get("weak", False)),
            table.get("bits", 0), int(table.get("reads", 0)),
        )  # fmt: skip

    def _remedy(self, table: Mapping[str, Any], place: str) -> Remedy:
        self._known(table, {f.name for f in fields(Remedy)} - {"edits"} | {"edit"}, place)
        builds = self._texts(table, "builds", place)
        if not builds or not set(builds) <= set(BUILDS):
            raise DataError(f"{self._stem}.toml: {place}.builds is {list(builds)!r}; of {', '.join(BUILDS)}")
        status = self._text(table, "status", place)
        if status not in STATUSES:
            raise DataError(f"{self._stem}.toml: {place}.status is {status!r}; one of {', '.join(STATUSES)}")
        optional = {key: self._text(table, key, place, needed=False) for key in ("where", "when", "since", "cannot")}
        if status == "measured" and not optional["where"]:
            raise DataError(f"{self._stem}.toml: {place} is measured and does not say where")
        return Remedy(builds, self._text(table, "text", place), status, **optional, edits=self._edits(table.get("edit", []), place))

    def _edits(self, value: Any, place: str) -> tuple[RemedyEdit, ...]:
        tables = [value] if isinstance(value, dict) else value
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise DataError(f"{self._stem}.toml: {place}.edit is {value!r}, and must be a table or a list of tables")
        try:
            return tuple(edit_from(table) for table in tables)
        except ValueError as error:
            raise DataError(f"{self._stem}.toml: {place}.edit: {error}") from error
