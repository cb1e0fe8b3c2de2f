"""Reads the culprits' data files: one place, so that everything else gets values."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from tls_wheel_guard.culprits.model import Culprit, culprit_from
from tls_wheel_guard.culprits.search import Vocabulary

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["known_culprits", "vocabulary"]


@functools.cache
def known_culprits() -> tuple[Culprit, ...]:
    """All culprits, in the order of their ids."""
    # Not by importlib.resources, whose import takes as long as half of the files.
    files = sorted(Path(__file__).with_name("data").glob("*.toml"))
    return tuple(culprit_from(f.stem, tomllib.loads(f.read_text(encoding="utf-8"))) for f in files)


@functools.cache
def vocabulary() -> Vocabulary:
    """Every text and every version that some culprit leaves in a file's data."""
    culprits = known_culprits()
    texts = frozenset(text for c in culprits for text in (*c.words.strings, *(word for word, _ in c.by_string)))
    return Vocabulary(texts, tuple((c.id, c.version_pattern, c.version_end) for c in culprits if c.version_pattern and c.version_end))
