"""A culprit's page as Markdown: what `explain` prints and docs/culprits.md is made of."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.culprits.advice import why_no_flag
from tls_wheel_guard.culprits.culprit import Culprit, Remedy

__all__ = ["page_of"]


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
    return "\n".join(lines)


def _remedy(remedy: Remedy) -> Iterator[str]:
    where = f", {remedy.where}" if remedy.where else ""
    yield f"- For {', '.join(remedy.builds)} ({remedy.status}{where}): {remedy.text}"
    for word, text in (("Since", remedy.since), ("When", remedy.when), ("Not", remedy.cannot)):
        if text:
            yield f"  {word}: {text}."
