"""C, C++ and Rust, as far as their string literals: attributes in C sources, flags in build.rs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tls_wheel_guard.culprits.remedy_edits import Attribute
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, Unparsable, line_of
from tls_wheel_guard.fix.literals import Literal

__all__ = ["attribute_proposal", "rust_literals"]

_C = re.compile(
    r'(?P<comment>//(?:[^\n\\]|\\.)*|/\*.*?\*/)|(?P<raw>R"(?P<d>[^()\\\s]{0,16})\(.*?\)(?P=d)")|(?P<bad>/\*|R"[^()\\\s]{0,16}\()'
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<char>'(?:[^'\\\n]|\\.)+')|(?P<space>\s+|\\\r?\n)|(?P<word>[A-Za-z_]\w*)|(?P<other>.)",
    re.DOTALL,
)
_RUST = re.compile(
    r'(?P<line>//[^\n]*)|(?P<open>/\*)|(?P<raw>[bc]?r(?P<d>\#{0,16})".*?"(?P=d))|(?P<bad>[bc]?r\#{0,16}")'
    r'|(?P<string>[bc]?"(?:[^"\\]|\\.)*")'
    r"|(?P<char>b?'(?:[^'\\\n]|\\[^\n]{1,10}?)')|(?P<word>r?\#?[A-Za-z_]\w*|'[A-Za-z_]\w*)|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
_PASSES_ON = frozenset({"flag", "flag_if_supported", "cflag", "cxxflag", "arg", "asm_flag", "ar_flag"})


def attribute_proposal(path: str, text: str, edit: Attribute, culprit: str, vendored: str) -> Proposal:
    """The attribute of a variable in one source. Never safe by itself: C has no parser here, and the author wrote it there on purpose."""
    found = Proposal()
    quoted = f'"{edit.old}"'
    if quoted not in text:
        return found
    tokens = _c_tokens(text)
    for n, (start, end) in enumerate(tokens):
        if text[start:end] != quoted or [text[a:b] for a, b in tokens[max(n - 2, 0) : n]] not in (["tls_model", "("], ["__tls_model__", "("]):
            continue
        line = line_of(text, start)
        words = f'tls_model("{edit.old}") becomes tls_model("{edit.new}")'
        if vendored or _in_macro(text, start):
            found.advice.append(Advice(path, line, words, vendored or "it stands in a macro, and who uses the macro is not known", culprit))
            continue
        why = "the attribute makes this variable initial-exec, whatever the flags of the build say"
        doubt = edit.doubt or "the source asks for it by name: only its author knows that nothing relies on it"
        found.edits.append(TextEdit(path, start + 1, end - 1, edit.new, why, culprit, doubt))
    return found


def _c_tokens(text: str) -> list[tuple[int, int]]:
    tokens: list[tuple[int, int]] = []
    for found in _C.finditer(text):
        if found["bad"] is not None:
            raise Unparsable(f"line {line_of(text, found.start())}: {found[0]} does not end")
        if found.lastgroup not in ("comment", "space"):
            tokens.append(found.span())
    return tokens


def _in_macro(text: str, place: int) -> bool:
    """Whether the line, with those that it continues, is a preprocessor's."""
    start = text.rfind("\n", 0, place) + 1
    while start and text[:start].rstrip("\r\n").endswith("\\"):
        start = text.rfind("\n", 0, start - 1) + 1
    return text[start:place].lstrip().startswith("#")


def rust_literals(text: str) -> Sequence[Literal]:
    """Every string of a Rust source, in order; raises Unparsable."""
    tokens = list(_rust_tokens(text))
    found: list[Literal] = []
    for n, (kind, start, end) in enumerate(tokens):
        if kind in ("string", "raw"):
            called = [text[a:b] for _, a, b in tokens[max(n - 2, 0) : n]]
            doubt = "" if len(called) == 2 and called[1] == "(" and called[0] in _PASSES_ON else _rust_doubt(called)
            found.append(Literal(start, end, text[start:end], doubt))
    return found


def _rust_doubt(called: Sequence[str]) -> str:
    name = called[0] if len(called) == 2 and called[1] == "(" else ""
    return f"what {name} does with it is not known" if name else "what it is used for is not known"


def _rust_tokens(text: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    while at < len(text):
        found = _RUST.match(text, at)
        if found is None or found["bad"] is not None or found["other"] == '"':
            raise Unparsable(f"line {line_of(text, at)}: a string does not end")
        kind = "raw" if found["raw"] is not None else str(found.lastgroup)
        at = found.end()
        if kind == "open":
            at = _comment_end(text, at)
        elif kind not in ("line", "space"):
            yield kind, found.start(), at


def _comment_end(text: str, at: int) -> int:
    """Rust's comments nest."""
    depth = 1
    for mark in re.finditer(r"/\*|\*/", text[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return at + mark.end()
    raise Unparsable(f"line {line_of(text, at)}: a comment does not end")
