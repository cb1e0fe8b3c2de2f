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
    words = [text[start:end] for _, start, end in tokens]
    found: list[Literal] = []
    uses = _Uses()
    for n, (kind, start, end) in enumerate(tokens):
        uses.take(words, n, text.count("\n", tokens[n - 1][2], start) > 0 if n else True)
        if kind in ("string", "multi"):
            quotes = 3 if kind == "multi" else 1
            compared = bool({*words[max(n - 1, 0) : n], *words[n + 1 : n + 2]} & _COMPARED)
            item = _item(words, tokens, n)
            found.append(Literal(start, end, words[n].removeprefix("f")[quotes:-quotes], uses.doubt, item, compared or words[n].startswith("f")))
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


class _Uses:
    """What a string would be used for, by the brackets that are open: a value for each, from the outside in."""

    def __init__(self) -> None:
        self._known: list[str | None] = [None]

    @property
    def doubt(self) -> str:
        """Why a flag may not be one here; "" where it is one."""
        return next((known for known in reversed(self._known) if known is not None), _UNKNOWN)

    def take(self, words: Sequence[str], n: int, new_line: bool) -> None:
        """Follow one token."""
        word = words[n]
        if new_line and len(self._known) == 1:
            self._known[0] = None
        if word == "(":
            self._known.append(_of_call(words[n - 1] if n else ""))
        elif word in ("[", "{"):
            self._known.append(None)
        elif word in (")", "]", "}"):
            self._known.pop()
        elif word in ("=", "+="):
            self._known[-1] = ""
        elif word == ":" and n:
            self._known[-1] = "" if _LISTS.search(words[n - 1]) else f"what {words[n - 1]} does with it is not known"


_UNKNOWN = "what it is used for is not known"


def _of_call(name: str) -> str:
    if _TESTS.search(name):
        return f"{name} tests the flag, and the result may mean something else then"
    return "" if name in _CALLS else f"what {name or 'the bracket'} does with it is not known"


def _item(words: Sequence[str], tokens: Sequence[tuple[str, int, int]], place: int) -> tuple[int, int] | None:
    """The string with its comma, where it is an item of a list."""
    _, start, end = tokens[place]
    before = words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    if before == "," and after in (",", "]"):
        return tokens[place - 2][2], end
    if before == "[" and after == ",":
        return start, tokens[place + 2][1]
    return (start, end) if before == "[" and after == "]" else None
