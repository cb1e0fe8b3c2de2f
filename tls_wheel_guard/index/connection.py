"""HTTP as an index wants it: few connections, kept open; what fails in passing is tried again, politely, and never without end.

Redirects, proxies, certificates and netrc are those of ``requests``, which pip uses too. A password is never part of a message.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.listing import safe_url
from tls_wheel_guard.index.range_answers import BadAnswer, are_in, content_range, most_bytes, parts_of
from tls_wheel_guard.index.responses import PIECE, from_keyring, is_encoded, raw, require_ok, retry_after, version_of, words
from tls_wheel_guard.index.simple_api import ACCEPT
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.version import __version__

__all__ = ["Connection", "FileChanged", "NoRanges", "Page", "Part", "Told"]

TRIES = 4
"""How often one request is sent in all."""
LONGEST_WAIT = 60.0
"""Seconds that a server's Retry-After may ask for; a longer one is an error."""
TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and between two packets."""
MAX_PAGE = 256 << 20
"""Bytes of one page; the root page of the largest public index has some 30 MB."""
NOT_NOW = frozenset({408, 425, 429, 500, 502, 503, 504})

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
class Told:
    """What an answer says of a file: its whole size, and what tells its versions apart (an ETag or a time), None without.

    ``sent``: bytes of the answer's body.
    """

    total: int
    version: str | None
    sent: int


@dataclass(frozen=True, slots=True)
class Part(Told):
    """Bytes of a file from ``first`` on."""

    data: bytes
    first: int


Taker = Callable[[int, bytes], None]
"""Gets bytes of a file, and the file offset of the first. What is sent again comes again."""


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
        self._one_at_a_time: set[str] = set()
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
        pieces: dict[int, bytes] = {}
        told = self._ranges(url, lambda: self._range(url, first, length, pieces.__setitem__))
        start = min(pieces)
        data = bytearray(sum(map(len, pieces.values())))
        for at, piece in pieces.items():
            data[at - start : at - start + len(piece)] = piece
        return Part(told.total, told.version, told.sent, bytes(data), start)

    def stretch(self, url: str, first: int, length: int, take: Taker) -> Told:
        """As :meth:`part`, given to ``take`` as it comes."""
        return self._ranges(url, lambda: self._range(url, first, length, take))

    def takes_several(self, url: str) -> bool:
        """Whether the server may answer one request for several ranges; it is not known before the first."""
        return urlsplit(url).netloc not in self._one_at_a_time

    def stretches(self, url: str, spans: list[tuple[int, int]], take: Taker) -> Told | None:
        """Some stretches of a file, each from and to, in one answer; None where the server gives no such answer: then never again.

        Raises UnreadableIndex.
        """
        told = self._again(url, lambda: self._several(url, spans, take)) if self.takes_several(url) else None
        if told is None:
            self._one_at_a_time.add(urlsplit(url).netloc)
        return told

    def _ranges(self, url: str, ask: Callable[[], Answer]) -> Answer:
        host = urlsplit(url).netloc
        if host in self._without_ranges:
            raise NoRanges
        try:
            return self._again(url, ask)
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
                    raise _Passing(f"the server answers {response.status_code} {response.reason}".rstrip(), retry_after(response))
                yield response
        except requests.TooManyRedirects as error:
            raise UnreadableIndex(f"{safe_url(url)}: it redirects in a circle", hint="check the address in a browser") from error
        except requests.exceptions.SSLError as error:
            raise UnreadableIndex(f"{safe_url(url)}: {words(error)}", hint="REQUESTS_CA_BUNDLE names more certificates") from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
            raise UnreadableIndex(
                f"{safe_url(url)}: it is no address, or redirects to what is none", hint="write it as https://HOST/simple/"
            ) from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _Passing(words(error)) from error

    def _sent(self, url: str, headers: dict[str, str]) -> requests.Response:
        host = urlsplit(url).netloc
        with self._lock:
            self._counts["requests"] += 1
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=TIMEOUT, auth=self._credentials.get(host))
        except ValueError as error:
            # What urllib.parse says of a redirect's address comes as it is.
            raise error if isinstance(error, requests.RequestException) else requests.exceptions.InvalidURL(str(error)) from error
        if response.status_code == 401 and host not in self._credentials:
            self._credentials[host] = from_keyring(url)
            if self._credentials[host] is not None:
                response.close()
                return self._sent(url, headers)
        return response

    def _page(self, url: str) -> Page:
        with self._asked(url, {"Accept": ACCEPT, "Accept-Encoding": "gzip, identity"}) as response:
            require_ok(response, url)
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
            require_ok(response, url)
            for piece in raw(response):
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

    def _range(self, url: str, first: int | None, length: int, take: Taker) -> Told:
        wanted = f"bytes={first}-{first + length - 1}" if first is not None else f"bytes=-{length}"
        with self._asked(url, {"Range": wanted}) as response:
            if response.status_code in (403, 404):
                raise NoRanges
            if response.status_code != 206 or is_encoded(response):
                raise NoRanges(response.status_code)
            try:
                start, end, total = content_range(response.headers.get("Content-Range", ""))
            except BadAnswer as error:
                raise NoRanges(206) from error
            expected = max(total - length, 0) if first is None else first
            if start != expected or end != min(expected + length, total) - 1:
                raise NoRanges(206)
            at = start
            for piece in raw(response, end - start + 2):
                take(at, piece[: end + 1 - at])
                at += len(piece)
                self._count(len(piece))
            if at != end + 1:
                raise _Passing(f"a range of {end - start + 1} bytes came with {at - start}")
            return Told(total, version_of(response), at - start)

    def _several(self, url: str, spans: list[tuple[int, int]], take: Taker) -> Told | None:
        wanted = ",".join(f"{low}-{high - 1}" for low, high in spans)
        with self._asked(url, {"Range": f"bytes={wanted}"}) as response:
            if response.status_code != 206 or is_encoded(response):
                return None
            body = b"".join(raw(response, most_bytes(spans)))
            self._count(len(body))
            said = response.headers.get("Content-Length", "")
            if said.isascii() and said.isdigit() and int(said[:20]) > len(body):
                raise _Passing(f"its body ends after {len(body)} of {said[:20]} bytes")
            try:
                parts = list(parts_of(body, response.headers.get("Content-Type", "")))
            except BadAnswer:
                return None
            totals = {total for _, _, total in parts}
            if len(totals) != 1 or not are_in(spans, [(first, first + len(data)) for first, data, _ in parts]):
                return None
            for first, data, _ in parts:
                take(first, data)
            return Told(totals.pop(), version_of(response), len(body))

    def _count(self, size: int) -> None:
        with self._lock:
            self._counts["bytes"] += size
