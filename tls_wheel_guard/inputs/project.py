"""A project's build files and sources, read from its folder: what ``fix`` looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.inputs.files import open_regular
from tls_wheel_guard.records import dataclass, field

__all__ = ["BUILD_FILES", "ProjectFiles", "read_file", "read_project"]

BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "CMakeLists.txt", "meson.build", "Cargo.toml", "configure.ac", "Makefile")
"""One of these makes a folder a project."""
_NAMES = frozenset({*BUILD_FILES, "Cargo.lock", "config.toml", ".gitmodules", "go.mod", "configure.in", "GNUmakefile", "makefile", "SConstruct"})
_SUFFIXES = frozenset({".py", ".cmake", ".am", ".mk", ".sh", ".yml", ".yaml", ".gn", ".bzl", ".build"})
_SOURCES = frozenset({".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".hxx", ".inc", ".ipp", ".pyx", ".pxd", ".rs", ".py"})
_FOR_CARGO = frozenset({"Cargo.toml", "Cargo.lock"})
_PASSED_OVER = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "target", "venv", "wheelhouse", "_skbuild"})
_ENTERED = frozenset({".cargo", ".github"})
LARGEST, MOST_FILES, MOST_BYTES = 4 << 20, 50_000, 256 << 20
"""Bytes of one file, files looked at, bytes kept: far above what real projects have. Larger files are no build files; more is refused."""


@dataclass(slots=True)
class ProjectFiles:
    """Bytes by path from ``top``, with slashes. ``folder``: the project below the top, "" where it is the top itself."""

    top: Path
    folder: str = ""
    files: dict[str, bytes] = field(default_factory=dict)


def read_project(folder: Path) -> ProjectFiles:
    """The build files below a folder, and those of the Cargo workspace that it belongs to.

    Links are not followed. Raises UsageError where it is no project, UnreadableInput where one of its build files can't be read or is a
    link that leads out of it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", hint="give the folder that holds pyproject.toml, or leave it out for the current one")
    folder = folder.resolve()
    top = _workspace_above(folder)
    found = ProjectFiles(top, folder.relative_to(top).as_posix().removeprefix("."))
    kept = 0
    for looked_at, path in enumerate(_walk(folder, top)):
        data = _bytes_of(path, top)
        if data is not None:
            found.files[path.relative_to(top).as_posix()] = data
            kept += len(data)
        if looked_at > MOST_FILES or kept > MOST_BYTES:
            raise UsageError(f"{folder}: over {MOST_FILES:,} files, or {MOST_BYTES >> 20} MiB", hint="give the folder of one project")
    if not any(path.name in BUILD_FILES for path in (folder / name for name in BUILD_FILES) if path.is_file()):
        raise UsageError(f"{folder}: no build file is in it", hint=f"give a folder with one of {', '.join(BUILD_FILES)}")
    return found


def read_file(path: Path) -> bytes | None:
    """A file's bytes now, None where it is not there; raises UnreadableInput."""
    if not path.exists() and not path.is_symlink():
        return None
    with open_regular(path) as file:
        return file.read(LARGEST + 1)


def _workspace_above(folder: Path) -> Path:
    """The nearest folder above with a Cargo workspace, within the same repository; the folder itself without one."""
    if any((folder / name).is_file() for name in ("Cargo.toml", "rust/Cargo.toml", "pyproject.toml")):
        for parent in (folder, *folder.parents):
            manifest = parent / "Cargo.toml"
            if manifest.is_file() and b"[workspace" in (read_file(manifest) or b""):
                return parent
            if (parent / ".git").exists():
                break
    return folder


def _walk(folder: Path, top: Path) -> Iterator[Path]:
    """Files that may be of interest: all kinds below the project, only Cargo's in the rest of the workspace."""
    for root, folders, names in os.walk(top):
        here = Path(root)
        inside = here == folder or folder in here.parents
        folders[:] = sorted(name for name in folders if _enters(here / name, name))
        for name in sorted(names):
            if _is_wanted(name) if inside else name in _FOR_CARGO or (here.name == ".cargo" and name == "config.toml"):
                yield here / name


def _enters(path: Path, name: str) -> bool:
    if name in _PASSED_OVER or (name.startswith(".") and name not in _ENTERED) or name.endswith(".egg-info"):
        return False
    return not (path / "pyvenv.cfg").exists()


def _is_wanted(name: str) -> bool:
    return name in _NAMES or Path(name).suffix in _SUFFIXES | _SOURCES


def _bytes_of(path: Path, top: Path) -> bytes | None:
    """A file's bytes; None for what is too large, for a link, and for a source that says nothing of TLS."""
    important = path.name in BUILD_FILES or path.name == "Cargo.lock"
    if path.is_symlink():
        if important and not path.resolve().is_relative_to(top):
            raise UnreadableInput(f"{path}: it is a link that leads out of the project", hint="run fix in the project that it leads to")
        return None
    try:
        if path.stat().st_size > LARGEST and not important:
            return None
        with open_regular(path) as file:
            data = file.read(LARGEST + 1)
    except (OSError, UnreadableInput) as error:
        if not important:
            return None
        reason = error.message if isinstance(error, UnreadableInput) else error.strerror
        raise UnreadableInput(f"{path}: {reason}", hint="check its permissions") from error
    if len(data) > LARGEST:
        if important:
            raise UnreadableInput(f"{path}: over {LARGEST >> 20} MiB", hint="a build file is smaller")
        return None
    if path.suffix in _SOURCES and path.name not in _NAMES:
        return data if b"tls" in data or b"configure" in data or b"nodlopen" in data or b"-fopenmp" in data else None
    return data
