"""HTTP without a network: what requests asks for is answered in this process, rightly or by a script."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

if TYPE_CHECKING:
    import requests

__all__ = ["Site", "answered_by"]

MOST_REQUESTS = 200
"""Requests of one input: a client that sends more will not end."""


@dataclass
class Site:
    """``files``: path -> type and bytes; ``other``: for paths that are not there. ``script``: answers to the first requests for a wheel.

    An answer is some lines: a status and what its body is, then headers, in which {first}, {last} and {total} stand for what is right.
    """

    files: dict[str, tuple[str, bytes]]
    other: Callable[[str], bytes | None] = lambda _: None
    script: Iterator[str] = field(default_factory=lambda: iter(()))
    requests: int = 0

    def answer(self, url: str, headers: Mapping[str, str | bytes]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        self.requests += 1
        if self.requests > MOST_REQUESTS:
            raise AssertionError(f"more than {MOST_REQUESTS} requests")
        path = unquote(urlsplit(url).path)
        found = self.files.get(path)
        if found is None and (data := self.other(path)) is not None:
            found = ("application/octet-stream", data)
        if found is None:
            return 404, {}, b"not here"
        kind, data = found
        asked = re.fullmatch(r"bytes=([\d, -]+)", str(headers.get("Range") or ""))
        status, said, body = 200, {"Content-Type": kind, "ETag": '"1"', "Accept-Ranges": "bytes"}, data
        first, last = 0, len(data) - 1
        if asked and data:
            spans = [_span(text.strip(), len(data)) for text in asked[1].split(",")]
            if any(span is None for span in spans):
                return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
            parts = [(span, data[span[0] : span[1] + 1]) for span in spans if span is not None]
            status, (first, last) = 206, parts[0][0]
            if len(parts) == 1:
                body, said["Content-Range"] = parts[0][1], f"bytes {first}-{last}/{len(data)}"
            else:
                said["Content-Type"] = "multipart/byteranges; boundary=XyZ"
                pieces = [b"\r\n--XyZ\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%b" % (a, z, len(data), part) for (a, z), part in parts]
                body = b"".join(pieces) + b"\r\n--XyZ--\r\n"
        line = next(self.script, None) if path.endswith(".whl") else None
        if line is not None:
            status, said, body = _played(line, status, said, body, {"first": first, "last": last, "total": len(data)})
        return status, {"Content-Length": str(len(body)), **said}, body


def _span(text: str, size: int) -> tuple[int, int] | None:
    first, _, last = text.partition("-")
    if not first:
        return max(size - int(last or 0), 0), size - 1
    start, end = int(first), min(int(last) if last else size - 1, size - 1)
    return (start, end) if start <= end else None


def _played(text: str, status: int, said: dict[str, str], body: bytes, right: Mapping[str, int]) -> tuple[int, dict[str, str], bytes]:
    """One answer of a script."""
    lines = text.split("\n")
    code, _, kind = lines[0].partition(" ")
    status = int(code) if re.fullmatch(r"[1-5]\d\d", code, re.ASCII) else status
    changes = {"short": body[: len(body) // 2], "long": body + b"more", "none": b"", "shifted": body[3:] + body[:3], "zeros": bytes(len(body))}
    body = changes.get(kind, body)
    headers = dict(said)
    for line in lines[1:]:
        name, mark, value = line.partition(":")
        if mark and re.fullmatch(r"[A-Za-z-]{1,40}", name):
            headers[name.title()] = re.sub(r"\{(first|last|total)\}", lambda found: str(right[found[1]]), value.strip())[:300]
    return status, {**headers, "Content-Length": headers.get("Content-Length", str(len(body)))}, body


_site: list[Site] = []


def answered_by(site: Site) -> None:
    """From now on all requests of this process go to a site, and none to a network."""
    _site[:] = [site]
    HTTPAdapter.send = _send  # type: ignore[method-assign]


def _send(self: HTTPAdapter, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
    status, headers, body = _site[0].answer(request.url or "", request.headers)
    raw = HTTPResponse(io.BytesIO(body), headers, status, reason="As played", preload_content=False, decode_content=False, request_method="GET")
    return self.build_response(request, raw)
