"""RECORD: the list of a wheel's files with their hashes (PEP 376, binary distribution format)."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping

from tls_wheel_guard.errors import Refused

__all__ = ["digest_field", "update_record"]


def digest_field(digest: bytes) -> str:
    """``sha256=...`` in base64 without padding, as RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def update_record(record: bytes, changed: Mapping[str, tuple[str, int]], added: Mapping[str, tuple[str, int]] | None = None) -> bytes:
    """RECORD with new hashes and sizes for the changed members; every other line stays as it is, byte for byte.

    ``changed``: path -> (hash field, bytes). ``added``: new members, whose lines stand before RECORD's own.
    Raises Refused where a changed member has no line, or RECORD can't be read.
    """
    # A quoted path may hold line ends, so one row may be several lines. Only \n, \r\n and \r end a line; str.splitlines splits at more.
    try:
        lines = list(io.StringIO(record.decode("utf-8"), newline=""))
        reader = csv.reader(lines)
        parts: list[str] = []
        start, missing, own = 0, set(changed), -1
        for row in reader:
            text = "".join(lines[start : reader.line_num])
            start = reader.line_num
            if row and row[0] in changed:
                missing.discard(row[0])
                text = _line(row[0], *changed[row[0]], text[len(text.rstrip("\r\n")) :])
            if row and row[0].endswith(".dist-info/RECORD"):
                own = len(parts)
            parts.append(text)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"the wheel's RECORD can't be read: {error}", hint="build it again") from error
    if missing:
        raise Refused(f"the wheel's RECORD has no line for {min(missing)}, which changes", hint="build it again: RECORD lists every file")
    ending = "\r\n" if parts and parts[0].endswith("\r\n") else "\n"
    if added and own < 0 and parts and not parts[-1].endswith(("\n", "\r")):
        parts[-1] += ending
    place = len(parts) if own < 0 else own
    parts[place:place] = [_line(path, *fields, ending) for path, fields in (added or {}).items()]
    return "".join(parts).encode("utf-8")


def _line(path: str, digest: str, size: int, ending: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=ending).writerow([path, digest, size])
    return out.getvalue()
