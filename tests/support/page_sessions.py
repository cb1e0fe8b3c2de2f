"""What a page of docs/ shows at a prompt: files, commands, and their output.

A file stands in a fence whose first line names it in a comment. A command is an indented line behind ``$``, and goes on behind ``>``;
the indented lines below it are its output, in which ``...`` stands for any lines, or in a line for any text. Blanks count as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Shown", "files_of", "matches", "session_of"]

_FENCE = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:/\*|#) ([\w.]+)\b")


@dataclass(frozen=True)
class Shown:
    """One command and the lines that the page shows as its output."""

    command: str
    output: tuple[str, ...]


def files_of(page: str) -> dict[str, str]:
    """Name -> content of every file that a page shows."""
    found: dict[str, str] = {}
    for text in _FENCE.findall(page):
        name = _NAME.match(text)
        assert name, f"no file is named by the first line of {text[:60]!r}"
        assert name[1] not in found, name[1]
        found[name[1]] = text
    return found


def session_of(page: str) -> Iterator[Shown]:
    """The commands of a page from the top down."""
    command, output = "", list[str]()
    for line in [*_FENCE.sub("", page).splitlines(), ""]:
        inside = line.startswith("    ")
        if command and (not inside or line.startswith("    $ ")):
            yield Shown(command, tuple(output))
            command, output = "", []
        if line.startswith("    $ "):
            command = line[6:]
        elif command and line.startswith("    > ") and not output:
            command += "\n" + line[6:]
        elif command and inside:
            output.append(line[4:])


def matches(shown: Sequence[str], printed: str) -> bool:
    """Whether a program's output is what a page shows of it."""
    pattern = ""
    for line in shown:
        words = " ".join(line.split())
        pattern += r"(?:.*\n)*?" if words == "..." else ".*".join(re.escape(part) for part in words.split("...")) + r"\n"
    return re.fullmatch(pattern, "".join(" ".join(line.split()) + "\n" for line in printed.splitlines())) is not None
