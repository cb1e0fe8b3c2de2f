"""An input that is open: a wheel, a bare file, a folder. Both passes, the list of access sites, marking and repair use the same one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

from tls_wheel_guard.elf import Linkage, SharedObject, Source, defined_tls, linkage
from tls_wheel_guard.elf.section_headers import read_sections
from tls_wheel_guard.errors import MalformedElf, UnreadableMember
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

__all__ = ["OpenInput", "is_repaired"]

_Found = TypeVar("_Found")


def is_repaired(facts: SharedObject, source: Source) -> bool:
    """Whether a module has the sections that `repair` adds; asked while its end is still at hand, where section headers lie."""
    if facts.kind != "shared" or not facts.dynamic.tlsdesc or not facts.has_section_headers:
        return False
    from tls_wheel_guard.repair.section_table import BSS_SECTION, TEXT_SECTION  # noqa: PLC0415  (most wheels have no such module)

    return any(section.name in (TEXT_SECTION, BSS_SECTION) for section in read_sections(source))


class OpenInput(ABC):
    """One open input, with the limits that it was opened with. ``path``: as it was given; ``name``: without its folder."""

    on_file: Callable[[str], None] = staticmethod(lambda _: None)
    """Is told of each file of a folder before it is read."""

    def __init__(self, path: str, name: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.path = path
        self.name = name
        self.limits = limits
        self._contents: Contents | None = None

    @property
    def contents(self) -> Contents:
        """The facts of everything in it, read on the first use; raises UnreadableInput."""
        if self._contents is None:
            contents = self._inspect()
            self._find_definers(contents)
            self._contents = contents
        return self._contents

    @abstractmethod
    def _inspect(self) -> Contents:
        """Read everything once."""

    @abstractmethod
    def open_module(self, module: InputModule) -> AbstractContextManager[Source]:
        """A module's bytes, for a second look; raises UnreadableMember, MalformedElf or InputReadError, here or while they are read."""

    @abstractmethod
    def pieces(self) -> Iterator[bytes]:
        """All bytes of its file, to be copied; raises InputReadError."""

    @abstractmethod
    def close(self) -> None:
        """Close its file."""

    @property
    def generator(self) -> str | None:
        """Who made a wheel, by its WHEEL file; None where it does not say or is no wheel."""
        return None

    def bills_of_materials(self) -> Iterator[bytes]:
        """The JSON documents in a wheel's ``*.dist-info/sboms`` folder (PEP 770); none where it is no wheel."""
        return iter(())

    def look(self, module: InputModule, question: Callable[[Source], _Found]) -> _Found | None:
        """The answer to a question about a module's bytes; None where what it asks for is damaged. Raises InputReadError."""
        try:
            with self.open_module(module) as source:
                return question(source)
        except (MalformedElf, UnreadableMember):
            return None

    def exports(self, wanted: Collection[str]) -> dict[int, set[str]]:
        """Index of each shared module with a TLS segment -> those of some thread-local variables that it defines; raises UnreadableInput."""
        found = {}
        for module in self.contents.definitions if wanted else ():
            with self.open_module(module) as source:
                found[module.index] = defined_tls(source, wanted, self.limits)
        return found

    def linkage_of(self, module: InputModule, names: Collection[str]) -> Linkage:
        """Which of some symbols of any type a module defines, and all that it lacks; raises UnreadableInput."""
        with self.open_module(module) as source:
            return linkage(source, names, self.limits)

    def exporters(self, functions: frozenset[str], among: Callable[[InputModule], bool]) -> list[InputModule]:
        """Those shared modules, of the ones that ``among`` chooses, that export all of some functions; damaged ones are left out."""

        def exports_all(source: Source) -> bool:
            return linkage(source, functions, self.limits).defined >= functions

        chosen = (module for module in self.contents.modules if module.is_shared and among(module))
        return [module for module in chosen if self.look(module, exports_all)]

    def _find_definers(self, contents: Contents) -> None:
        """Look foreign TLS variables up in the input's other modules; most inputs have none, and nothing is read again."""
        wanted = contents.foreign_names() if len(contents.modules) > 1 else ()
        for module in contents.definitions if wanted else ():
            for name in self.look(module, lambda source: defined_tls(source, wanted, self.limits)) or ():
                contents.definers.setdefault(name, module.index)

    def __enter__(self) -> OpenInput:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
