"""Edits of one file together: proved again, since two that are right alone may spoil each other."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, Unparsable, apply, line_of
from tls_wheel_guard.fix.paths import suffix_of
from tls_wheel_guard.fix.toml_text import parse_toml, same

__all__ = ["holds", "settle"]

MOST_TOGETHER = 16
"""Edits of one TOML file that are proved together: each costs a look at the whole file. Real files need one or two."""
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


def settle(found: Proposal, files: Mapping[str, str], check: Callable[[str, str], None]) -> None:
    """Drop what was proposed twice; what does not hold beside the edits before it becomes advice.

    ``check``: parses a file, by its path and text; raises Unparsable.
    """
    edits = list(dict.fromkeys(found.edits))
    # At one place of a TOML file a key of the table above comes before a table of its own.
    edits.sort(key=lambda edit: bool(_is_toml(edit.path) and _TABLE.search(edit.new) and edit.start == edit.end))
    found.advice = list(dict.fromkeys(found.advice))
    kept: list[TextEdit] = []
    by_path: dict[str, list[TextEdit]] = {}
    for edit in edits:
        by_path.setdefault(edit.path, []).append(edit)
    # More of them wait for the next run.
    tried = [edit for path, own in by_path.items() for edit in (own[:MOST_TOGETHER] if _is_toml(path) else own)]
    first = set(tried)
    whole = {path for path in by_path if holds(files.get(path, ""), [edit for edit in tried if edit.path == path], check)}
    for edit in edits:
        if edit.path in whole and edit in first:
            kept.append(edit)
            continue
        text = files.get(edit.path, "")
        together = [*(other for other in kept if other.path == edit.path), edit]
        if len(together) <= MOST_TOGETHER and holds(text, together, check):
            kept.append(edit)
        else:
            why_not = "another edit stands in its way; run fix again once that one is written"
            found.advice.append(Advice(edit.path, line_of(text, edit.start), edit.new.strip(), why_not, edit.culprit))
    found.edits = kept


def _is_toml(path: str) -> bool:
    return suffix_of(path) in (".toml", ".lock")


def holds(text: str, edits: Sequence[TextEdit], check: Callable[[str, str], None]) -> bool:
    """Whether some edits of one file hold together: it parses, and in TOML they make the changes that each of them makes alone."""
    try:
        after = apply(text, edits)
        check(edits[0].path, after)
        return not _is_toml(edits[0].path) or len(edits) == 1 or _is_sum(text, edits, after)
    except (Unparsable, ValueError):
        return False


def _is_sum(text: str, edits: Sequence[TextEdit], after: str) -> bool:
    """Whether the edits together make the changes that each of them makes alone."""
    before = parse_toml(text)
    wanted = copy.deepcopy(before)
    for edit in edits:
        _add(wanted, before, parse_toml(apply(text, [edit])))
    return same(wanted, parse_toml(after))


def _add(wanted: dict[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for key, value in after.items():
        old = before.get(key)
        if key in before and same(old, value):
            continue
        if isinstance(value, dict) and isinstance(wanted.get(key, {}), dict):
            _add(wanted.setdefault(key, {}), old if isinstance(old, dict) else {}, value)
        elif isinstance(value, list) and isinstance(old, list) and len(value) == len(old):
            _add_items(wanted[key], old, value)
        else:
            wanted[key] = value


def _add_items(wanted: list[Any], before: Sequence[Any], after: Sequence[Any]) -> None:
    for place, value in enumerate(after):
        old = before[place]
        if isinstance(value, dict) and isinstance(old, dict):
            _add(wanted[place], old, value)
        elif not same(old, value):
            wanted[place] = value
