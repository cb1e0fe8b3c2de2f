"""A culprit's page as Markdown: what `explain` prints and docs/culprits.md is made of."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tls_wheel_guard.culprits.advice import why_no_flag
from tls_wheel_guard.culprits.model import Culprit, Remedy

__all__ = ["page_of"]

WIDTH = 110


def page_of(culprit: Culprit) -> str:
    """The page without its heading."""
    lines = [f"**Why.** {' '.join(culprit.why.split())}", "", f"**Versions.** {culprit.versions}.", "", f"**Measured.** {culprit.measured}."]
    if (no_flag := why_no_flag(culprit)) is not None:
        lines += ["", f"**Flags.** {no_flag[:1].upper()}{no_flag[1:]}."]
    lines += ["", "**What helps.**", ""]
    for remedy in culprit.remedies:
        lines += _remedy(remedy)
    if not culprit.remedies:
        lines.append("- Nothing is known.")
    if culprit.avoid:
        lines += ["", "**What does not.**", "", *(f"- {text}" for text in culprit.avoid)]
    if culprit.references:
        lines += ["", f"**Sources.** {'; '.join(culprit.references)}."]
    wrapped = [piece for line in lines for piece in _wrapped(line)]
    return "\n".join(piece for number, piece in enumerate(wrapped) if piece or (number and wrapped[number - 1]))


def _wrapped(line: str) -> list[str]:
    """A line of at most ``WIDTH`` columns; what continues a list's entry is indented, and what is to be typed is left whole."""
    if line.startswith("    "):
        return ["", line, ""]
    indent = "  " if line.startswith(("- ", "  ")) else ""
    first = "  " if line.startswith("  ") else ""
    return textwrap.wrap(line.strip(), WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]


def _remedy(remedy: Remedy) -> Iterator[str]:
    where = f", {remedy.where}" if remedy.where else ""
    yield f"- For {', '.join(remedy.builds)} ({remedy.status}{where}):"
    # What is to be typed stays on one line.
    yield f"      {remedy.text}"
    for word, text in (("Since", remedy.since), ("When", remedy.when), ("Not", remedy.cannot)):
        if text:
            yield f"  {word}: {text}."
