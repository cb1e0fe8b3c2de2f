"""Where a service shows findings: a line of the repository that the author would edit."""

from __future__ import annotations

import re
from pathlib import Path

from tls_wheel_guard.report import Anchor

__all__ = ["anchor_of", "repository_of"]

_TABLE = re.compile(r"^\s*\[\[?\s*tool\s*\.\s*[\"']?tls-wheel-guard\b")


def anchor_of(folder: Path) -> Anchor | None:
    """Our table in the nearest pyproject.toml at or above ``folder`` in its repository, else that file's first line; None without one."""
    folder = folder.resolve()
    root = repository_of(folder)
    for above in (folder, *folder.parents):
        file = above / "pyproject.toml"
        if file.is_file():
            from urllib.parse import quote

            path = file.relative_to(root).as_posix()
            return Anchor(path, quote(path.encode("utf-8", "surrogateescape")), _line_of_table(file))
        if above == root:
            return None
    return None


def repository_of(folder: Path) -> Path:
    """The root of the git repository that a folder is in; the folder itself outside of any."""
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), folder)


def _line_of_table(file: Path) -> int:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 1
    return next((number for number, line in enumerate(lines, 1) if _TABLE.match(line)), 1)
