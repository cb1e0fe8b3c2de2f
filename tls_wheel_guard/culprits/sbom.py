"""Bills of materials: CycloneDX documents in a wheel, and cargo-auditable's section in a shared object."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

from tls_wheel_guard.culprits.clues import Component

__all__ = ["MAX_AUDITABLE", "auditable_components", "components_in"]

MAX_AUDITABLE = 8 << 20
"""Bytes of cargo-auditable's section that are read."""


def auditable_components(data: bytes) -> tuple[Component, ...]:
    """The crates in cargo-auditable's section: JSON, deflated."""
    if not data:
        return ()
    try:
        text = zlib.decompressobj().decompress(data, MAX_AUDITABLE)
        return _components(json.loads(text).get("packages", []))
    except (zlib.error, ValueError, AttributeError, RecursionError):
        return ()


def components_in(text: bytes) -> tuple[Component, ...]:
    """The components of a CycloneDX document, nested ones too; none where it is no such document."""
    try:
        document = json.loads(text)
        return _components(_nested(document.get("components", [])))
    except (ValueError, AttributeError, RecursionError):
        return ()


def _nested(rows: Any) -> Iterator[Any]:
    for row in rows if isinstance(rows, list) else ():
        yield row
        if isinstance(row, dict):
            yield from _nested(row.get("components"))


def _components(rows: Any) -> tuple[Component, ...]:
    found: dict[Component, None] = {}
    for row in rows if isinstance(rows, Iterator | list) else ():
        if isinstance(row, dict) and isinstance(row.get("name"), str) and isinstance(row.get("version"), str):
            found[Component(row["name"], row["version"])] = None
    return tuple(found)
