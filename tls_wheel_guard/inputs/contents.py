"""What an input holds."""

from __future__ import annotations

from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.records import dataclass, field

__all__ = ["Contents", "InputModule"]


@dataclass(frozen=True, slots=True)
class InputModule:
    """One ELF file of an input. ``repaired``: it has the sections that `repair` adds.

    ``name``: its path in the wheel or from the folder, or the path of a bare file as it was given. ``index`` tells two members of one
    name apart: the place in the zip's directory, or the place among the input's files.
    """

    name: str
    facts: SharedObject
    index: int = 0
    repaired: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether dlopen opens it."""
        return self.facts.kind == "shared"


@dataclass(slots=True)
class Contents:
    """What an input holds. ``tags`` is empty for a bare file. ``is_archive``: a wheel. ``is_tree``: a folder.

    ``unreadable``: (path, reason). ``nested``: archives that were not entered.
    ``not_applicable``: formats without static TLS and how many files have them.
    ``definers``: name of a foreign TLS variable -> index of the module that defines it.
    """

    name: str
    tags: tuple[str, ...] = ()
    is_archive: bool = False
    modules: list[InputModule] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    not_applicable: dict[str, int] = field(default_factory=dict)
    nested: list[str] = field(default_factory=list)
    definers: dict[str, int] = field(default_factory=dict)
    is_tree: bool = False

    def foreign_names(self) -> set[str]:
        """Names of thread-local variables that shared modules reach by initial-exec and that another module must define."""
        return {
            symbol.name
            for module in self.modules
            if module.is_shared
            for symbol, _ in module.facts.initial_exec.foreign_symbols
            if symbol.version != "GLIBC_PRIVATE"
        }

    @property
    def initial_exec(self) -> list[InputModule]:
        """The shared modules with initial-exec relocations: those that are looked at a second time."""
        return [module for module in self.modules if module.is_shared and module.facts.initial_exec.count]

    @property
    def definitions(self) -> list[InputModule]:
        """The shared modules that may define thread-local variables."""
        return [module for module in self.modules if module.is_shared and module.facts.tls_segment is not None]
