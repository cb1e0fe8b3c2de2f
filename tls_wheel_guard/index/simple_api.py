"""Pages of the simple API: JSON (PEP 691, PEP 700) and HTML (PEP 503). Text in, wheels out."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import canonicalize_name

from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.listing import ListedWheel, is_address, listed_wheel

__all__ = ["ACCEPT", "project_names", "project_wheels"]

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.ASCII | re.IGNORECASE)
"""A project's name (PyPA, "Names and normalization")."""
MAX_FILES = 1_000_000
"""Files that one page may list; the longest page of a public index has some 20,000."""


def project_names(text: str, content_type: str, place: str) -> list[str]:
    """The projects that an index's root page lists; raises UnreadableIndex."""
    if _is_json(content_type):
        rows = _document(text, place).get("projects")
        names = [row.get("name") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None
    else:
        names = [text for text, _ in _anchors(text, content_type, place)]
    if names is None:
        raise UnreadableIndex(f"{place}: it lists no projects", hint="give the address of a simple index, which ends in /simple/")
    return sorted({canonicalize_name(name) for name in names if isinstance(name, str) and NAME.fullmatch(name)})


def project_wheels(text: str, content_type: str, url: str, place: str) -> list[ListedWheel]:
    """The wheels that a project's page lists. ``url``: of the page, against which addresses are resolved. Raises UnreadableIndex."""
    found = _from_json(text, url, place) if _is_json(content_type) else _from_html(text, content_type, url, place)
    return [wheel for wheel in found if wheel is not None]


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower().endswith("json")


def _document(text: str, place: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableIndex(f"{place}: it is no JSON document", hint="see what the address shows in a browser") from error
    meta = found.get("meta") if isinstance(found, dict) else None
    version = meta.get("api-version") if isinstance(meta, dict) else None
    if not isinstance(found, dict) or not isinstance(version, str) or version.partition(".")[0] != "1":
        raise UnreadableIndex(f"{place}: it is no page of the simple API, version 1", hint="give the address of a simple index")
    return found


def _from_json(text: str, url: str, place: str) -> list[ListedWheel | None]:
    rows = _document(text, place).get("files")
    if not isinstance(rows, list) or len(rows) > MAX_FILES:
        raise UnreadableIndex(f"{place}: its list of files is missing or has more than {MAX_FILES} rows", hint="give the page of a project")
    found = []
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("filename"), str) and isinstance(row.get("url"), str):
            hashes = row.get("hashes")
            found.append(
                listed_wheel(
                    row["filename"],
                    url=_address(url, row["url"]),
                    size=row.get("size"),
                    sha256=hashes.get("sha256") if isinstance(hashes, dict) else None,
                    yanked=bool(row.get("yanked")),
                    uploaded=row.get("upload-time"),
                )
            )
    return [wheel for wheel in found if wheel is not None and wheel.url]


def _from_html(text: str, content_type: str, url: str, place: str) -> list[ListedWheel | None]:
    found = []
    for _, attributes in _anchors(text, content_type, place):
        href, _, fragment = (attributes.get("href") or "").partition("#")
        address = _address(url, href)
        if address:
            name, _, digest = fragment.partition("=")
            filename = unquote(urlsplit(address).path.rpartition("/")[2])
            found.append(listed_wheel(filename, url=address, sha256=digest if name == "sha256" else None, yanked="data-yanked" in attributes))
    return found


def _address(base: str, href: str) -> str | None:
    """An absolute address of http or https; None for any other, which no index of wheels has."""
    try:
        found = urljoin(base, href)
        return found if is_address(found) and urlsplit(found).scheme in ("http", "https") and urlsplit(found).hostname else None
    except ValueError:
        return None


class _Links(HTMLParser):
    """The anchors of a page: text and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(("", dict(attrs)))
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open and self.found:
            text, attributes = self.found[-1]
            self.found[-1] = ((text + data.strip())[:4096], attributes)


def _anchors(text: str, content_type: str, place: str) -> list[tuple[str, dict[str, str | None]]]:
    if "html" not in content_type.lower():
        kind = content_type.partition(";")[0] or "of no type"
        raise UnreadableIndex(f"{place}: it is {kind!r}, no page of a simple index", hint="give the address of a simple index")
    links = _Links()
    links.feed(text)
    links.close()
    if len(links.found) > MAX_FILES:
        raise UnreadableIndex(f"{place}: it lists more than {MAX_FILES} files", hint="give the page of a project")
    return links.found
