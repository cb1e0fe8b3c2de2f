"""What happens to a process, and what its loaders have in common: which modules are there, what a name finds.

A loader is a pure function ``step(state, event) -> (state, Step)``; a simulation is a fold over it. What is here follows the gABI
("Shared Object Dependencies": breadth first), which all loaders keep.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable

from tls_wheel_guard.loaders.refusals import Reason
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.tls import Access, TlsModule

__all__ = [
    "POINTS_AT_NOTHING",
    "Block",
    "Close",
    "Event",
    "Given",
    "LinkMapEntry",
    "Open",
    "SearchList",
    "Step",
    "Table",
    "Use",
    "definer_of",
    "dependencies",
    "global_scope",
    "make_global",
    "still_used",
    "there_from_the_start",
]

POINTS_AT_NOTHING = "the distance that is written points at nothing of its own"
"""What is unsafe about initial-exec for one's own variable without a TLS segment, where the loader lets it pass."""


class Given:
    """Modules that a loader can find by the names in DT_NEEDED: by file name, else by SONAME.

    Of several with a name that one counts to which the search path of the module that needs it leads, then the nearest, then the first.
    """

    __slots__ = ("_by_name", "_by_soname", "modules")

    def __init__(self, modules: Iterable[TlsModule] = ()) -> None:
        self.modules = tuple(modules)
        self._by_name: dict[str, list[TlsModule]] = {}
        self._by_soname: dict[str, list[TlsModule]] = {}
        for module in self.modules:
            self._by_name.setdefault(module.name, []).append(module)
            if module.soname:
                self._by_soname.setdefault(module.soname, []).append(module)

    def find(self, name: str, user: TlsModule | None = None) -> TlsModule | None:
        """The module that a name means to ``user``."""
        named = self._by_name.get(name) or self._by_soname.get(name)
        if named is None or len(named) == 1 or user is None:
            return named[0] if named else None
        origin = _folder(user.path)
        for folder in user.search_path:
            wanted = posixpath.normpath(folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))
            if (found := next((module for module in named if _folder(module.path) == wanted), None)) is not None:
                return found
        return max(named, key=lambda module: _shared_parts(_folder(module.path), origin))


def _folder(path: str) -> str:
    """A module's folder; a wheel is a folder too."""
    return posixpath.normpath(posixpath.dirname(path.replace(".whl:", ".whl/", 1)))


def _shared_parts(one: str, other: str) -> int:
    """How many folders two paths have in common."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


@dataclass(frozen=True, slots=True)
class Open:
    """dlopen of a module with RTLD_NOW, and RTLD_LOCAL as import and ctypes do.

    ``given``: where DT_NEEDED names are looked for. ``is_global``: with RTLD_GLOBAL, so that what comes later sees its names, and those of
    what it needs. ``assumes``: whether a variable that nobody here defines is taken to be another late library's that was not given.
    """

    module: TlsModule
    given: Given
    assumes: bool = False
    is_global: bool = False


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
    of the variables that were taken to be another library's; ``missing``: of the libraries that are needed and were not given.
    """

    loads: bool
    taken: int = 0
    error: str | None = None
    unsafe: str | None = None
    reason: Reason | None = None
    asked: int | None = None
    by_descriptors: int = 0
    assumed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


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
    start, and names are looked up in it first. ``dynamic``: reached by dynamic access before it had a place. ``global_at``: its place
    among those that RTLD_GLOBAL has put into the global scope, None where it is not there. ``unique``: its STB_GNU_UNIQUE names that hold
    for the whole process. ``tls_id``: its number among the modules with TLS, 0 where it has none. ``names``: under which it is found.
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
    global_at: int | None = None
    unique: frozenset[str] = frozenset()
    tls_id: int = 0
    names: frozenset[str] = frozenset()

    @property
    def order(self) -> tuple[str, ...]:
        """Itself and what it keeps alive: all that its closure has once it was opened itself, else its DT_NEEDED."""
        return self.closure if self.closure is not None else (self.module.path, *self.needs)


Table = dict[str, LinkMapEntry]
"""Late modules by path, in the order in which they were mapped."""


@dataclass(frozen=True, slots=True)
class SearchList:
    """What a module brings. ``modules``: itself first, then breadth first, by path; ``needs``: each one's direct needs among them.

    ``names``: under which each is found from now on, whatever its path. ``missing``: names in DT_NEEDED that mean nothing here.
    """

    modules: dict[str, TlsModule]
    needs: dict[str, tuple[str, ...]]
    names: dict[str, frozenset[str]]
    missing: tuple[str, ...]

    def enter(self, table: Table, path: str, row: LinkMapEntry) -> None:
        """Put a module into the table, or let the one that is there learn its names."""
        known = table.get(path, row)
        table[path] = known if self.names[path] <= known.names else replace(known, names=known.names | self.names[path])


def dependencies(root: TlsModule, table: Table, given: Given, *, by_soname: bool = True) -> SearchList:
    """What a module brings with it.

    A name means what is there already under that name: its SONAME, or a name by which it was needed; else what is given.
    ``by_soname``: False for musl, which knows only the latter.
    """
    there: dict[str, TlsModule] = {}
    for row in table.values():
        for name in row.names:
            there.setdefault(name, row.module)
    listed = SearchList({root.path: root}, {}, {}, ())
    missing: dict[str, None] = {}
    learned: dict[str, set[str]] = {}

    def learn(module: TlsModule, *names: str | None) -> None:
        for name in names:
            if name:
                there.setdefault(name, module)
                learned.setdefault(module.path, set()).add(name)

    learn(root, root.soname if by_soname else None)
    queue = [root]
    for module in queue:
        paths = []
        for name in module.needed:
            other = there.get(name) or given.find(name, module)
            if other is None:
                missing[name] = None
                continue
            learn(other, name, other.soname if by_soname else None)
            paths.append(other.path)
            if other.path not in listed.modules:
                listed.modules[other.path] = other
                queue.append(other)
        listed.needs[module.path] = tuple(paths)
    listed.names.update((path, frozenset(learned.get(path, ()))) for path in listed.modules)
    return replace(listed, missing=tuple(missing))


def there_from_the_start(module: TlsModule, needs: tuple[str, ...] = ()) -> LinkMapEntry:
    """A module of the start-up set: it has its place, is seen by all, and never leaves."""
    names = frozenset(name for name in (module.soname, module.name) if name)
    return LinkMapEntry(module, needs, relocated=True, stays=True, at_start=True, block=Block(0, 0), names=names)


def global_scope(table: Table) -> list[TlsModule]:
    """The global scope: what was there from the start, then what RTLD_GLOBAL has added, in the order in which it did."""
    added = sorted((row for row in table.values() if row.global_at is not None), key=lambda row: row.global_at or 0)
    return [*(row.module for row in table.values() if row.at_start), *(row.module for row in added)]


def make_global(table: Table, paths: Iterable[str]) -> None:
    """Add modules to the end of the global scope, those that are not there yet."""
    place = max((row.global_at for row in table.values() if row.global_at is not None), default=0)
    for path in paths:
        row = table[path]
        if row.global_at is None and not row.at_start:
            place += 1
            table[path] = replace(row, global_at=place)


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
