"""What ``fix`` found, and what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tls_wheel_guard.fix.edit import Advice, TextEdit, apply, line_of, line_starts, unified_diff
from tls_wheel_guard.records import dataclass

__all__ = ["Fix", "Proof", "Seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One build: its wheels, what is left of initial-exec, findings at or above the threshold, and how the import ended.

    ``relocations``: initial-exec relocations of all shared objects; ``imported``: the modules that were imported; ``error``: the end of
    what the failed step said, "" where all went well.
    """

    wheels: tuple[str, ...] = ()
    relocations: int = 0
    findings: int = 0
    imported: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """The project built before and after the edits, in copies."""

    before: Seen
    after: Seen

    @property
    def holds(self) -> bool:
        """Whether the edits cured it: there was something to cure, and with them it builds, nothing is left, and it imports."""
        return bool(self.before.relocations) and not self.after.error and bool(self.after.wheels) and not self.after.relocations


@dataclass(frozen=True, slots=True)
class Fix:
    """The edits of a project. ``texts``: each edited file as it was, None where it is new. ``written``: the edits that are in the files."""

    project: str
    edits: tuple[TextEdit, ...]
    advice: tuple[Advice, ...]
    texts: Mapping[str, str | None]
    written: tuple[TextEdit, ...] = ()
    proof: Proof | None = None

    @property
    def paths(self) -> list[str]:
        """The files that have edits."""
        return list(dict.fromkeys(edit.path for edit in self.edits))

    def of(self, path: str) -> list[TextEdit]:
        """One file's edits in the order of the text."""
        return sorted((edit for edit in self.edits if edit.path == path), key=lambda edit: (edit.start, edit.end))

    @property
    def diff(self) -> str:
        """All edits as one unified diff, each hunk below its reasons."""
        return "".join(unified_diff(path, self.texts.get(path), self.of(path)) for path in self.paths)

    def place(self, edit: TextEdit) -> tuple[int, int]:
        """Line and column of an edit, from 1; the column counts characters."""
        text = self.texts.get(edit.path) or ""
        line = line_of(text, edit.start)
        return line, edit.start - line_starts(text)[line - 1] + 1

    def end(self, edit: TextEdit) -> tuple[int, int]:
        """Line and column behind the text that an edit replaces."""
        text = self.texts.get(edit.path) or ""
        line = line_of(text, edit.end)
        return line, edit.end - line_starts(text)[line - 1] + 1

    def old(self, edit: TextEdit) -> str:
        """The text that an edit replaces."""
        return (self.texts.get(edit.path) or "")[edit.start : edit.end]

    def new_text(self, path: str, chosen: Sequence[TextEdit]) -> str:
        """A file's text with some of its edits in it."""
        return apply(self.texts.get(path) or "", [edit for edit in chosen if edit.path == path])
