"""What the house promises of its own files: helpers of tests lie in tests/support/."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.projects import ROOT


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports modules by."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_helpers_are_imported_from_support_only() -> None:
    files = [path for folder in ("tests", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path)
        if name.startswith(".") or (name.startswith("tests.") and not name.startswith("tests.support"))
    }
    assert not wrong
