"""meson.build: literal flags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tls_wheel_guard.fix.edit import Unparsable, line_of
from tls_wheel_guard.fix.literals import Literal

__all__ = ["meson_literals"]

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+|\\\r?\n)|(?P<comment>\#[^\r\n]*)|(?P<multi>f?'''.*?''')|(?P<string>f?'(?:[^'\\\r\n]|\\.)*')"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<number>0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d+)|(?P<mark>==|!=|<=|>=|\+=|[-+*/%<>=?:.,()\[\]{}])",
    re.DOTALL,
)
_LISTS = re.compile(r"_args$|^args$|^override_options$|flags", re.IGNORECASE)
_CALLS = frozenset({"add_project_arguments", "add_global_arguments", "add_project_link_arguments", "add_global_link_arguments"})
_TESTS = re.compile(r"^(has_|get_supported_|first_supported_|compiles$|links$|check_)")
_COMPARED = frozenset({"==", "!=", "in", "not"})


def meson_literals(text: str) -> Sequence[Literal]:
    """Every string of a meson.build, in order; raises Unparsable."""
    tokens = list(_tokens(text))
    found: list[Literal] = []
    for n, (kind, start, end) in enumerate(tokens):
        if kind in ("string", "multi"):
            raw = text[start:end]
            quotes = 3 if kind == "multi" else 1
            doubt = _doubt(text, tokens, n)
            bare = doubt is None or raw.startswith("f")
            found.append(Literal(start, end, raw.removeprefix("f")[quotes:-quotes], doubt or "", _item(text, tokens, n), bare))
    return found


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Names, numbers, strings and marks; brackets must match."""
    at = 0
    opened: list[str] = []
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Unparsable(f"line {line_of(text, at)}: {text[at : at + 12]!r} is no meson.build")
        if found[0] in ("(", "[", "{"):
            opened.append({"(": ")", "[": "]", "{": "}"}[found[0]])
        elif found[0] in (")", "]", "}") and (not opened or opened.pop() != found[0]):
            raise Unparsable(f"line {line_of(text, at)}: {found[0]} closes what never opened")
        if found.lastgroup not in ("space", "comment"):
            yield str(found.lastgroup), at, found.end()
        at = found.end()
    if opened:
        raise Unparsable(f"line {line_of(text, len(text))}: {opened[-1]} is missing at the end")


def _doubt(text: str, tokens: Sequence[tuple[str, int, int]], place: int) -> str | None:
    """Whose argument the string is, by the brackets around it; None where it is compared."""
    words = [text[start:end] for _, start, end in tokens]
    if {words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else ""} & _COMPARED:
        return None
    depth = 0
    for n in range(place - 1, -1, -1):
        if words[n] in (")", "]", "}"):
            depth += 1
        elif words[n] in ("(", "[", "{") and depth:
            depth -= 1
        elif not depth and (known := _known(words, n)) is not None:
            return known
    return "what it is used for is not known"


def _known(words: Sequence[str], n: int) -> str | None:
    if words[n] == "(":
        name = words[n - 1] if n else ""
        if _TESTS.search(name):
            return f"{name} tests the flag, and the result may mean something else then"
        return "" if name in _CALLS else f"what {name or 'the bracket'} does with it is not known"
    if words[n] in (":", "=", "+=") and n:
        return "" if words[n] != ":" or _LISTS.search(words[n - 1]) else f"what {words[n - 1]} does with it is not known"
    return None


def _item(text: str, tokens: Sequence[tuple[str, int, int]], place: int) -> tuple[int, int] | None:
    """The string with its comma, where it is an item of a list."""
    _, start, end = tokens[place]
    before = text[tokens[place - 1][1] : tokens[place - 1][2]] if place else ""
    after = text[tokens[place + 1][1] : tokens[place + 1][2]] if place + 1 < len(tokens) else ""
    if before == "," and after in (",", "]"):
        return tokens[place - 2][2], end
    if before == "[" and after == ",":
        return start, tokens[place + 2][1]
    return (start, end) if before == "[" and after == "]" else None
