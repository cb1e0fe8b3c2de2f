"""HTTP as an index wants it: few connections, kept open; what fails in passing is tried again, politely, and never without end.

Redirects, proxies, certificates and netrc are those of ``requests``, which pip uses too. A password is never part of a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.listing import safe_url
from tls_wheel_guard.index.simple_api import ACCEPT
from tls_wheel_guard.version import __version__

__all__ = ["Connection", "FileChanged", "NoRanges", "Page", "Part"]

TRIES = 4
"""How often one request is sent in all."""
LONGEST_WAIT = 60.0
"""Seconds that a server's Retry-After may ask for; a longer one is an error."""
TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and between two packets."""
MAX_PAGE = 256 << 20
"""Bytes of one page; the root page of the largest public index has some 30 MB."""
PIECE = 1 << 18
NOT_NOW = frozenset({408, 425, 429, 500, 502, 503, 504})
NO_RANGE_STATUS = frozenset({200, 400, 405, 416, 501})
"""Answers to a range request that say: this server can't. 403 and 404 may be about the file."""

Answer = TypeVar("Answer")


class NoRanges(Exception):  # noqa: N818  (an answer, not a mistake)
    """The server gives no ranges of this file: it is read whole."""


class FileChanged(Exception):  # noqa: N818
    """Two ranges are of different files: what was read before is void."""


class _Passing(Exception):  # noqa: N818
    """It may work the next time. ``wait``: seconds that the server asks for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Page:
    """A page's text, its content type, and the address that it came from in the end."""

    text: str
    content_type: str
    url: str


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file from ``first`` on, the file's whole size, and what tells its versions apart (an ETag or a time), None without."""

    data: bytes
    first: int
    total: int
    version: str | None


class Connection:
    """Requests to some hosts, from any number of threads. ``sleep`` is for tests."""

    def __init__(self, connections: int = 8, sleep: Callable[[float], None] = time.sleep) -> None:
        self._session = requests.Session()
        self._session.max_redirects = 10
        self._session.headers.update({"User-Agent": f"tls-wheel-guard/{__version__}", "Accept-Encoding": "identity"})
        adapter = HTTPAdapter(pool_connections=16, pool_maxsize=connections, max_retries=0, pool_block=True)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._sleep = sleep
        self._without_ranges: set[str] = set()
        self._credentials: dict[str, tuple[str, str] | None] = {}
        self._lock = threading.Lock()
        self._counts = {"requests": 0, "bytes": 0}

    @property
    def request_count(self) -> int:
        """Requests sent so far."""
        return self._counts["requests"]

    @property
    def bytes_read(self) -> int:
        """Bytes of bodies that were read so far."""
        return self._counts["bytes"]

    def page(self, url: str) -> Page:
        """A page; raises UnreadableIndex."""
        return self._again(url, lambda: self._page(url))

    def whole(self, url: str, out: IO[bytes], most: int) -> str:
        """Write a file's bytes to ``out``, at most ``most``; its sha256. Raises UnreadableIndex."""
        return self._again(url, lambda: self._whole(url, out, most))

    def part(self, url: str, first: int | None, length: int) -> Part:
        """``length`` bytes from ``first`` on, or the last ones with None; fewer where the file ends.

        Raises NoRanges where the server gives none, and UnreadableIndex.
        """
        host = urlsplit(url).netloc
        if host in self._without_ranges:
            raise NoRanges
        try:
            return self._again(url, lambda: self._part(url, first, length))
        except NoRanges as error:
            if error.args:
                self._without_ranges.add(host)
            raise

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _again(self, url: str, ask: Callable[[], Answer]) -> Answer:
        for tried in range(1, TRIES + 1):
            try:
                return ask()
            except _Passing as error:
                wait = error.wait if error.wait is not None else min(0.5 * 2**tried, 20.0)
                if tried == TRIES or wait > LONGEST_WAIT:
                    much = f"; it asks for a pause of {wait:.0f} seconds" if wait > LONGEST_WAIT else f" ({tried} tries)"
                    raise UnreadableIndex(f"{safe_url(url)}: {error}{much}", hint="try again later; what was read is kept in --store") from error
                self._sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311  (jitter)
        raise AssertionError("the loop ends by itself")

    @contextmanager
    def _asked(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """A response whose body is not read yet; failures of the network are passing ones."""
        try:
            response = self._sent(url, headers)
            with response:
                if response.status_code in NOT_NOW:
                    raise _Passing(f"the server answers {response.status_code} {response.reason}".rstrip(), _retry_after(response))
                yield response
        except requests.TooManyRedirects as error:
            raise UnreadableIndex(f"{safe_url(url)}: it redirects in a circle", hint="check the address in a browser") from error
        except requests.exceptions.SSLError as error:
            raise UnreadableIndex(f"{safe_url(url)}: {_words(error)}", hint="REQUESTS_CA_BUNDLE names more certificates") from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
            raise UnreadableIndex(f"{safe_url(url)}: it is no address", hint="write it as https://HOST/simple/") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _Passing(_words(error)) from error

    def _sent(self, url: str, headers: dict[str, str]) -> requests.Response:
        host = urlsplit(url).netloc
        with self._lock:
            self._counts["requests"] += 1
        response = self._session.get(url, headers=headers, stream=True, timeout=TIMEOUT, auth=self._credentials.get(host))
        if response.status_code == 401 and host not in self._credentials:
            self._credentials[host] = _from_keyring(url)
            if self._credentials[host] is not None:
                response.close()
                return self._sent(url, headers)
        return response

    def _page(self, url: str) -> Page:
        with self._asked(url, {"Accept": ACCEPT, "Accept-Encoding": "gzip, identity"}) as response:
            _require_ok(response, url)
            data = bytearray()
            for piece in response.iter_content(PIECE):
                data += piece
                if len(data) > MAX_PAGE:
                    raise UnreadableIndex(f"{safe_url(url)}: it has more than {MAX_PAGE} bytes", hint="give the address of a simple index")
            self._count(len(data))
            return Page(data.decode("utf-8", "replace"), response.headers.get("Content-Type", ""), response.url)

    def _whole(self, url: str, out: IO[bytes], most: int) -> str:
        out.seek(0)
        out.truncate()
        digest, size = hashlib.sha256(), 0
        with self._asked(url, {}) as response:
            _require_ok(response, url)
            for piece in _raw(response):
                size += len(piece)
                if size > most:
                    raise UnreadableIndex(f"{safe_url(url)}: it has more than {most} bytes", hint="--limit wheel-size=N moves the limit")
                digest.update(piece)
                out.write(piece)
                self._count(len(piece))
            said = response.headers.get("Content-Length", "")
        if said.isascii() and said.isdigit() and int(said[:20]) != size:
            raise _Passing(f"its body ends after {size} of {said} bytes")
        out.flush()
        return digest.hexdigest()

    def _part(self, url: str, first: int | None, length: int) -> Part:
        wanted = f"bytes={first}-{first + length - 1}" if first is not None else f"bytes=-{length}"
        with self._asked(url, {"Range": wanted}) as response:
            if response.status_code in NO_RANGE_STATUS:
                raise NoRanges(response.status_code)
            if response.status_code in (403, 404):
                raise NoRanges
            if response.status_code != 206 or response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise NoRanges(response.status_code)
            start, end, total = _content_range(response.headers.get("Content-Range", ""))
            expected = max(total - length, 0) if first is None else first
            if start != expected or end != min(expected + length, total) - 1:
                raise NoRanges(206)
            data = b"".join(_raw(response, end - start + 2))
            if len(data) != end - start + 1:
                raise _Passing(f"a range of {end - start + 1} bytes came with {len(data)}")
            self._count(len(data))
            return Part(data, start, total, response.headers.get("ETag") or response.headers.get("Last-Modified"))

    def _count(self, size: int) -> None:
        with self._lock:
            self._counts["bytes"] += size


def _raw(response: requests.Response, most: int | None = None) -> Iterator[bytes]:
    """A body's bytes as they are sent, at most ``most``: nothing is inflated."""
    left = most
    while piece := response.raw.read(PIECE if left is None else min(PIECE, left), decode_content=False):
        yield piece
        if left is not None:
            left -= len(piece)
            if left <= 0:
                return


def _require_ok(response: requests.Response, url: str) -> None:
    code = response.status_code
    if code in (401, 403, 407):
        hint = "give user and password by ~/.netrc, keyring, or in the address"
        raise UnreadableIndex(f"{safe_url(url)}: the server answers {code} {response.reason}".rstrip(), hint=hint)
    if code != 200:
        raise UnreadableIndex(f"{safe_url(url)}: the server answers {code} {response.reason}".rstrip(), hint="check the address")


def _content_range(text: str) -> tuple[int, int, int]:
    """First and last byte, and the whole size (RFC 9110 14.4); raises NoRanges where it says less."""
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", text.strip(), re.ASCII)
    if match is None:
        raise NoRanges(206)
    first, last, total = (int(number) for number in match.groups())
    if not first <= last < total:
        raise NoRanges(206)
    return first, last, total


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that a server asks for: a number, or a time (RFC 9110 10.2.3)."""
    text = response.headers.get("Retry-After")
    if not text or len(text) > 60:
        return None
    with contextlib.suppress(Exception):  # whatever a server may write
        return max(Retry().parse_retry_after(text), 0.0)
    return None


def _words(error: BaseException) -> str:
    """What went wrong, in one line without the address, which may hold a password."""
    inner: BaseException = error
    while (below := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)) and isinstance(below, BaseException):
        inner = below
    words = " ".join(str(inner).split()) or type(inner).__name__
    return re.sub(r"https?://\S*@", "https://", re.sub(r"^<[^>]*>: |^HTTPS?Connection[^:]*: ", "", words))[:300]


def _from_keyring(url: str) -> tuple[str, str] | None:
    """User and password by keyring, where it is installed, as pip asks for them."""
    try:
        import keyring  # noqa: PLC0415  (optional, and slow to load)

        split = urlsplit(url)
        found = keyring.get_credential(split.hostname or "", split.username)
    except Exception:
        return None
    return (found.username, found.password) if found is not None and found.username and found.password else None
