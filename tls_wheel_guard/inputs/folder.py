"""Every ELF file below a folder: site-packages, the root that a distribution's package is made from.

Links are followed, once each and never to the outside. A file with several names is read once, under the first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tls_wheel_guard.elf import SharedObject, Source, is_elf, read_shared_object
from tls_wheel_guard.errors import InputReadError, MalformedElf, UnreadableInput, UnreadableMember, reason_of
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.inputs.files import FileSource, open_regular
from tls_wheel_guard.inputs.opened import OpenInput, is_repaired
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["OpenFolder"]

SMALLEST = 52
"""Bytes of the smallest ELF header."""


class OpenFolder(OpenInput):
    """The ELF files below a folder, by their paths from it, sorted. No file stays open."""

    def __init__(self, root: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(str(root), root.name or str(root), limits)
        self.root = root

    def _inspect(self) -> Contents:
        contents = Contents(self.name, is_tree=True)
        for index, name in enumerate(sorted(self._files(contents))):
            self.on_file(name)
            try:
                found = self._read(name)
            except (UnreadableMember, MalformedElf) as error:
                contents.unreadable.append((name, error.message))
            else:
                if found is not None:
                    contents.modules.append(InputModule(name, found[0], index, found[1]))
        return contents

    def _read(self, name: str) -> tuple[SharedObject, bool] | None:
        """The facts of an ELF file, and whether it was repaired; None for other files."""
        with self._opened(name) as source:
            if not is_elf(source.read(0, min(4, source.size))):
                return None
            facts = read_shared_object(source, self.limits)
            return facts, is_repaired(facts, source)

    @contextmanager
    def _opened(self, name: str) -> Iterator[Source]:
        """One file; what the system says of it is said of a member, so that it does not hide the others."""
        try:
            with open_regular(self.root / name) as file:
                yield FileSource(file)
        except (UnreadableMember, MalformedElf):
            raise
        except UnreadableInput as error:
            raise UnreadableMember(error.message) from error

    @contextmanager
    def open_module(self, module: InputModule) -> Iterator[Source]:
        """The file's bytes; raises UnreadableMember where it has gone since."""
        with self._opened(module.name) as source:
            yield source

    def pieces(self) -> Iterator[bytes]:
        """A folder has no bytes of its own."""
        raise UnreadableInput("it is a folder", hint="give a file")

    def close(self) -> None:
        """Nothing is open."""

    def _files(self, contents: Contents) -> Iterator[str]:
        """Paths of the regular files that may be ELF files, each file once; folders that can't be read go into ``contents``."""
        top = os.path.realpath(self.root)
        seen: set[object] = set()
        folders, count = [""], 0
        while folders:
            folder = folders.pop()
            below = []
            entries = self._entries(folder, count, contents)
            count += len(entries)
            for entry in entries:
                status = _status(entry, top)
                if status is None or (identity := _identity(entry, status)) in seen:
                    continue
                seen.add(identity)
                name = f"{folder}/{entry.name}" if folder else entry.name
                if stat.S_ISDIR(status.st_mode):
                    below.append(name)
                elif stat.S_ISREG(status.st_mode) and status.st_size >= SMALLEST:
                    yield name
            folders += reversed(below)

    def _entries(self, folder: str, count: int, contents: Contents) -> list[os.DirEntry[str]]:
        """What a folder holds, sorted; ``count``: entries of the folders before it. Raises UnreadableInput at the limit."""
        found: list[os.DirEntry[str]] = []
        try:
            with os.scandir(os.path.join(self.root, folder)) as entries:  # noqa: PTH118  (names of any bytes, quickly)
                for entry in entries:
                    found.append(entry)
                    if count + len(found) > self.limits.tree_files:
                        raise UnreadableInput(
                            f"{count + len(found)} or more files; {over(self.limits, 'tree-files')}", hint="name a folder further down"
                        )
        except OSError as error:
            if not folder:
                raise InputReadError.of(error, doing="opened") from error
            contents.unreadable.append((folder, f"the folder can't be opened: {reason_of(error)}"))
        return sorted(found, key=lambda entry: entry.name)


def _identity(entry: os.DirEntry[str], status: os.stat_result) -> object:
    """What two names of one file have in common. Windows fills in no inode while it lists a folder; it is asked for each file."""
    if not status.st_ino:
        try:
            status = os.stat(entry.path)  # noqa: PTH116  (any spelling of a path)
        except OSError:
            return os.path.realpath(entry.path)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(entry.path)


def _status(entry: os.DirEntry[str], top: str) -> os.stat_result | None:
    """What an entry is; None where it can't be told, or where a link leads outside."""
    try:
        if entry.is_symlink():
            # Windows knows no upper and lower case.
            real, inside = os.path.normcase(os.path.realpath(entry.path)), os.path.normcase(top)
            if real != inside and not real.startswith(inside.rstrip(os.sep) + os.sep):
                return None
        return entry.stat()
    except OSError:
        # A link that leads nowhere, or round in a circle.
        return None
