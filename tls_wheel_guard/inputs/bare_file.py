"""One bare ELF file, open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tls_wheel_guard.archive import format_of
from tls_wheel_guard.archive.magic import PEEK
from tls_wheel_guard.elf import Source, is_elf, read_shared_object
from tls_wheel_guard.errors import MalformedElf, UnreadableInput
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.inputs.files import FileSource, file_pieces, slashed
from tls_wheel_guard.inputs.opened import OpenInput, is_repaired
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

__all__ = ["OpenFile"]


SDISTS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
"""How sdists end: .tar.gz today (PEP 625), the others before."""


class OpenFile(OpenInput):
    """A bare file. Its one module has the path as it was given for a name."""

    def __init__(self, file: IO[bytes], path: str, name: str, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(path, name, limits)
        self.file = file

    @property
    def source(self) -> FileSource:
        """The file's bytes."""
        return FileSource(self.file)

    @property
    def is_elf(self) -> bool:
        """Whether its first bytes are those of an ELF file."""
        return is_elf(self.source.read(0, min(4, self.source.size)))

    def _inspect(self) -> Contents:
        self.file.seek(0)
        kind = format_of(self.file.read(PEEK))
        if kind == "other" and self.name.endswith(SDISTS):
            raise UnreadableInput("an sdist has no binaries to judge", hint="build it first: python -m build, or pip wheel FILE")
        if kind == "other":
            raise UnreadableInput("it is neither a wheel nor an ELF file", hint="give wheels, shared objects, or folders of wheels")
        if kind != "elf":
            return Contents(self.name, not_applicable={kind: 1})
        contents = Contents(self.name)
        try:
            facts = read_shared_object(self.source, self.limits)
            contents.modules.append(InputModule(slashed(self.path), facts, repaired=is_repaired(facts, self.source)))
        except MalformedElf as error:
            contents.unreadable.append((slashed(self.path), error.message))
        return contents

    @contextmanager
    def open_module(self, module: InputModule) -> Iterator[Source]:
        """The file's bytes; there is no other module."""
        del module
        yield self.source

    def pieces(self) -> Iterator[bytes]:
        """All bytes of the file."""
        return file_pieces(self.file)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
