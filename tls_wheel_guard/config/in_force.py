"""The settings in force, and who says each: what `--show-settings` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tls_wheel_guard.config.model import KEYS, TABLE, Allow
from tls_wheel_guard.config.sources import merge

__all__ = ["in_force"]

COLUMN = 40
"""Where the remarks begin, if the values are short."""


def in_force(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """The settings as a table of TOML that can be pasted; behind each who says it. ``layers``: who, and what; the last wins."""
    said = tuple(layers)
    return "".join(f"{line}\n" for line in (f"[{TABLE}]", *_lines(said)))


def _lines(layers: tuple[tuple[str, Mapping[str, Any]], ...]) -> Iterator[str]:
    config = merge(*(settings for _, settings in layers))
    for key, name in KEYS.items():
        value = getattr(config, name)
        who = [where for where, settings in layers if settings.get(name, ()) != ()]
        # Lists of some settings add up, so several may have a word in them; a single value is the last one's.
        by = ", ".join(who if isinstance(value, tuple) else who[-1:]) or "default"
        if name != "allow":
            yield f"{'# ' if value is None else ''}{key} = {_toml(value)}".ljust(COLUMN) + f"  # {by}"
    for where, settings in layers:
        for allow in settings.get("allow", ()):
            yield from _allow(allow, where)


def _toml(value: object) -> str:
    """A value of a setting as TOML spells it; JSON's strings, numbers and booleans are TOML's."""
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return "..." if value is None else json.dumps(value)


def _allow(allow: Allow, where: str) -> Iterator[str]:
    """An array's entry, below all single values, as TOML wants it."""
    yield f"[[{TABLE}.allow]]".ljust(COLUMN) + f"  # {where}"
    yield from (f"{name} = {json.dumps(getattr(allow, name))}" for name in ("module", "rule", "reason"))
