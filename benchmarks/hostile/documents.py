"""What a document is made of, by parsers that are not ours: elements, links, keys, commands."""

from __future__ import annotations

import functools
import html.parser
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["LOOKS"]


class _Elements(html.parser.HTMLParser):
    """Elements with the names of their attributes, the values that lead somewhere or are code, and whether all are closed."""

    EMPTY = frozenset({"meta", "link", "br", "hr", "img", "input", "wbr", "path", "rect", "line", "col"})

    def __init__(self) -> None:
        super().__init__()
        self.found: set[object] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, name) for name, _ in attrs} | {tag}
        self.found |= {
            (tag, name, value) for name, value in attrs if name in ("href", "src", "action", "style", "class") or name.startswith("on")
        }
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY and (not self.open or self.open.pop() != tag):
            self.found.add(f"</{tag}> that closes nothing")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_comment(self, _data: str) -> None:
        self.found.add("a comment")

    def handle_decl(self, decl: str) -> None:
        self.found.add(f"<!{decl}>")

    def handle_pi(self, _data: str) -> None:
        self.found.add("an instruction")

    def unknown_decl(self, _data: str) -> None:
        self.found.add("a declaration")


def _html(text: str) -> Iterator[object]:
    parser = _Elements()
    parser.feed(text)
    parser.close()
    yield from parser.found
    if parser.open:
        yield f"left open: {parser.open}"


def _junit(text: str) -> Iterator[object]:
    for element in ET.fromstring(text).iter():  # noqa: S314  (what we wrote)
        yield element.tag
        yield from ((element.tag, name) for name in element.attrib)


@functools.cache
def _markdown_parser() -> Any:
    from markdown_it import MarkdownIt  # noqa: PLC0415  (Rich and import-linter bring it)

    return MarkdownIt("gfm-like", {"linkify": False, "html": True})


def _markdown(text: str) -> Iterator[object]:
    for token in _markdown_parser().parse(text):
        for part in (token, *(token.children or ())):
            if part.type in ("html_block", "html_inline"):
                yield part.content.strip()
            elif part.type not in ("text", "softbreak", "code_inline", "hardbreak", "text_special"):
                yield part.type, part.attrs.get("href"), part.tag


def _github(text: str) -> Iterator[object]:
    for line in text.splitlines()[:-1]:
        if found := re.match(r"::\w+", line):
            yield found[0]


def _keys(text: str) -> Iterator[object]:
    """The keys of a JSON document, numbers of lists left out."""
    stack: list[tuple[object, ...]] = [((), json.loads(text))]
    while stack:
        path, value = stack.pop()
        yield path
        if isinstance(value, dict):
            stack += [((path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [((path, "[]"), item) for item in value]


def _sarif(text: str) -> Iterator[object]:
    yield from _keys(text)
    for result in json.loads(text)["runs"][0]["results"]:
        (place,) = result["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        yield ("uri", uri) if not re.fullmatch(r"[!-~]+", uri) else "uri"


LOOKS: dict[str, Callable[[str], Iterator[object]]] = {
    "html": _html, "junit": _junit, "markdown": _markdown, "github": _github, "sarif": _sarif, "gitlab": _keys,
}  # fmt: skip
"""A format -> what it is made of; raises ValueError or ParseError where it does not parse."""
