"""A finding as one paragraph without layout: for annotations and services that show a message."""

from __future__ import annotations

from tls_wheel_guard.report.matrix import COLUMNS
from tls_wheel_guard.report.story import Story, conditions
from tls_wheel_guard.report.style import printable, shortened
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["MOST", "paragraph"]

MOST = 4_000
"""Characters of the paragraph."""


def paragraph(story: Story) -> str:
    """What happens to whom, in how many wheels, why, what to do: as in the text report."""
    wheels = len(story.wheels)
    said = [f"{story.headline}." if wheels == 1 else f"{story.headline} ({count_of(wheels, 'wheel')})."]
    said += [f"{COLUMNS.get(block.system, block.system)}: {block.caption}." for block in story.blocks]
    if story.why:
        said.append(story.why)
    for cause in story.causes:
        said.append(f"Cause: {cause.name} ({cause.confidence}): {cause.evidence[0]}.")
        said += [f"For good: {remedy.text}{conditions(remedy)}." for remedy in cause.remedies[:1]] or [f"{note}." for note in cause.notes[:1]]
    said += [f"For good: {text}." for text in story.cures[:1]]
    said += [f"Today: {text}." for text in story.today[:2]]
    return shortened(printable(" ".join(said)), MOST)
