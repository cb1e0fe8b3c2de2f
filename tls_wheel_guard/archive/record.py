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


def update_record(record: bytes, changed: Mapping[str, tuple[str, int]]) -> bytes:
    """RECORD with new hashes and sizes for the changed members; every other line stays as it is, byte for byte.

    ``changed``: path -> (hash field, bytes). Raises Refused where a changed member has no line, or RECORD can't be read.
    """
    # One row may be several lines, a quoted path may hold their ends. Only \n, \r\n and \r end a line: str.splitlines knows more.
    try:
        lines = list(io.StringIO(record.decode("utf-8"), newline=""))
        reader = csv.reader(lines)
        parts, start, missing = [], 0, set(changed)
        for row in reader:
            text = "".join(lines[start : reader.line_num])
            start = reader.line_num
            if row and row[0] in changed:
                missing.discard(row[0])
                text = _line(row[0], *changed[row[0]], text[len(text.rstrip("\r\n")) :])
            parts.append(text)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"the wheel's RECORD can't be read: {error}", hint="build it again") from error
    if missing:
        raise Refused(f"the wheel's RECORD has no line for {min(missing)}, which changes", hint="build it again: RECORD lists every file")
    return "".join(parts).encode("utf-8")


def _line(path: str, digest: str, size: int, ending: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=ending).writerow([path, digest, size])
    return out.getvalue()
