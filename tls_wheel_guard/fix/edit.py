"""An edit of a build file: a splice of its text, with the reason, and what would make it unsafe.

A file is bytes. ``BuildFile`` decodes them so that encoding them again gives the same bytes: line ends, a byte order mark, a missing
newline at the end and bytes that are no text in the file's encoding all stay. An edit names a span of that text, in characters.
"""

from __future__ import annotations

import codecs
import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tls_wheel_guard.records import dataclass, field, replace

__all__ = [
    "Advice", "BuildFile", "Proposal", "TextEdit", "Unparsable", "apply", "decode", "line_of", "line_starts", "named", "newline_of",
    "unified_diff",
]  # fmt: skip

CONTEXT = 3
"""Unchanged lines before and after a change in a diff."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


class Unparsable(ValueError):  # noqa: N818  (it says what was wrong with the file, as UnreadableInput does)
    """A build file is not what its name says. The message is one line: where, and what is wrong; ``path`` names the file."""

    path = ""


@contextmanager
def named(path: str) -> Iterator[None]:
    """Give an Unparsable that is raised inside the file's name."""
    try:
        yield
    except Unparsable as error:
        error.path = error.path or path
        raise


@dataclass(frozen=True, slots=True)
class TextEdit:
    """``text[start:end]`` of the file ``path`` becomes ``new``.

    ``path`` is relative to the project, with slashes. ``why`` is one sentence for the diff. ``doubt`` says why the edit is not proved
    to be safe; it is empty where it is: the file was parsed again, and only the intended value had changed.
    """

    path: str
    start: int
    end: int
    new: str
    why: str
    culprit: str
    doubt: str = ""

    @property
    def safe(self) -> bool:
        """Whether ``--write`` takes it without ``--unsafe``."""
        return not self.doubt

    def doubted(self, doubt: str) -> TextEdit:
        """The same edit with a doubt, where it has none yet."""
        return self if self.doubt or not doubt else replace(self, doubt=doubt)


@dataclass(frozen=True, slots=True)
class Advice:
    """What the author must do by hand. ``line`` counts from 1; 0: the file, or the project where ``path`` is empty."""

    path: str
    line: int
    text: str
    why_not: str
    culprit: str


@dataclass(slots=True)
class Proposal:
    """What one look at a project gave. ``solved``: culprits whose remedy is in its files already.

    ``elsewhere``: files and lines with a flag for systems that have no static TLS block.
    """

    edits: list[TextEdit] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)
    solved: set[str] = field(default_factory=set)
    elsewhere: set[tuple[str, int]] = field(default_factory=set)

    def add(self, other: Proposal) -> None:
        """Take over what another look found."""
        self.edits += other.edits
        self.advice += other.advice
        self.solved |= other.solved
        self.elsewhere |= other.elsewhere


@dataclass(frozen=True, slots=True)
class BuildFile:
    """One file's text, and how to make its bytes again."""

    path: str
    text: str
    encoding: str = "utf-8"
    bom: bytes = b""
    errors: str = "strict"

    def encode(self, text: str) -> bytes:
        """The bytes of a changed text; raises UnicodeEncodeError where the file's encoding can't say it."""
        return self.bom + text.encode(self.encoding, self.errors)


def decode(path: str, data: bytes) -> BuildFile:
    """A file's bytes as text. Raises Unparsable where the bytes can't be had back from the text.

    TOML is UTF-8 by definition, Python by default and else what its first two lines say. In other files bytes that are no UTF-8 are
    kept as lone surrogates.
    """
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    body = data[len(bom) :]
    encoding, errors = "utf-8", "surrogateescape"
    if path.endswith((".toml", ".lock")):
        errors = "strict"
    elif path.endswith(".py"):
        encoding, errors = _python_encoding(body), "strict"
    try:
        file = BuildFile(path, body.decode(encoding, errors), encoding, bom, errors)
        whole = file.encode(file.text) == data
    except (UnicodeError, LookupError) as error:
        raise Unparsable(f"it is not text in {encoding}: {' '.join(str(error).split())}") from error
    if not whole or "\0" in file.text:
        raise Unparsable("a NUL byte is in it" if "\0" in file.text else f"its bytes can't be had back from {encoding}")
    return file


def _python_encoding(body: bytes) -> str:
    """PEP 263: a comment in one of the first two lines; the second counts only behind a line without code."""
    for line in re.split(rb"\r\n|\n|\r", body, maxsplit=2)[:2]:
        if found := _COOKIE.match(line):
            return found[1].decode("ascii", "replace")
        if line.split(b"#")[0].strip():
            break
    return "utf-8"


@functools.lru_cache(maxsize=16)
def line_starts(text: str) -> tuple[int, ...]:
    """Where each line begins. Lines end as parsers of build files end them: LF, CRLF or CR, and nothing else."""
    return (0, *(found.end() for found in _LINE_END.finditer(text)))


def line_of(text: str, offset: int) -> int:
    """The line, from 1, that a character is in."""
    return bisect_right(line_starts(text), offset)


def newline_of(text: str) -> str:
    """The line end that the file uses: that of its first line."""
    found = _LINE_END.search(text)
    return found[0] if found else "\n"


def apply(text: str, edits: Iterable[TextEdit]) -> str:
    """The text with all edits in it; raises ValueError where two overlap."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        if edit.start < at or not edit.start <= edit.end <= len(text):
            raise ValueError(f"{edit.path}: two edits overlap at character {edit.start}")
        parts += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*parts, text[at:]])


def unified_diff(path: str, text: str | None, edits: Sequence[TextEdit]) -> str:
    """The edits of one file as a diff that ``git apply`` and ``patch -p1`` take, each hunk below its reasons. ``text``: None for a new file.

    Each hunk has a header of its own, so that the lines of reasons stand where both tools skip what they don't know; its line numbers
    count in the text as the hunks above leave it.
    """
    lines: list[str] = []
    shift = 0
    names = ["--- /dev/null\n" if text is None else f"--- {_quoted(f'a/{path}')}\n", f"+++ {_quoted(f'b/{path}')}\n"]
    text = text or ""
    for first, last, group in _hunks(text, edits):
        before = _lines(text, first, last)
        after = _split(apply(text, group)[_start(text, first) :])[: len(before) + _growth(text, group)]
        # A line end in a reason, such as one that names a folder, would begin a line of the patch.
        reasons = (edit.why + (f" (unsafe: {edit.doubt})" if edit.doubt else "") for edit in group)
        lines += [f"# {' '.join(reason.split())}\n" for reason in reasons]
        lines += [*names, f"@@ -{_range(first + shift, len(before))} +{_range(first + shift, len(after))} @@\n"]
        lines += _body(before, after)
        shift += len(after) - len(before)
    return "".join(lines)


def _quoted(path: str) -> str:
    """A path as a patch has it: with C's escapes where a line can't hold it as it is (git, quote.c:quote_c_style; GNU patch 2.7 reads it too)."""
    if path.isprintable() and not set(path) & set('"\\'):
        return path
    escaped = (
        f"\\{c}" if c in '"\\' else c if c.isprintable() else "".join(f"\\{byte:03o}" for byte in c.encode("utf-8", "surrogateescape"))
        for c in path
    )
    return f'"{"".join(escaped)}"'


def _range(first: int, count: int) -> str:
    return f"{first if count else max(first - 1, 0)},{count}"


def _growth(text: str, edits: Sequence[TextEdit]) -> int:
    return len(_split(apply(text, edits))) - len(_split(text))


def _hunks(text: str, edits: Sequence[TextEdit]) -> list[tuple[int, int, list[TextEdit]]]:
    """First line (from 1), line behind the last, and edits of each hunk."""
    total = len(_split(text))
    hunks: list[tuple[int, int, list[TextEdit]]] = []
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        first = max(text.count("\n", 0, edit.start) + 1 - CONTEXT, 1)
        # Whole lines put in before a line leave that line as it is: it is context.
        put_in = edit.start == edit.end and edit.new.endswith("\n") and text[: edit.start].endswith("\n")
        last = min(text.count("\n", 0, edit.end) + 1 + CONTEXT - put_in, total) + 1
        if hunks and first <= hunks[-1][1]:
            hunks[-1] = (hunks[-1][0], max(last, hunks[-1][1]), [*hunks[-1][2], edit])
        else:
            hunks.append((min(first, max(total, 1)), last, [edit]))
    return hunks


def _split(text: str) -> list[str]:
    """The lines with their ends, as diff and patch count them: a line ends with LF."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _start(text: str, line: int) -> int:
    return sum(len(part) for part in _split(text)[: line - 1])


def _lines(text: str, first: int, last: int) -> list[str]:
    return _split(text)[first - 1 : last - 1]


def _body(before: list[str], after: list[str]) -> list[str]:
    import difflib  # noqa: PLC0415  (only a diff needs it)

    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    marked: list[str] = []
    for tag, i, j, m, n in matcher.get_opcodes():
        if tag == "equal":
            marked += [f" {line}" for line in before[i:j]]
        else:
            marked += [f"-{line}" for line in before[i:j]] + [f"+{line}" for line in after[m:n]]
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in marked]
