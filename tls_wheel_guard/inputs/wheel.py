"""A wheel, open: its members by index, its WHEEL file, its bills of materials."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, get_args

from tls_wheel_guard.archive import Format, Member, format_of, name_says_no_elf, open_archive
from tls_wheel_guard.archive.magic import PEEK
from tls_wheel_guard.archive.metadata import WheelFile, read_wheel_file
from tls_wheel_guard.elf import Source, read_shared_object
from tls_wheel_guard.errors import MalformedElf, UnreadableMember
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.inputs.files import file_pieces
from tls_wheel_guard.inputs.opened import OpenInput, is_repaired
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.records import dataclass

__all__ = ["OpenWheel", "wheel_tags"]

MAX_SBOM = 64 << 20
"""Bytes of one bill of materials that is read."""
MAX_SBOMS = 64

SIDE_BY_SIDE_FROM = 256 << 10
"""Compressed bytes of an ELF member from which threads read it beside others. In small ones they would mostly wait for the GIL."""
THREADS_PAY_FROM = 1 << 20
"""The same of all large members together: with less, threads cost more than they save."""
MOST_THREADS = 4
"""Each may keep 16 MB of a member at a time."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found of one member: an ELF module, why it can't be read, or what format it has."""

    kind: Format = "other"
    unreadable: str | None = None
    module: InputModule | None = None


_OF_FORMAT: dict[Format, _Look] = {kind: _Look(kind) for kind in get_args(Format)}
"""Most members are told by their format alone."""


class OpenWheel(OpenInput):
    """An open wheel. ``archive``: its zip. ``threads``: how many may read it at a time.

    ``file`` belongs to the wheel from here on. ``only``: places in the directory of the members that are inspected; of a wheel that was
    fetched in part the others' bytes may be missing.
    """

    def __init__(
        self,
        file: IO[bytes],
        path: str,
        name: str,
        limits: Limits = DEFAULT_LIMITS,
        threads: int = 1,
        only: Collection[int] | None = None,
    ) -> None:
        super().__init__(path, name, limits)
        self.threads = threads
        self.archive = open_archive(file, limits)
        self._only = only

    @functools.cached_property
    def members(self) -> dict[int, Member]:
        """All files, by their places in the zip's directory."""
        return {member.index: member for member in self.archive.members()}

    @functools.cached_property
    def _inspected(self) -> list[Member]:
        """The files that are looked at, in directory order."""
        return [member for index, member in self.members.items() if self._only is None or index in self._only]

    @functools.cached_property
    def wheel_file(self) -> WheelFile:
        """What its WHEEL file says; nothing where it can't be read."""
        return read_wheel_file(self.archive)

    @property
    def generator(self) -> str | None:
        """WHEEL's Generator."""
        return self.wheel_file.generator

    def bills_of_materials(self) -> Iterator[bytes]:
        """The documents in ``*.dist-info/sboms``, those that can't be read left out."""
        found = (m for m in self.members.values() if ".dist-info/sboms/" in m.name and m.name.endswith(".json") and m.size <= MAX_SBOM)
        for member in itertools.islice(found, MAX_SBOMS):
            try:
                yield self.archive.source(member).read(0, member.size)
            except (MalformedElf, UnreadableMember):
                continue

    @contextmanager
    def open_module(self, module: InputModule) -> Iterator[Source]:
        """The member's bytes, inflated again from its start."""
        yield self.archive.source(self.members[module.index])

    def _inspect(self) -> Contents:
        contents = Contents(self.name, wheel_tags(self.name) or self.wheel_file.tags, is_archive=True)
        for member, found in zip(self._inspected, self._looks(), strict=True):
            if found.module is not None:
                contents.modules.append(found.module)
            elif found.unreadable is not None:
                contents.unreadable.append((member.name, found.unreadable))
            elif found.kind == "archive":
                contents.nested.append(member.name)
            elif found.kind in ("mach-o", "pe", "wasm"):
                contents.not_applicable[found.kind] = contents.not_applicable.get(found.kind, 0) + 1
        return contents

    def _looks(self) -> list[_Look]:
        """What each member is, in directory order. Large members are read side by side, the largest first, beside the others."""
        members = self._inspected
        sizes = [self.archive.packed_size(member) for member in members]
        large = [place for place, size in enumerate(sizes) if size >= SIDE_BY_SIDE_FROM] if self.threads > 1 else []
        if len(large) < 2 or sum(sizes[place] for place in large) < THREADS_PAY_FROM:
            return [self._look_at(member) for member in members]
        from tls_wheel_guard.inputs.side_by_side import side_by_side  # noqa: PLC0415  (most wheels have no two large members)

        large.sort(key=lambda place: -sizes[place])
        apart = set(large)
        small = [place for place in range(len(members)) if place not in apart]
        readers = min(self.threads, MOST_THREADS, len(large))
        self.archive.threaded = True
        found = side_by_side(lambda place: self._look_at(members[place]), large, small, readers)
        return [found[place] for place in range(len(members))]

    def _look_at(self, member: Member) -> _Look:
        """What a member is; an ELF member with its facts, or why it can't be read."""
        look = self._peek_at(member)
        return self._read(member) if look.kind == "elf" else look

    def _peek_at(self, member: Member) -> _Look:
        """A member's format by its first bytes."""
        try:
            return _OF_FORMAT[format_of(self.archive.peek(member, PEEK), member.name)]
        except UnreadableMember as error:
            return _Look() if name_says_no_elf(member.name) else _Look(unreadable=error.message)

    def _read(self, member: Member) -> _Look:
        """An ELF member with its facts, or why it can't be read."""
        try:
            source = self.archive.source(member)
            facts = read_shared_object(source, self.limits)
            repaired = is_repaired(facts, source)
            source.finish()
        except (MalformedElf, UnreadableMember) as error:
            return _Look(unreadable=error.message)
        return _Look(module=InputModule(member.name, facts, member.index, repaired))

    def pieces(self) -> Iterator[bytes]:
        """All bytes of the file."""
        return file_pieces(self.archive.file)

    def close(self) -> None:
        """Close the file."""
        self.archive.close()


def wheel_tags(name: str) -> tuple[str, ...]:
    """The tags in a wheel's file name, expanded (PEP 425); empty where it is no wheel's name (PEP 427)."""
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or len(parts) not in (5, 6) or not all(parts):
        return ()
    return tuple("-".join(combination) for combination in itertools.product(*(part.split(".") for part in parts[-3:])))
