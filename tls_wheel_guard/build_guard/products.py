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

__all__ = ["cargo_folders", "changed_modules", "copies_of", "editable_modules", "installed_modules", "wheels_in"]

SKIPPED_FOLDERS = frozenset({".git", ".hg", "target", "node_modules", "__pycache__", ".tox", ".nox"})
"""Folders whose shared objects nobody imports from: cargo's target holds copies of what it installs."""
TAGGED = tuple(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so")
"""How the extension modules of this interpreter end: ``.cpython-312-x86_64-linux-gnu.so``, ``.abi3.so``."""
SITE_PACKAGES = ("lib/python*/site-packages", "Lib/site-packages")


def wheels_in(folders: Sequence[Path]) -> dict[Path, tuple[int, int, int]]:
    """Each wheel in some folders with its time, size and inode."""
    found = {}
    for folder in folders:
        for path in sorted(folder.glob("*.whl")) if folder.is_dir() else ():
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


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
    return [path for path in _modules_below(folder) if path.stat().st_mtime_ns >= since_ns]


def editable_modules(folder: Path, since_ns: int) -> list[Path]:
    """What an editable build left below a folder: all that was written since a moment, and this interpreter's extension modules.

    The latter stay as they are where they are up to date, and are imported all the same.
    """
    return [path for path in _modules_below(folder) if path.stat().st_mtime_ns >= since_ns or path.name.endswith(TAGGED)]


def installed_modules(project: Path, environment: Mapping[str, str], since_ns: int) -> list[Path]:
    """Shared objects of distributions that were installed from a folder since a moment (PEP 610), as ``maturin develop`` does."""
    found = []
    for distribution in importlib.metadata.distributions(path=[str(path) for path in _site_packages(project, environment)]):
        origin = _origin(distribution)
        if origin is not None and origin.is_relative_to(project.resolve()):
            files = [Path(str(distribution.locate_file(file))) for file in distribution.files or () if ".so" in file.name]
            # An installer that links from its cache leaves the old time of writing; the link is new.
            found += [path for path in files if _is_elf(path) and max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) >= since_ns]
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


def _modules_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not Path(root, f, "pyvenv.cfg").exists())
        for name in sorted(names):
            if ".so" in name and _is_elf(path := Path(root, name)):
                yield path


def _is_elf(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
