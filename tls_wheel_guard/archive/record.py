"""RECORD: the list of a wheel's files with their hashes (PEP 376, binary distribution format)."""

from __future__ import annotations

import base64
import csv
import io

from tls_wheel_guard.errors import Refused

__all__ = ["digest_field", "rewrite_record"]


def digest_field(digest: bytes) -> str:
    """``sha256=...`` in base64 without padding, as RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def rewrite_record(record: bytes, changed: dict[str, tuple[str, int]]) -> bytes:
    """RECORD with new hashes and sizes for the changed members; every other line stays as it is, byte for byte. Raises Refused."""
    lines = []
    try:
        for line in record.decode("utf-8").splitlines(keepends=True):
            row = next(csv.reader([line]), [])
            if row and row[0] in changed:
                digest, size = changed[row[0]]
                out = io.StringIO()
                ending = line[len(line.rstrip("\r\n")) :]
                csv.writer(out, lineterminator=ending).writerow([row[0], digest, size])
                line = out.getvalue()  # noqa: PLW2901
            lines.append(line)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"the wheel's RECORD can't be read: {error}", hint="build it again") from error
    return "".join(lines).encode("utf-8")
