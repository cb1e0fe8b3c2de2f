"""Answers to range requests (RFC 9110, 14 and 15.3.7): one range as the body, or several as the parts of a multipart body."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["BadAnswer", "are_in", "content_range", "most_bytes", "parts_of"]

PART_HEADERS = 1024
"""Bytes of a boundary and of one part's headers; nginx sends some 110."""


_MULTIPART = re.compile(r'multipart/byteranges;\s*boundary=("?)([0-9A-Za-z\'()+_,./:=? -]{1,70})\1', re.ASCII | re.IGNORECASE)


class BadAnswer(ValueError):  # noqa: N818  (the server's mistake)
    """An answer that is not what the standard says; its bytes are not used."""


def content_range(text: str) -> tuple[int, int, int]:
    """First and last byte, and the whole size (RFC 9110 14.4); raises BadAnswer where it says less."""
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", text.strip(), re.ASCII)
    if match is None:
        raise BadAnswer("no Content-Range")
    first, last, total = (int(number) for number in match.groups())
    if not first <= last < total:
        raise BadAnswer("a Content-Range that contradicts itself")
    return first, last, total


def most_bytes(spans: list[tuple[int, int]]) -> int:
    """Bytes that an honest multipart answer to some ranges has at most."""
    return sum(high - low for low, high in spans) + PART_HEADERS * (len(spans) + 1)


def parts_of(body: bytes, content_type: str) -> Iterator[tuple[int, bytes, int]]:
    """The parts of a multipart/byteranges body: first byte, bytes, the file's whole size; raises BadAnswer."""
    found = _MULTIPART.fullmatch(content_type.strip())
    if found is None:
        raise BadAnswer("no boundary")
    mark = b"--" + found[2].encode()
    at = body.find(mark)
    if at < 0 or body[:at].strip(b"\r\n"):
        raise BadAnswer("no part")
    while body[at + len(mark) : at + len(mark) + 2] != b"--":
        head_end = body.find(b"\r\n\r\n", at, at + PART_HEADERS)
        if body[at : at + len(mark)] != mark or head_end < 0:
            raise BadAnswer("a part without headers")
        lines = body[at + len(mark) : head_end].decode("latin-1").split("\r\n")
        said = [value for name, _, value in (line.partition(":") for line in lines) if name.strip().lower() == "content-range"]
        if len(said) != 1:
            raise BadAnswer("a part without its range")
        first, last, total = content_range(said[0])
        start, end = head_end + 4, head_end + 4 + last - first + 1
        if end > len(body) or body[end : end + 2] != b"\r\n":
            raise BadAnswer("a part of another size than its range")
        yield first, body[start:end], total
        at = end + 2


def are_in(spans: list[tuple[int, int]], parts: list[tuple[int, int]]) -> bool:
    """Whether every span is in one of the parts: a server may send neighbours together (RFC 9110 15.3.7.2)."""
    return all(any(first <= low and high <= end for first, end in parts) for low, high in spans)
