"""Where wheels are listed: a simple index, a folder or mirror, a store of objects, a lock file, or the index that pip is configured with."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tls_wheel_guard.errors import UnreadableIndex, UsageError
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.listing import ListedWheel, is_text, listed_wheel, newest_releases, safe_url, wanted
from tls_wheel_guard.index.lock_files import Pin, read_lock
from tls_wheel_guard.index.simple_api import project_names, project_wheels
from tls_wheel_guard.index.spool import Spool
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["Listed", "Selection", "configured_index", "list_wheels", "locked_wheels"]

MAX_LOCK = 64 << 20
"""Bytes of a lock file."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which wheels are wanted. ``latest``: releases of each project; ``patterns``: globs on file names, any where there is none."""

    projects: tuple[str, ...] = ()
    latest: int = 1
    patterns: tuple[str, ...] = ()


Listed = ListedWheel | UnreadableIndex
"""A wheel, or a project whose page can't be read: one must not hide the others."""


def list_wheels(source: str, choice: Selection, connection: Connection, limits: Limits = DEFAULT_LIMITS) -> Iterator[Listed]:
    """The wheels of a source that are wanted; raises UnreadableIndex and UsageError where the source itself can't be read."""
    scheme = source.partition("://")[0] if "://" in source else ""
    if scheme in ("http", "https"):
        yield from _of_index(source if source.endswith("/") else source + "/", choice, connection)
    elif scheme:
        yield from _chosen(_of_store(source, limits), choice)
    else:
        yield from _chosen(_of_folder(Path(source), limits), choice)


def _of_index(url: str, choice: Selection, connection: Connection) -> Iterator[Listed]:
    names: Sequence[str] = choice.projects
    if not names:
        page = connection.page(url)
        names = project_names(page.text, page.content_type, safe_url(url))
        if not names:
            raise UnreadableIndex(f"{safe_url(url)}: it lists no projects", hint="give the address of a simple index, which ends in /simple/")
    for name in names:
        try:
            page = connection.page(f"{url}{_normal(name)}/")
            found = project_wheels(page.text, page.content_type, page.url, safe_url(page.url))
        except UnreadableIndex as error:
            yield error
            continue
        yield from newest_releases(wanted(found, [name], choice.patterns), choice.latest)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _chosen(wheels: Iterator[Listed], choice: Selection) -> Iterator[Listed]:
    """The newest releases of each project among all of a folder's wheels, which are put in order on disk: there may be millions."""
    with Spool() as spool:
        for wheel in wheels:
            if isinstance(wheel, UnreadableIndex):
                yield wheel
            else:
                spool.add(wanted([wheel], choice.projects, choice.patterns))
        for some in spool.by_project():
            yield from newest_releases(some, choice.latest)


def _of_folder(root: Path, limits: Limits) -> Iterator[Listed]:
    """The wheels below a folder, at any depth, in no order; a bandersnatch mirror has them below ``web/packages``."""
    if root.is_file():
        raise UsageError(f"{root}: it is a file and no folder", hint="tls-wheel-guard check judges wheels; --lock reads a lock file")
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint="give a folder of wheels, or the address of an index")
    count = 0
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    count += 1
                    if count > limits.tree_files:
                        raise UnreadableIndex(f"{root}: {count} or more files; {over(limits, 'tree-files')}", hint="name a folder further down")
                    wheel = listed_wheel(entry.name, path=entry.path)
                    if wheel is None and entry.name.endswith(".whl") and not is_text(entry.path):
                        yield UnreadableIndex(f"{entry.path}: its name is no text in UTF-8", hint="rename the file or its folder")
                    elif wheel is not None and entry.is_file():
                        status = entry.stat()
                        yield replace(wheel, size=status.st_size, stamp=str(status.st_mtime_ns))
        except OSError as error:
            yield UnreadableIndex(f"{folder}: it can't be read: {error.strerror}", hint="check its permissions")


def _of_store(address: str, limits: Limits) -> Iterator[Listed]:
    """The wheels of a store of objects that fsspec knows, such as ``s3://bucket/wheels``."""
    try:
        import fsspec  # noqa: PLC0415  (only these addresses need it)
    except ImportError as error:
        raise UsageError(f"{address}: such an address needs fsspec", hint="pip install 'tls-wheel-guard[index]'") from error
    try:
        system, root = fsspec.core.url_to_fs(address)
        for count, (path, about) in enumerate(system.find(root, detail=True).items()):
            if count > limits.tree_files:
                raise UnreadableIndex(f"{address}: {count} or more files; {over(limits, 'tree-files')}", hint="name a folder further down")
            wheel = listed_wheel(path.rpartition("/")[2], url=system.unstrip_protocol(path), size=about.get("size"))
            if wheel is not None:
                yield wheel
    except (ImportError, ValueError, OSError) as error:
        words = " ".join(str(error).split())
        raise UnreadableIndex(f"{safe_url(address)}: {words}", hint="see which plug-in of fsspec reads such an address") from error


def locked_wheels(path: Path, index: str | None, connection: Connection) -> Iterator[Listed]:
    """The wheels that a lock file can install. ``index``: where pinned versions are looked up. Raises UnreadableIndex and UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOCK + 1)
        text = data.decode("utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file", hint="give a pylock.toml, a uv.lock, or a requirements.txt") from error
    except OSError as error:
        raise UnreadableIndex(f"{path}: it can't be read: {error.strerror}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise UnreadableIndex(f"{path}: it is no text in UTF-8", hint="write the lock file again") from error
    if len(data) > MAX_LOCK:
        raise UnreadableIndex(f"{path}: it has more than {MAX_LOCK} bytes", hint="give a lock file")
    locked = read_lock(str(path), text)
    for wheel in locked.wheels:
        yield replace(wheel, path=str(path.parent / wheel.path)) if wheel.path is not None else wheel
    if locked.pins:
        yield from _looked_up(locked.pins, index or configured_index(), connection)


def _looked_up(pins: Sequence[Pin], index: str, connection: Connection) -> Iterator[Listed]:
    url = index if index.endswith("/") else index + "/"
    for pin in pins:
        try:
            page = connection.page(f"{url}{pin.project}/")
            found = [w for w in project_wheels(page.text, page.content_type, page.url, safe_url(page.url)) if pin.takes(w)]
        except UnreadableIndex as error:
            yield error
            continue
        yield from found


def configured_index() -> str:
    """The index that pip uses here: PIP_INDEX_URL, its files, else its own default. Raises UsageError."""
    named = os.environ.get("PIP_INDEX_URL", "").strip()
    if named:
        return named.split()[0]
    settings = dict(line.partition("=")[::2] for line in _pip("config", "list").splitlines())
    for key in ("download.index-url", "install.index-url", "global.index-url"):
        if key in settings:
            try:
                return str(ast.literal_eval(settings[key])).split()[0]
            except (ValueError, SyntaxError, IndexError):
                continue
    default = re.search(r"--index-url <url>.*?\(default\s+(https?://\S+?)\)", _pip("download", "--help"), re.DOTALL)
    if default is None:
        raise UsageError("pip names no index here", hint="name one: tls-wheel-guard index https://HOST/simple/")
    return default[1]


def _pip(*words: str) -> str:
    try:
        run = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout if run.returncode == 0 else ""
