"""A shared object as a loader meets it in the middle of a process: what it asks, what it needs, what it gives to others."""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.elf.relocations import RelocKind
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls.demand import TlsDemand, demand_of, is_libc_variable

__all__ = ["Access", "TlsModule", "UniqueNames", "names_asked", "tls_module"]


@dataclass(frozen=True, slots=True)
class Access:
    """One kind of access to one variable. ``symbol``: the name that is looked up, None for the module's own block.

    ``weak``: the load goes on when no module defines it. ``version``: the symbol version asked for. ``by_libc``: a variable of
    glibc itself, which is there from the start. ``defined``: the module defines the name itself, and others may do so before it;
    ``unique``: as STB_GNU_UNIQUE, of which a process of glibc has one. ``in_plt``: its relocation is in DT_JMPREL.
    """

    kind: RelocKind
    symbol: str | None = None
    weak: bool = False
    version: str | None = None
    by_libc: bool = False
    defined: bool = False
    unique: bool = False
    in_plt: bool = False


@dataclass(frozen=True, slots=True)
class TlsModule:
    """One shared object that is opened late. ``path`` tells it from others.

    ``accesses``: in the order of its relocations, each once. ``exports``: thread-local variables that others may bind to.
    ``nodelete``: it stays when it is closed. ``tls_optimised``: PowerPC's linkers asked for direct access where there is room.
    ``search_path``: folders of DT_RUNPATH or DT_RPATH, as written.
    ``descriptors_in_plt``: its descriptors are in DT_JMPREL. ``markers``: versions of libc.so.6 without symbols that it needs, such as
    GLIBC_ABI_GNU2_TLS. ``calls_that_keep``: descriptor calls over which its code keeps vector registers, as far as that was looked at.
    """

    demand: TlsDemand
    soname: str | None = None
    needed: tuple[str, ...] = ()
    accesses: tuple[Access, ...] = ()
    exports: frozenset[str] = frozenset()
    nodelete: bool = False
    tls_optimised: bool = False
    search_path: tuple[str, ...] = ()
    descriptors_in_plt: bool = False
    markers: tuple[str, ...] = ()
    calls_that_keep: int = 0

    @property
    def path(self) -> str:
        """Where it was found: its identity."""
        return self.demand.module

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.demand.name


class UniqueNames:
    """The names that modules define and use as STB_GNU_UNIQUE, gathered once: one may reach thousands of variables."""

    def __init__(self) -> None:
        # The module is kept beside its names, so that no other gets its identity.
        self._known: dict[int, tuple[TlsModule, frozenset[str | None]]] = {}

    def of(self, module: TlsModule) -> frozenset[str | None]:
        """The names of one module."""
        if id(module) not in self._known:
            self._known[id(module)] = module, frozenset(access.symbol for access in module.accesses if access.unique)
        return self._known[id(module)][1]


def names_asked(module: SharedObject) -> set[str]:
    """Names of thread-local variables that a loader looks up for the module."""
    return {access.symbol.name for access in module.accesses if access.symbol is not None and not access.own}


def tls_module(module: SharedObject, path: str, exports: Iterable[str] = (), demand: TlsDemand | None = None) -> TlsModule:
    """The module as a loader meets it. ``exports``: those of the names that matter here which it defines."""
    accesses = tuple(
        Access(access.kind, in_plt=access.in_plt)
        if access.symbol is None or access.own
        else Access(
            access.kind,
            access.symbol.name,
            access.symbol.weak,
            access.symbol.version,
            not access.symbol.defined and is_libc_variable(access.symbol),
            access.symbol.defined,
            access.symbol.defined and access.symbol.unique,
            access.in_plt,
        )
        for access in module.accesses
    )
    return TlsModule(
        demand=demand or demand_of(module, path),
        soname=module.soname,
        needed=module.needed,
        accesses=tuple(dict.fromkeys(accesses)),
        exports=frozenset(exports),
        nodelete=module.nodelete,
        tls_optimised=module.tls_optimised,
        search_path=module.search_path,
        descriptors_in_plt=module.dynamic.descriptors_in_plt,
        markers=module.markers,
    )
