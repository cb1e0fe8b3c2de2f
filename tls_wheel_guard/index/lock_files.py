"""What a lock file can install: pylock.toml (PEP 751), uv.lock, and requirements.txt with ``==`` and hashes. Text in, wheels out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tls_wheel_guard.errors import UnreadableIndex
from tls_wheel_guard.index.listing import ListedWheel, is_address, listed_wheel, safe_url

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Locked", "Pin", "read_lock"]

MAX_PINS = 100_000
HINT = "give a pylock.toml, a uv.lock, or a requirements.txt that pins each version with =="


@dataclass(frozen=True, slots=True)
class Pin:
    """A version that must be looked up in an index. ``sha256``: of the files that may be used; any, where it is empty."""

    project: str
    version: str
    sha256: frozenset[str] = frozenset()

    def takes(self, wheel: ListedWheel) -> bool:
        """Whether a wheel of the index is one of those."""
        return wheel.version == self.version and (not self.sha256 or wheel.sha256 in self.sha256)


@dataclass(frozen=True, slots=True)
class Locked:
    """Wheels with their places, and versions without."""

    wheels: tuple[ListedWheel, ...] = ()
    pins: tuple[Pin, ...] = ()


def read_lock(name: str, text: str) -> Locked:
    """What a lock file lists, told apart by its name. Paths in it are relative to its folder. Raises UnreadableIndex."""
    base = PurePosixPath(name.replace("\\", "/")).name
    if base == "uv.lock":
        return _uv(name, _toml(name, text))
    if base == "pylock.toml" or (base.startswith("pylock.") and base.endswith(".toml")):
        return _pylock(name, _toml(name, text))
    if base.endswith((".txt", ".in")):
        return Locked(pins=tuple(_requirements(name, text)))
    raise UnreadableIndex(f"{name}: it is no lock file that is known", hint=HINT)


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UnreadableIndex(f"{name}: not valid TOML: {error}", hint="write the lock file again") from error


def _pylock(name: str, document: Mapping[str, Any]) -> Locked:
    try:
        lock = Pylock.from_dict(document)
    except (PylockValidationError, PylockUnsupportedVersionError) as error:
        raise UnreadableIndex(f"{name}: {error}", hint="write the lock file again") from error
    for locked in (wheel for package in lock.packages for wheel in package.wheels or ()):
        if locked.url is not None:
            _require_address(name, locked.url)
    wheels = [
        listed_wheel(wheel.filename, url=wheel.url, path=wheel.path, size=wheel.size, sha256=wheel.hashes.get("sha256"))
        for package in lock.packages
        for wheel in package.wheels or ()
    ]
    return Locked(tuple(wheel for wheel in wheels if wheel is not None))


def _uv(name: str, document: Mapping[str, Any]) -> Locked:
    if document.get("version") != 1:
        raise UnreadableIndex(
            f"{name}: it is of version {document.get('version')!r}, and this program reads version 1", hint="see if a newer one does"
        )
    found = []
    for package in _tables(document.get("package")):
        for row in _tables(package.get("wheels")):
            url, path = row.get("url"), row.get("path")
            place = url if isinstance(url, str) else path
            if isinstance(place, str):
                if isinstance(url, str):
                    _require_address(name, url)
                digest = str(row.get("hash", "")).removeprefix("sha256:")
                filename = unquote(urlsplit(place).path.rpartition("/")[2])
                found.append(listed_wheel(filename, url=url, path=path if url is None else None, size=row.get("size"), sha256=digest))
    return Locked(tuple(wheel for wheel in found if wheel is not None))


def _require_address(name: str, url: str) -> None:
    if not is_address(url):
        raise UnreadableIndex(f"{name}: {safe_url(url)[:200]!r} is no address", hint="write the lock file again")


def _tables(rows: object) -> Iterator[Mapping[str, Any]]:
    yield from (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


_HASH = re.compile(r"\s--hash[=\s]sha256:([0-9a-fA-F]{64})\b")
_OPTION = re.compile(r"\s--hash[=\s]\S+")


def _requirements(name: str, text: str) -> Iterator[Pin]:
    """The pinned versions of a requirements file; raises UnreadableIndex where a line pins none."""
    count = 0
    for number, line in _lines(text):
        if line.startswith("-"):
            continue
        hashes = frozenset(digest.lower() for digest in _HASH.findall(" " + line))
        words = _OPTION.sub("", " " + line).strip()
        try:
            wanted = Requirement(words)
        except InvalidRequirement as error:
            raise UnreadableIndex(f"{name}:{number}: {words[:80]!r} is no requirement", hint=HINT) from error
        pins = [s for s in wanted.specifier if s.operator in ("==", "===") and not s.version.endswith(".*")]
        if len(pins) != 1 or wanted.url is not None:
            raise UnreadableIndex(f"{name}:{number}: {words[:80]!r} pins no version", hint=HINT)
        count += 1
        if count > MAX_PINS:
            raise UnreadableIndex(f"{name}: it has more than {MAX_PINS} requirements", hint=HINT)
        yield Pin(canonicalize_name(wanted.name), pins[0].version, hashes)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first one: comments gone, continued lines joined."""
    start = 1
    parts: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not parts:
            start = number
        if line.endswith("\\"):
            parts.append(line[:-1].strip())
            continue
        whole = " ".join([*parts, line]).strip()
        parts = []
        if whole:
            yield start, whole
    if parts:
        yield start, " ".join(parts)
