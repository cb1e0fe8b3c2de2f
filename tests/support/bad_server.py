"""A server of files that misbehaves at random: whatever servers, proxies and networks were seen to do, by a seed."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FAULTS", "BadServer", "serving"]

FAULTS = (
    "no ranges", "short body", "long body", "shifted range", "wrong total", "status 500", "status 503 with a wait", "status 429", "status 404",
    "status 400", "status 416", "cut connection", "reset", "gzip", "no content range", "unknown total", "redirect", "redirect in a circle",
    "changed file", "slow", "multipart", "nonsense", "part missing", "part shifted", "part cut", "boundary missing", "parts of another file",
    "parts together",
)  # fmt: skip


class BadServer(ThreadingHTTPServer):
    """``files``: path -> bytes. ``rate``: the share of requests that get a fault. ``faults``: how often each one was played."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], seed: int, rate: float, faults: tuple[str, ...] = FAULTS) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.rate, self.kinds = dict(files), rate, faults
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.only_ranges = False
        """Whether requests for a whole file are answered as they should be."""
        self.takes_several = True
        """Whether a request for several ranges is answered by a multipart body."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's name)
        """Nothing is logged."""

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests += 1
            sane = server.only_ranges and "Range" not in self.headers
            fault = server.random.choice(server.kinds) if not sane and server.random.random() < server.rate else None
            if fault:
                server.faults[fault] += 1
        path = self.path.partition("?")[0]
        data = server.files.get(path)
        if data is None:
            self._answer(404, b"not here")
            return
        content_type = "application/vnd.pypi.simple.v1+json" if path.endswith("/") else "application/octet-stream"
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if fault is not None and self._whole_request(fault, path):
            return
        several = re.fullmatch(r"bytes=(\d+-\d+(?:,\d+-\d+)+)", self.headers.get("Range", ""))
        if several is not None and server.takes_several:
            self._several(data, [tuple(map(int, text.split("-"))) for text in several[1].split(",")], fault)
            return
        if match is None:
            self._body(data, fault, {"Content-Type": content_type}, 200)
            return
        self._range(data, match, fault, content_type)

    def _range(self, data: bytes, match: re.Match[str], fault: str | None, content_type: str) -> None:
        total = len(data)
        first = int(match[1]) if match[1] else max(total - int(match[2]), 0)
        last = min(int(match[2]) if match[1] and match[2] else total - 1, total - 1)
        if fault == "changed file":
            data = bytes(reversed(data)) + b"x"
            total = len(data)
        if fault == "shifted range":
            first, last = max(first - 3, 0), max(last - 3, 0)
        body = data[first : last + 1]
        said = f"bytes {first}-{last}/{total + (fault == 'wrong total')}"
        headers = {"Content-Type": content_type, "Content-Range": said, "ETag": f'"{total}-{hash(data[:64]) & 0xFFFF}"'}
        if fault == "no content range":
            del headers["Content-Range"]
        elif fault == "unknown total":
            headers["Content-Range"] = f"bytes {first}-{last}/*"
        elif fault == "multipart":
            headers["Content-Type"] = "multipart/byteranges; boundary=x"
            del headers["Content-Range"]
        elif fault == "nonsense":
            headers["Content-Range"] = "bytes -1--5/٣"
        elif fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        self._body(body, fault, headers, 206)

    def _several(self, data: bytes, ranges: list[Any], fault: str | None) -> None:
        """Several ranges as a multipart body (RFC 9110 15.3.7.2)."""
        total = len(data)
        tag = f'"{total}-{hash(data[:64]) & 0xFFFF}"'
        if fault in ("changed file", "parts of another file"):
            data = bytes(reversed(data)) + (b"x" if fault == "changed file" else b"")
            total, tag = len(data), '"another"'
        if fault == "parts together":
            ranges = [(ranges[0][0], ranges[-1][1])]
        elif fault == "part missing":
            ranges = ranges[1:]
        body = b""
        for first, last in ranges:
            off = 3 if fault in ("part shifted", "shifted range") and first >= 3 else 0
            said = f"bytes {first - off}-{last - off}/{total + (fault == 'wrong total')}" if fault != "no content range" else "bytes */7"
            part = data[first : last + 1] if fault != "part cut" else data[first:last]
            body += f"\r\n--b0\r\nContent-Type: application/octet-stream\r\nContent-Range: {said}\r\n\r\n".encode() + part
        body += b"\r\n--b0--\r\n"
        kind = "multipart/byteranges" + ("; boundary=b0" if fault != "boundary missing" else "")
        self._body(body, fault, {"Content-Type": kind, "ETag": tag, **({"Content-Encoding": "gzip"} if fault == "gzip" else {})}, 206)

    def _whole_request(self, fault: str, path: str) -> bool:
        """Faults that do not look at what was asked; whether this was one."""
        if fault.startswith("status "):
            wait = {"Retry-After": "1"} if "wait" in fault or "429" in fault else {}
            self._answer(int(fault.split()[1]), b"no", wait)
        elif fault == "no ranges":
            self._body(self.server.files[path], None, {}, 200)
        elif fault == "reset":
            self.close_connection = True
            self.connection.close()
        elif fault == "redirect":
            self._answer(302, b"", {"Location": path + "?again"})
        elif fault == "redirect in a circle":
            # A circle that the next request for the same address leaves: the client must give up all the same.
            self._answer(302, b"", {"Location": path})
        else:
            return False
        return True

    def _answer(self, code: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value.encode("utf-8").decode("latin-1"))
        self.end_headers()
        self.wfile.write(body)

    def _body(self, body: bytes, fault: str | None, headers: Mapping[str, str], code: int) -> None:
        self.send_response(code)
        length = len(body) + (17 if fault == "cut connection" else 0)
        if fault == "short body":
            body = body[: len(body) // 2]
            length = len(body)
        elif fault == "long body":
            body += b"more"
            length = len(body)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value.encode("utf-8").decode("latin-1"))
        self.end_headers()
        if fault == "slow":
            time.sleep(0.05)
        self.wfile.write(body)
        if fault == "cut connection":
            self.close_connection = True


@contextlib.contextmanager
def serving(files: Mapping[str, bytes], seed: int, rate: float, faults: tuple[str, ...] = FAULTS) -> Iterator[BadServer]:
    """A server until the end; its address is ``http://127.0.0.1:PORT``."""
    server = BadServer(files, seed, rate, faults)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
