"""A wheel's result on its way into the store: made where the wheel is judged, packed there, written by the one process that writes."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tls_wheel_guard.findings import SEVERITIES
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.records import dataclass

__all__ = ["PackedRow", "Row", "key_of", "packed", "packed_row", "storable", "unpacked"]

MAX_FACTS = 256 << 20
"""Bytes that the facts of one wheel may become."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one wheel: what was read, the facts as JSON values, and the entry of the report by one judgement."""

    key: str
    wheel: ListedWheel
    read: str
    bytes_read: int
    facts: Any
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A row as it is stored. ``facts`` None: they are in the store already. ``clear``: whether all its modules are clear by their beginnings.

    ``findings``: rule, severity, module, system and culprit of each, None where there is none.
    """

    key: str
    wheel: ListedWheel
    read: str
    bytes_read: int
    facts: bytes | None
    entry: bytes
    worst: str | None
    clear: bool
    findings: tuple[tuple[str, str, str | None, str, str | None], ...]


def key_of(wheel: ListedWheel, version: str | None = None) -> str:
    """What a wheel is known by: its sha256, else its place, size, and time of writing or what the server calls its version."""
    return wheel.sha256 or f"{wheel.place}|{wheel.size}|{version or wheel.stamp or ''}"


def packed_row(row: Row, known: bool = False) -> PackedRow:
    """A row as it is stored. ``known``: its facts came from the store."""
    found = row.entry["findings"]
    worst = max((finding["severity"] for finding in found), key=SEVERITIES.index, default=None)
    clear = row.entry["read"] == "ranges" and all(module.get("screening") == "clear" for module in row.entry.get("modules", ()))
    facts = None if known else packed(row.facts)
    return PackedRow(row.key, row.wheel, row.read, row.bytes_read, facts, packed(row.entry), worst, clear, tuple(_findings(row.entry)))


def _findings(entry: dict[str, Any]) -> list[tuple[str, str, str | None, str, str | None]]:
    systems = {target["tag"]: target["libc"] for target in entry["targets"]}
    rows = []
    for finding in entry["findings"]:
        culprits = [culprit["id"] for culprit in finding["culprits"] if culprit["confidence"] != "possible"] or [None]
        for system in sorted({systems.get(tag, "") for tag in finding["targets"]}) or [""]:
            module = None if finding["module"] is None else storable(finding["module"])
            rows += [(finding["rule"], finding["severity"], module, system, culprit) for culprit in culprits]
    return rows


def storable(text: str) -> str:
    """A text as SQLite takes it: halves of surrogate pairs, which names of members and pages may hold, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def packed(value: Any) -> bytes:
    """A value of JSON as the store has it."""
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 6)


def unpacked(data: bytes) -> Any:
    """The value, None where the data are damaged."""
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(data, MAX_FACTS)
        return json.loads(text) if inflater.eof else None
    except (zlib.error, ValueError, RecursionError, TypeError):
        return None
