"""Every ELF file below a folder: site-packages, the root that a distribution's package is made from.

Links are followed, once each and never to the outside. A file with several names is read once, under the first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tls_wheel_guard.elf import SharedObject, defined_tls, is_elf, read_shared_object
from tls_wheel_guard.errors import MalformedElf, UnreadableInput
from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.files import FileSource, open_regular
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["inspect_tree"]

SMALLEST = 52
"""Bytes of the smallest ELF header."""


def inspect_tree(root: Path, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """The ELF files below a folder, by their paths from it, sorted; raises UnreadableInput where the folder can't be read."""
    contents = Contents(root.name or str(root), is_tree=True)
    read: list[tuple[str, SharedObject]] = []
    for name in sorted(_files(root, contents, limits)):
        facts = _read(root, name, contents, limits)
        if facts is not None:
            read.append((name, facts))
    contents.modules += read
    _find_definers(root, contents, limits)
    return contents


def _files(root: Path, contents: Contents, limits: Limits) -> Iterator[str]:
    """Paths of the regular files that may be ELF files, each file once; folders that can't be read go into ``contents``."""
    top = os.path.realpath(root)
    seen: set[tuple[int, int]] = set()
    count, folders = 0, [""]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name)  # noqa: PTH118  (names of any bytes, quickly)
        except OSError as error:
            if not folder:
                raise UnreadableInput(f"it can't be opened: {error.strerror}", hint="check the path and its permissions") from error
            contents.unreadable.append((folder, f"the folder can't be opened: {error.strerror}"))
            continue
        below = []
        for entry in entries:
            status = _status(entry, top)
            if status is None or (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            count += 1
            if count > limits.tree_files:
                raise UnreadableInput(f"{count} or more files; {over(limits, 'tree-files')}", hint="name a folder further down")
            name = f"{folder}/{entry.name}" if folder else entry.name
            if stat.S_ISDIR(status.st_mode):
                below.append(name)
            elif stat.S_ISREG(status.st_mode) and status.st_size >= SMALLEST:
                yield name
        folders += reversed(below)


def _status(entry: os.DirEntry[str], top: str) -> os.stat_result | None:
    """What an entry is; None where it can't be told, or where a link leads outside."""
    try:
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if real != top and not real.startswith(top.rstrip(os.sep) + os.sep):
                return None
        return entry.stat()
    except OSError:
        # A link that leads nowhere, or round in a circle.
        return None


def _read(root: Path, name: str, contents: Contents, limits: Limits) -> SharedObject | None:
    try:
        with open_regular(root / name) as file:
            if not is_elf(file.read(4)):
                return None
            return read_shared_object(FileSource(file), limits)
    except UnreadableInput as error:
        contents.unreadable.append((name, error.message))
    except OSError as error:
        contents.unreadable.append((name, f"it can't be read: {error.strerror}"))
    return None


def _find_definers(root: Path, contents: Contents, limits: Limits) -> None:
    """Look the foreign TLS variables up in the tree's other modules."""
    wanted = contents.foreign_names()
    for name, facts in contents.modules if wanted else ():
        if facts.kind == "shared" and facts.tls_segment is not None:
            try:
                with open_regular(root / name) as file:
                    found = defined_tls(FileSource(file), wanted, limits)
            except (UnreadableInput, OSError, MalformedElf):
                continue
            for symbol in found:
                contents.definers.setdefault(symbol, name)
