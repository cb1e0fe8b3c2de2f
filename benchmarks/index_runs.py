"""Runs of ``index`` over a local server, for the beds."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.index_server import index_of
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.index import IndexOptions, IndexRun, index_run
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.index.sources import Selection

__all__ = ["HOST_RULES", "run", "served", "told"]

HOST_RULES = frozenset({"grafted-initial-exec", "needed-initial-exec"})
"""Rules that look at libraries of this machine: an index is judged alike everywhere, so they do not run there."""


def told(entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What an entry says, without what depends on this machine."""
    return [(f["rule"], f["severity"], f["module"], f["message"]) for f in entry["findings"] if f["rule"] not in HOST_RULES]


def run(url: str, **more: Any) -> IndexRun:
    """All wheels of an index."""
    return index_run(IndexOptions(sources=(url,), choice=Selection(latest=0), **more), Config(), Asked())


@contextlib.contextmanager
def served(wheels: list[Path]) -> Iterator[tuple[str, Path]]:
    """An index of some wheels, and the folder of its server."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        with index_of(root, wheels) as url:
            yield url, root
