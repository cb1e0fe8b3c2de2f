"""The edits of a project's build files that cure a finding, where the project lies here and ``fix`` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tls_wheel_guard.records import dataclass
from tls_wheel_guard.report.story import Story
from tls_wheel_guard.report.style import Anchor, Style

if TYPE_CHECKING:
    from tls_wheel_guard.fix.edit import TextEdit
    from tls_wheel_guard.fix.result import Fix

__all__ = ["Proposed", "diff_for", "edits_for", "place_of"]


@dataclass(frozen=True, slots=True)
class Proposed:
    """``fix``: the edits of the project whose wheels are judged.

    ``prefix``: the folder that their paths are relative to, from the repository's root, "" or with a slash at the end.
    ``command``: the command line that shows them.
    """

    fix: Fix
    prefix: str = ""
    command: str = ""


def edits_for(story: Story, proposed: Proposed | None) -> list[TextEdit]:
    """The edits for a story's culprits, those that are safe first; where none is known, all that the wheel asks for."""
    if proposed is None:
        return []
    wanted = {cause.id for cause in story.causes}
    return sorted(
        (edit for edit in proposed.fix.edits if not wanted or edit.culprit in wanted), key=lambda edit: (not edit.safe, edit.path, edit.start)
    )


def diff_for(story: Story, proposed: Proposed | None) -> str:
    """Those edits as one unified diff, each hunk below its reason; empty where there are none."""
    edits = edits_for(story, proposed)
    if proposed is None:
        return ""
    paths = dict.fromkeys(edit.path for edit in edits)
    from tls_wheel_guard.fix.edit import unified_diff  # noqa: PLC0415  (only where there is a project with edits)

    texts = proposed.fix.texts
    return "".join(unified_diff(path, texts.get(path), [edit for edit in proposed.fix.of(path) if edit in edits]) for path in paths)


def place_of(story: Story, style: Style) -> Anchor | None:
    """The line of the repository that ``fix`` would change, else that of the project's settings; None where neither is known."""
    edits = edits_for(story, style.proposed)
    if not edits or style.proposed is None:
        return style.anchor
    from urllib.parse import quote  # noqa: PLC0415  (a text report without edits needs none of it)

    path = style.proposed.prefix + edits[0].path
    return Anchor(path, quote(path), style.proposed.fix.place(edits[0])[0])
