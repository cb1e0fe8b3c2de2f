"""From members' bytes to facts: what is in one wheel, or in one bare file."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tls_wheel_guard.archive import Archive, Member, format_of, name_says_no_elf, open_archive
from tls_wheel_guard.archive.magic import PEEK
from tls_wheel_guard.elf import Linkage, SharedObject, defined_tls, linkage, read_shared_object
from tls_wheel_guard.errors import MalformedElf, UnreadableInput, UnreadableMember
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

__all__ = ["Contents", "FileSource", "exporters", "exports_of", "inspect_file", "is_wheel", "linkage_of", "open_regular"]


@dataclass(slots=True)
class Contents:
    """What a wheel holds. ``tags`` is empty for a bare file. ``unreadable``: (path, reason). ``is_archive``: no bare file. ``is_tree``: a folder.

    ``definers``: name of a foreign TLS variable -> path of the module in the wheel that defines it.
    """

    name: str
    tags: tuple[str, ...] = ()
    is_archive: bool = False
    modules: list[tuple[str, SharedObject]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    not_applicable: dict[str, int] = field(default_factory=dict)
    nested: list[str] = field(default_factory=list)
    definers: dict[str, str] = field(default_factory=dict)
    is_tree: bool = False

    def foreign_names(self) -> set[str]:
        """Names of thread-local variables that shared modules reach by initial-exec and that another module must define."""
        return {
            symbol.name
            for _, facts in self.modules
            if facts.kind == "shared"
            for symbol, _ in facts.initial_exec.foreign_symbols
            if symbol.version != "GLIBC_PRIVATE"
        }


class FileSource:
    """A file on disk as an ``elf.Source``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MalformedElf(f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise MalformedElf(f"it ends after {offset + len(data)} of {self.size} bytes")
        return data


def exports_of(path: Path, contents: Contents, wanted: set[str]) -> dict[str, set[str]]:
    """Which of some thread-local variables each shared object of a file that was inspected defines; raises UnreadableInput."""
    definers = [name for name, facts in contents.modules if facts.kind == "shared" and facts.tls_segment is not None]
    if not wanted or not definers:
        return {}
    file = open_regular(path)
    if not contents.is_archive:
        with file:
            return {definers[0]: defined_tls(FileSource(file), wanted)}
    with open_archive(file) as archive:
        members: dict[str, Member] = {}
        for member in archive.members():
            members.setdefault(member.name, member)
        return {name: defined_tls(archive.source(members[name]), wanted) for name in definers}


def linkage_of(path: Path, names: Iterable[str]) -> Linkage:
    """What a bare shared object defines of ``names``, and what it lacks; raises UnreadableInput."""
    with open_regular(path) as file:
        return linkage(FileSource(file), names)


def inspect_file(path: Path, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """The contents of a wheel or of a bare ELF file, told apart by their bytes; raises UnreadableInput."""
    file = open_regular(path)
    first = file.read(PEEK)
    kind = format_of(first)
    if _is_archive(first, path):
        with open_archive(file, limits) as archive:
            return _inspect_archive(archive, path.name, limits)
    with file:
        if kind == "elf":
            contents = Contents(path.name)
            try:
                contents.modules.append((str(path), read_shared_object(FileSource(file), limits)))
            except MalformedElf as error:
                contents.unreadable.append((str(path), error.message))
            return contents
    if kind == "other":
        raise UnreadableInput("it is neither a wheel nor an ELF file", hint="give wheels, shared objects, or folders of wheels")
    return Contents(path.name, not_applicable={kind: 1})


def _is_archive(first: bytes, path: Path) -> bool:
    return first[:2] == b"PK" or path.suffix == ".whl"


def is_wheel(path: Path) -> bool:
    """Whether a file is taken for a wheel: by its first bytes, or by its name; raises UnreadableInput."""
    with open_regular(path) as file:
        return _is_archive(file.read(2), path)


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def open_regular(path: Path) -> IO[bytes]:
    """A regular file, opened to be read; raises UnreadableInput."""
    try:
        # A FIFO would block for ever, a device never end; looked at before it is opened, and again in case it was exchanged.
        if stat.S_ISREG(path.stat().st_mode):
            handle = os.open(path, os.O_RDONLY | _FLAGS)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.fdopen(handle, "rb")
            os.close(handle)
        raise UnreadableInput("it is not a regular file", hint="give wheels, shared objects, or folders of wheels")
    except OSError as error:
        raise UnreadableInput(f"it can't be opened: {error.strerror or error}", hint="check the path and its permissions") from error


def wheel_tags(name: str) -> tuple[str, ...]:
    """The tags in a wheel's file name, expanded (PEP 425); empty where it is no wheel's name (PEP 427)."""
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or len(parts) not in (5, 6) or not all(parts):
        return ()
    return tuple("-".join(combination) for combination in itertools.product(*(part.split(".") for part in parts[-3:])))


def _inspect_archive(archive: Archive, name: str, limits: Limits) -> Contents:
    contents = Contents(name, wheel_tags(name) or _tags_in_metadata(archive), is_archive=True)
    read: list[tuple[Member, SharedObject]] = []
    for member in archive.members():
        facts = _inspect_member(archive, member, contents, limits)
        if facts is not None:
            contents.modules.append((member.name, facts))
            read.append((member, facts))
    _find_definers(archive, read, contents, limits)
    return contents


def _tags_in_metadata(archive: Archive) -> tuple[str, ...]:
    try:
        text = archive.text("WHEEL") or ""
    except (UnreadableMember, MalformedElf):
        return ()
    return tuple(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("Tag:"))


def _inspect_member(archive: Archive, member: Member, contents: Contents, limits: Limits) -> SharedObject | None:
    """The facts of an ELF member; what else there is to say of a member goes into ``contents``."""
    try:
        first = archive.peek(member, PEEK)
    except UnreadableMember as error:
        if not name_says_no_elf(member.name):
            contents.unreadable.append((member.name, error.message))
        return None
    kind = format_of(first, member.name)
    if kind == "archive":
        contents.nested.append(member.name)
    elif kind in ("mach-o", "pe", "wasm"):
        contents.not_applicable[kind] = contents.not_applicable.get(kind, 0) + 1
    elif kind == "elf":
        try:
            source = archive.source(member)
            facts = read_shared_object(source, limits)
            source.finish()
        except (MalformedElf, UnreadableMember) as error:
            contents.unreadable.append((member.name, error.message))
        else:
            return facts
    return None


def _find_definers(archive: Archive, read: list[tuple[Member, SharedObject]], contents: Contents, limits: Limits) -> None:
    """Look foreign TLS variables up in the wheel's other modules; most wheels have none, and nothing is read again."""
    wanted = contents.foreign_names()
    if not wanted:
        return
    for member, facts in read:
        if facts.kind == "shared" and facts.tls_segment is not None:
            try:
                found = defined_tls(archive.source(member), wanted, limits)
            except (MalformedElf, UnreadableMember):
                continue
            for name in found:
                contents.definers.setdefault(name, member.name)


def exporters(path: Path, modules: frozenset[str], functions: frozenset[str]) -> set[str]:
    """Those of some modules, by their paths in a wheel or as bare files, that export all of some functions."""
    if not is_wheel(path):
        with open_regular(path) as file:
            return {name for name in modules if linkage(FileSource(file), functions).defined >= functions}
    found = set()
    with open_archive(open_regular(path)) as archive:
        for member in archive.members():
            if member.name in modules and linkage(archive.source(member), functions).defined >= functions:
                found.add(member.name)
    return found
