"""From members' bytes to facts: what is in one wheel, or in one bare file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tls_wheel_guard.archive import Archive, Member, format_of, name_says_no_elf, open_archive
from tls_wheel_guard.archive.magic import PEEK
from tls_wheel_guard.elf import Linkage, SharedObject, Source, defined_tls, linkage, read_shared_object
from tls_wheel_guard.errors import MalformedElf, UnreadableInput, UnreadableMember
from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.files import FileSource, open_regular
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

__all__ = ["exporters", "exports_of", "inspect_file", "is_wheel", "linkage_of", "opened_modules"]


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


@contextmanager
def opened_modules(
    path: Path, contents: Contents, wanted: list[tuple[str, SharedObject]], limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[Iterator[tuple[str, SharedObject, Source]], Archive | None]]:
    """The bytes of some modules of a file that was inspected, one after another, and the wheel that they are in."""
    if contents.is_tree:
        yield _in_tree(path, wanted), None
        return
    file = open_regular(path)
    if not contents.is_archive:
        with file:
            yield ((name, facts, FileSource(file)) for name, facts in wanted), None
        return
    with open_archive(file, limits) as archive:
        members: dict[str, Member] = {}
        for member in archive.members():
            members.setdefault(member.name, member)
        yield ((name, facts, archive.source(members[name])) for name, facts in wanted if name in members), archive


def _in_tree(root: Path, wanted: list[tuple[str, SharedObject]]) -> Iterator[tuple[str, SharedObject, Source]]:
    """Modules below a folder; one that has gone since is left out."""
    for name, facts in wanted:
        try:
            file = open_regular(root / name)
        except UnreadableInput:
            continue
        with file:
            yield name, facts, FileSource(file)
