"""What an input holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from tls_wheel_guard.elf import SharedObject

__all__ = ["Contents"]


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
