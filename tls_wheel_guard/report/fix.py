"""What ``fix`` found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tls_wheel_guard.fix.edit import Advice, TextEdit
from tls_wheel_guard.fix.result import Fix, Proof, Seen
from tls_wheel_guard.report.json import to_text
from tls_wheel_guard.report.style import text_of

__all__ = ["fix_document", "write_fix", "write_fix_json"]


def write_fix(fix: Fix) -> str:
    """The diff with its reasons, then what was written, then the advice as comments: the whole can be given to ``git apply``."""
    lines = [f"# written: {path}" for path in sorted({edit.path for edit in fix.written})]
    lines += [line for advice in fix.advice for line in _advice(advice)]
    if fix.proof is not None:
        lines += _proof(fix.proof)
    if not fix.edits and not fix.advice:
        lines.append("# nothing to fix: no build file here brings initial-exec TLS in, as far as fix knows it")
    # What follows the diff must not be taken for a part of it.
    return (fix.diff.rstrip("\n") + "\n" if fix.edits else "") + text_of(lines)


def _advice(advice: Advice) -> Iterator[str]:
    place = f"{advice.path}:{advice.line}: " if advice.line else f"{advice.path}: " if advice.path else ""
    yield f"# by hand: {place}{' '.join(advice.text.split())}"
    if advice.why_not:
        yield f"#          not done here: {advice.why_not}"


def _proof(proof: Proof) -> list[str]:
    word = "holds" if proof.holds else "does not hold"
    if proof.before.wheels and not proof.before.relocations:
        word += ": this build has no initial-exec without the edits either; is what they are about behind an option? then give it with --build"
    return [f"# proof: before: {_seen(proof.before)}", f"# proof: after:  {_seen(proof.after)}", f"# proof: {word}"]


def _seen(seen: Seen) -> str:
    if not seen.wheels:
        return f"no wheel: {seen.error or 'the build made none'}"
    parts = [", ".join(seen.wheels), f"{seen.relocations} initial-exec relocations", f"{seen.findings} findings"]
    parts.append(f"imported {', '.join(seen.imported)}" if seen.imported and not seen.error else seen.error or "nothing to import")
    return "; ".join(parts)


def write_fix_json(fix: Fix) -> str:
    """The document as text."""
    return to_text(fix_document(fix))


def fix_document(fix: Fix) -> dict[str, Any]:
    """The document of ``fix --format json``."""
    found: dict[str, Any] = {
        "version": 1,
        "project": fix.project,
        "edits": [_edit(fix, edit) for edit in fix.edits],
        "advice": [
            {"path": item.path or None, "line": item.line or None, "text": item.text, "why_not": item.why_not, "culprit": item.culprit or None}
            for item in fix.advice
        ],
    }
    if fix.proof is not None:
        found["proof"] = {"before": _seen_entry(fix.proof.before), "after": _seen_entry(fix.proof.after), "holds": fix.proof.holds}
    return found


def _edit(fix: Fix, edit: TextEdit) -> dict[str, Any]:
    line, column = fix.place(edit)
    return {
        "path": edit.path,
        "line": line,
        "column": column,
        "old": fix.old(edit),
        "new": edit.new,
        "why": edit.why,
        "culprit": edit.culprit or None,
        "safe": edit.safe,
        "doubt": edit.doubt or None,
        "written": edit in fix.written,
    }


def _seen_entry(seen: Seen) -> dict[str, Any]:
    return {
        "wheels": list(seen.wheels),
        "initial_exec": seen.relocations,
        "findings": seen.findings,
        "imported": list(seen.imported),
        "error": seen.error or None,
    }
