"""Paths in a project, as texts: relative to its top, with slashes. They name places in a mapping of files and touch no disk."""

from __future__ import annotations

import posixpath

__all__ = ["folder_of", "folders_above", "is_below", "joined", "name_of", "suffix_of"]


def name_of(path: str) -> str:
    """The last part."""
    return posixpath.basename(path)


def suffix_of(path: str) -> str:
    """The ending with its dot, "" where there is none."""
    return posixpath.splitext(path)[1]


def folder_of(path: str) -> str:
    """The folder; "" is the top."""
    return posixpath.dirname(path)


def folders_above(path: str) -> list[str]:
    """Its folder and all above it, the nearest first, the top ("") last."""
    found = []
    while path:
        path = folder_of(path)
        found.append(path)
    return found


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, at any depth."""
    return not folder or path.startswith(f"{folder}/")


def joined(folder: str, *parts: str) -> str:
    """Parts below a folder, without ``.`` and ``..``; what leads above the top keeps its dots and so names no file."""
    path = posixpath.normpath(posixpath.join(folder, *parts))
    return "" if path == "." else path
