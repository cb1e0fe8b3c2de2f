"""What happens to a process, and what its loaders have in common: which modules are there, what a name finds.

A loader is a pure function ``step(state, event) -> (state, Step)``; a simulation is a fold over it. What is here follows the gABI
("Shared Object Dependencies": breadth first), which all loaders keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tls_wheel_guard.loaders.refusals import Reason
from tls_wheel_guard.tls import Access, TlsModule

__all__ = [
    "POINTS_AT_NOTHING",
    "Block",
    "Close",
    "Event",
    "Given",
    "LinkMapEntry",
    "Open",
    "Step",
    "Table",
    "Use",
    "definer_of",
    "dependencies",
    "global_scope",
    "still_used",
    "there_from_the_start",
]

POINTS_AT_NOTHING = "the distance that is written points at nothing of its own"
"""What is unsafe about initial-exec for one's own variable without a TLS segment, where the loader lets it pass."""


class Given:
    """Modules that a loader can find by the names in DT_NEEDED: by file name, else by SONAME; the first of a name counts."""

    __slots__ = ("_by_name", "_by_soname", "modules")

    def __init__(self, modules: Iterable[TlsModule] = ()) -> None:
        self.modules = tuple(modules)
        self._by_name: dict[str, TlsModule] = {}
        self._by_soname: dict[str, TlsModule] = {}
        for module in self.modules:
            self._by_name.setdefault(module.name, module)
            if module.soname:
                self._by_soname.setdefault(module.soname, module)

    def find(self, name: str) -> TlsModule | None:
        """The module that a name means."""
        return self._by_name.get(name) or self._by_soname.get(name)


@dataclass(frozen=True, slots=True)
class Open:
    """dlopen of a module with RTLD_NOW and RTLD_LOCAL, as import and ctypes do. ``given``: where DT_NEEDED names are looked for.

    ``assumes``: whether a variable that nobody here defines is taken to be another late library's that was not given.
    """

    module: TlsModule
    given: Given
    assumes: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """dlclose of a module that was opened."""

    module: TlsModule


@dataclass(frozen=True, slots=True)
class Use:
    """The first access to a module's variables through __tls_get_addr (global- or local-dynamic code, or dlsym)."""

    module: TlsModule


Event = Open | Close | Use


@dataclass(frozen=True, slots=True)
class Step:
    """What a loader answers. ``taken``: bytes of room that went (below 0: came back). ``error``: its words, None when it loads.

    ``unsafe``: what happens in place of an answer, or after it: a crash, or memory that is overwritten. ``reason``: why it is refused.
    ``asked``: bytes of the blocks that had to be static, padding included, up to the one that was refused, which counts without; None
    where none had to be. ``by_descriptors``: bytes of ``taken`` that went to blocks which only descriptors ask for. ``assumed``: names
    of the variables that were taken to be another library's.
    """

    loads: bool
    taken: int = 0
    error: str | None = None
    unsafe: str | None = None
    reason: Reason | None = None
    asked: int | None = None
    by_descriptors: int = 0
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """What comes back of the static TLS block when a module is unloaded: from ``start`` to ``end``, as the loader counts offsets."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LinkMapEntry:
    """A late module that is there.

    ``needs``: paths of the late modules that its DT_NEEDED name, in order. ``opens``: how often it was opened itself and not yet
    closed. ``closure``: its own search list, once it was opened itself. ``bound``: modules that its relocations hold.
    ``relocated``: whether its relocations are done. ``stays``: it was opened and is never unloaded. ``at_start``: it was there from the
    start, and names are looked up in it first. ``dynamic``: reached by dynamic access before it had a place.
    """

    module: TlsModule
    needs: tuple[str, ...] = ()
    opens: int = 0
    closure: tuple[str, ...] | None = None
    bound: tuple[str, ...] = ()
    relocated: bool = False
    stays: bool = False
    at_start: bool = False
    block: Block | None = None
    dynamic: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        """Itself and what it keeps alive: all that its closure has once it was opened itself, else its DT_NEEDED."""
        return self.closure if self.closure is not None else (self.module.path, *self.needs)


Table = dict[str, LinkMapEntry]
"""Late modules by path, in the order in which they were mapped."""


def dependencies(root: TlsModule, table: Table, given: Given) -> tuple[dict[str, TlsModule], dict[str, tuple[str, ...]]]:
    """The root's search list, breadth first and itself first, and each one's direct needs among the late modules.

    A name means what is there already under that SONAME or file name, else what is given.
    """
    there: dict[str, TlsModule] = {}
    for module in (*(row.module for row in table.values()), root):
        _remember(there, module)
    found: dict[str, TlsModule] = {root.path: root}
    needs: dict[str, tuple[str, ...]] = {}
    queue = [root]
    for module in queue:
        paths = []
        for name in module.needed:
            other = there.get(name) or given.find(name)
            if other is None:
                continue
            paths.append(other.path)
            if other.path not in found:
                found[other.path] = other
                queue.append(other)
                _remember(there, other)
        needs[module.path] = tuple(paths)
    return found, needs


def _remember(there: dict[str, TlsModule], module: TlsModule) -> None:
    for name in (module.soname, module.name):
        if name:
            there.setdefault(name, module)


def there_from_the_start(module: TlsModule, needs: tuple[str, ...] = ()) -> LinkMapEntry:
    """A module of the start-up set: it has its place, is seen by all, and never leaves."""
    return LinkMapEntry(module, needs, relocated=True, stays=True, at_start=True, block=Block(0, 0))


def global_scope(table: Table) -> list[TlsModule]:
    """The global scope: what was there from the start."""
    return [row.module for row in table.values() if row.at_start]


def definer_of(access: Access, module: TlsModule, scope: Iterable[TlsModule]) -> TlsModule | None:
    """The late module whose variable an access reaches: its own, or the first in the scope that defines the name."""
    if access.symbol is None:
        return module
    return next((m for m in scope if access.symbol in m.exports or (access.defined and m.path == module.path)), None)


def still_used(table: Table) -> set[str]:
    """Paths of the modules that stay: opened themselves, marked so, or kept alive by one that stays."""
    alive: set[str] = set()
    waiting = [path for path, loaded in table.items() if loaded.opens > 0 or loaded.stays]
    while waiting:
        path = waiting.pop()
        if path not in alive and path in table:
            alive.add(path)
            waiting += [*table[path].order, *table[path].bound]
    return alive
