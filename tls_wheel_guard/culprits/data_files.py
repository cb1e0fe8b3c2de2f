"""Reads what is known of the culprits: one place, so that everything else gets values."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tls_wheel_guard.culprits.model import Culprit, culprit_from
from tls_wheel_guard.culprits.search import Vocabulary

__all__ = ["descriptor_vocabulary", "known_culprits", "vocabulary"]


@functools.cache
def known_culprits() -> tuple[Culprit, ...]:
    """All culprits, in the order of their ids.

    From ``data.json``, which tools/make_docs.py makes from ``data/*.toml``: those take twenty times as long to read, a tenth of a check.
    """
    # Not by importlib.resources, whose import takes as long as half of the files.
    tables = json.loads(Path(__file__).with_name("data.json").read_text(encoding="utf-8"))
    return tuple(culprit_from(stem, table, patterns_are_good=True) for stem, table in tables.items())


@functools.cache
def vocabulary() -> Vocabulary:
    """Every text and every version that some culprit leaves in a file's data."""
    culprits = known_culprits()
    texts = frozenset(text for c in culprits for text in (*c.words.strings, *(word for word, _ in c.by_string)))
    return Vocabulary(texts, tuple((c.id, c.version_pattern, c.version_end) for c in culprits if c.version_pattern and c.version_end))


@functools.cache
def descriptor_vocabulary() -> Vocabulary:
    """The texts that say whose build chose TLS descriptors."""
    return Vocabulary(frozenset(text for c in known_culprits() for text in c.words.descriptors), ())
