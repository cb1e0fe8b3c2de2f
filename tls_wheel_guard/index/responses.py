"""What an HTTP response says beside its body, and what went wrong, in words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from urllib3.util.retry import Retry

from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.listing import safe_url

if TYPE_CHECKING:
    import requests

__all__ = ["PIECE", "from_keyring", "is_encoded", "raw", "require_ok", "retry_after", "version_of", "words"]

PIECE = 1 << 18
"""Bytes that are read from a connection at a time."""


def raw(response: requests.Response, most: int | None = None) -> Iterator[bytes]:
    """A body's bytes as they are sent, at most ``most``: nothing is inflated."""
    left = most
    while piece := response.raw.read(PIECE if left is None else min(PIECE, left), decode_content=False):
        yield piece
        if left is not None:
            left -= len(piece)
            if left <= 0:
                return


def require_ok(response: requests.Response, url: str) -> None:
    """Raise UnreadableIndex where the answer is not the whole file."""
    code = response.status_code
    if code in (401, 403, 407):
        hint = "give user and password by ~/.netrc, keyring, or in the address"
        raise UnreadableIndex(f"{safe_url(url)}: the server answers {code} {response.reason}".rstrip(), hint=hint)
    if code != 200:
        raise UnreadableIndex(f"{safe_url(url)}: the server answers {code} {response.reason}".rstrip(), hint="check the address")


def is_encoded(response: requests.Response) -> bool:
    """Whether its body is not the file's own bytes."""
    return response.headers.get("Content-Encoding", "identity").lower() != "identity"


def version_of(response: requests.Response) -> str | None:
    """What tells versions of a file apart: an ETag, else a time; None without."""
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def retry_after(response: requests.Response) -> float | None:
    """Seconds that a server asks for: a number, or a time (RFC 9110 10.2.3)."""
    text = response.headers.get("Retry-After")
    if not text or len(text) > 60:
        return None
    with contextlib.suppress(Exception):  # whatever a server may write
        return max(Retry().parse_retry_after(text), 0.0)
    return None


def words(error: BaseException) -> str:
    """What went wrong, in one line without the address, which may hold a password."""
    inner: BaseException = error
    while (below := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)) and isinstance(below, BaseException):
        inner = below
    words = " ".join(str(inner).split()) or type(inner).__name__
    return re.sub(r"https?://\S*@", "https://", re.sub(r"^<[^>]*>: |^HTTPS?Connection[^:]*: ", "", words))[:300]


def from_keyring(url: str) -> tuple[str, str] | None:
    """User and password by keyring, where it is installed, as pip asks for them."""
    try:
        import keyring  # noqa: PLC0415  (optional, and slow to load)

        split = urlsplit(url)
        found = keyring.get_credential(split.hostname or "", split.username)
    except Exception:
        return None
    return (found.username, found.password) if found is not None and found.username and found.password else None
