"""What a build made: wheels in some folders, and shared objects that it put in place."""

from __future__ import annotations

import filecmp
import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tls_wheel_guard.inputs.files import starts_as_elf

__all__ = ["cargo_folders", "changed_modules", "copies_of", "editable_modules", "files_below", "installed_modules", "wheels_in"]

SKIPPED_FOLDERS = frozenset({".git", ".hg", "node_modules", "__pycache__", ".tox", ".nox"})
"""Folders of a checkout in which no build leaves its products; environments are known by their pyvenv.cfg."""
CARGO_TARGET = "target"
"""Cargo's folder: its objects are of the build, its shared objects are copies of what is installed."""
TAGGED = tuple(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so")
"""How the extension modules of this interpreter end: ``.cpython-312-x86_64-linux-gnu.so``, ``.abi3.so``."""
SITE_PACKAGES = ("lib/python*/site-packages", "Lib/site-packages")


def wheels_in(folders: Sequence[Path]) -> dict[Path, tuple[int, int, int]]:
    """Each wheel in some folders with its time, size and inode."""
    found = {}
    for folder in folders:
        for path in sorted(folder.glob("*.whl")) if folder.is_dir() else ():
            status = _status(path)
            if status is not None:
                found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _status(path: Path) -> os.stat_result | None:
    """What a file is; None where it has gone, or its link leads nowhere or in a circle."""
    try:
        return path.stat()
    except OSError:
        return None


def cargo_folders(project: Path, environment: Mapping[str, str], targets: Iterable[str] = (), crates: Iterable[Path] = ()) -> list[Path]:
    """Where maturin puts wheels when nothing is said: ``wheels`` in cargo's target folder, which may be the workspace's.

    ``targets``, ``crates``: target folders and crates that a command names beside those of the environment and the project.
    """
    asked = [*targets, *(environment.get(name) for name in ("CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"))]
    workspaces = [folder for crate in (project, *crates) for folder in (crate, *crate.parents) if (folder / "Cargo.toml").is_file()]
    return [
        *(project / target / "wheels" for target in asked if target),
        project / "target" / "wheels",
        *(f / "target" / "wheels" for f in workspaces),
    ]


def copies_of(wheel: Path, folders: Iterable[Path]) -> list[Path]:
    """Copies of a wheel, with its very bytes, that its build left in some folders."""
    there = dict.fromkeys(folder.resolve() / wheel.name for folder in folders)
    return [path for path in there if path.is_file() and path != wheel.resolve() and filecmp.cmp(path, wheel, shallow=False)]


def changed_modules(folder: Path, since_ns: int) -> list[Path]:
    """Shared objects below a folder that were written since a moment."""
    return [path for path, written in _modules_below(folder) if written >= since_ns]


def editable_modules(folder: Path, since_ns: int, *, all_new: bool = False) -> list[Path]:
    """What an editable build left below a folder: all that was written since a moment, and this interpreter's extension modules.

    The latter stay as they are where they are up to date, and are imported all the same. ``all_new``: a rewritten build compiles
    everything, so what it did not write is not of it.
    """
    return [path for path, written in _modules_below(folder) if written >= since_ns or (not all_new and path.name.endswith(TAGGED))]


def installed_modules(project: Path, environment: Mapping[str, str], since_ns: int) -> list[Path]:
    """Shared objects of distributions that were installed from a folder since a moment (PEP 610), as ``maturin develop`` does."""
    found = []
    for distribution in importlib.metadata.distributions(path=[str(path) for path in _site_packages(project, environment)]):
        origin = _origin(distribution)
        if origin is not None and origin.is_relative_to(project.resolve()):
            files = [Path(str(distribution.locate_file(file))) for file in distribution.files or () if ".so" in file.name]
            # An installer that links from its cache leaves the old time of writing; the link is new.
            found += [path for path in files if _is_new(path, since_ns) and not path.is_symlink() and starts_as_elf(path)]
    return found


def _origin(distribution: importlib.metadata.Distribution) -> Path | None:
    """The local folder that a distribution was installed from; None where it came from elsewhere."""
    try:
        url = urlsplit(json.loads(distribution.read_text("direct_url.json") or "{}").get("url", ""))
    except (ValueError, AttributeError):  # written by others
        return None
    return Path(unquote(url.path)).resolve() if url.scheme == "file" else None


def _site_packages(project: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Those of the active environments, and of the nearest .venv."""
    active = [Path(environment[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if environment.get(name)]
    near = [folder / ".venv" for folder in (project, *project.parents) if (folder / ".venv").is_dir()][:1]
    for prefix in dict.fromkeys([*active, *near]):
        for pattern in SITE_PACKAGES:
            yield from sorted(prefix.glob(pattern))


def _is_new(path: Path, since_ns: int) -> bool:
    status = _status(path)
    return status is not None and max(status.st_mtime_ns, status.st_ctime_ns) >= since_ns


def files_below(folder: Path, skipped: frozenset[str] = SKIPPED_FOLDERS) -> Iterator[Path]:
    """Everything below a folder that is no folder, sorted; links to folders are not followed, environments are left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in skipped and not Path(root, f, "pyvenv.cfg").exists())
        yield from (Path(root, name) for name in sorted(names))


def _modules_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Shared objects with the time of their writing, in nanoseconds since 1970."""
    for path in files_below(folder, SKIPPED_FOLDERS | {CARGO_TARGET}):
        if ".so" in path.name and not path.is_symlink() and starts_as_elf(path) and (status := _status(path)) is not None:
            yield path, status.st_mtime_ns
