"""One wheel as an index, a folder or a lock file lists it, and which of them are wanted."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

__all__ = ["ListedWheel", "is_address", "is_text", "listed_wheel", "newest_releases", "safe_url", "wanted"]


@dataclass(frozen=True, slots=True)
class ListedWheel:
    """A wheel that can be fetched from ``url``, or read at ``path``.

    ``size`` (bytes) and ``sha256`` (64 hexadecimal digits) are None where the list does not say them. ``uploaded``: ISO 8601.
    ``stamp``: of a file on disk, what changes when it is written again.
    """

    filename: str
    project: str
    version: str
    url: str | None = None
    path: str | None = None
    size: int | None = None
    sha256: str | None = None
    yanked: bool = False
    uploaded: str | None = None
    stamp: str | None = None

    @property
    def place(self) -> str:
        """Where it lies, as it may be printed: without user and password."""
        return safe_url(self.url) if self.url is not None else str(self.path)


def safe_url(url: str) -> str:
    """An address without user and password."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def is_address(url: str) -> bool:
    """Whether a text can be asked for as an address at all."""
    try:
        split = urlsplit(url)
        # A port and a host are looked at when they are asked for; halves of surrogate pairs can't be sent or stored.
        return bool(split.scheme and (split.port, split.hostname, url.encode()))
    except ValueError:
        return False


def listed_wheel(
    filename: str,
    *,
    url: str | None = None,
    path: str | None = None,
    size: object = None,
    sha256: object = None,
    yanked: bool = False,
    uploaded: object = None,
) -> ListedWheel | None:
    """The wheel of a file name, None where it is no wheel's name (PEP 427). What a list says beside it is checked, and left out where wrong."""
    if not filename.endswith(".whl") or "/" in filename or "\\" in filename or not (filename.isprintable() and is_text(f"{filename}{url}{path}")):
        return None
    try:
        project, version, _, _ = parse_wheel_filename(filename)
    except ValueError:  # also of a number that is too long for Python
        return None
    good_size = size if isinstance(size, int) and not isinstance(size, bool) and 0 < size < 1 << 53 else None
    digest = sha256.lower() if isinstance(sha256, str) and len(sha256) == 64 and set(sha256.lower()) <= set("0123456789abcdef") else None
    when = uploaded if isinstance(uploaded, str) and len(uploaded) <= 40 and uploaded.isprintable() else None
    return ListedWheel(filename, str(project), str(version), url, path, good_size, digest, yanked, when)


def is_text(words: str) -> bool:
    """Whether it can be written as UTF-8: halves of surrogate pairs, which JSON and names of files can hold, can't."""
    try:
        words.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def newest_releases(wheels: Iterable[ListedWheel], count: int) -> list[ListedWheel]:
    """The wheels of the ``count`` newest releases of one project that have any: final ones before pre-releases, yanked ones never.

    0 is all of them, pre-releases too.
    """
    by_version: dict[Version, list[ListedWheel]] = {}
    for wheel in wheels:
        if not wheel.yanked:
            by_version.setdefault(Version(wheel.version), []).append(wheel)
    final = [version for version in by_version if not version.is_prerelease]
    chosen = sorted(final or by_version, reverse=True)[:count] if count else sorted(by_version, reverse=True)
    return [wheel for version in chosen for wheel in sorted(by_version[version], key=lambda w: w.filename)]


def wanted(wheels: Iterable[ListedWheel], projects: Sequence[str], patterns: Sequence[str]) -> list[ListedWheel]:
    """Those of some projects (all, where none is named) whose file names match one of the patterns (any, where there is none)."""
    names = {canonicalize_name(name) for name in projects}
    return [
        wheel
        for wheel in wheels
        if (not names or wheel.project in names) and (not patterns or any(fnmatch.fnmatchcase(wheel.filename, p) for p in patterns))
    ]
