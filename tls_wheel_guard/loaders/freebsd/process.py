"""A FreeBSD process, step by step: dlopen, dlclose, and the first dynamic access.

Follows libexec/rtld-elf/rtld.c:dlopen_object, relocate_object_dag, unload_object and the machines' reloc.c. Read from the source, not
measured here.

Room is taken for the opened file when it has DF_STATIC_TLS, before its dependencies are loaded; else by relocations, in load order: the
opened file before what it needs.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.descriptors import descriptors_refused
from tls_wheel_guard.loaders.freebsd.block import State, allocate, free
from tls_wheel_guard.loaders.link_map import (
    POINTS_AT_NOTHING,
    Block,
    Close,
    Event,
    LinkMapEntry,
    Open,
    Step,
    Table,
    definer_of,
    dependencies,
    global_scope,
    make_global,
    still_used,
)
from tls_wheel_guard.loaders.refusals import NO_SPACE, Reason, Refused
from tls_wheel_guard.records import replace
from tls_wheel_guard.tls import Access, TlsModule

__all__ = ["step"]

OVERLAPS = "the loader places it over memory that another module uses"
DIVIDES_BY_ZERO = "the loader divides by the segment's alignment, which is 0"
FORGETS_DYNAMIC_USE = (14,)
"""From here on a module that was reached dynamically can't become static."""


def step(state: State, event: Event) -> tuple[State, Step]:
    """What the process is after an event, and what the loader answered."""
    if state.ended:
        return state, Step(False, unsafe="the process has ended")
    run = _Run(state)
    if isinstance(event, Open):
        return run.open(event)
    if isinstance(event, Close):
        return run.close(event.module)
    return run.use(event.module)


class _Crashed(Exception):  # noqa: N818
    """The process is gone."""


class _Run:
    """One step in work."""

    def __init__(self, state: State) -> None:
        self.state, self._before = state, state.used
        self.table: Table = {loaded.module.path: loaded for loaded in state.loaded}
        self._unsafe: str | None = None
        self._asked: int | None = None
        self._assumed: list[str] = []
        self._missing: tuple[str, ...] = ()

    def _done(self, loads: bool, error: str | None = None, reason: Reason | None = None) -> tuple[State, Step]:
        state = replace(self.state, loaded=tuple(self.table.values()))
        return state, Step(loads, state.used - self._before, error, self._unsafe, reason, self._asked, 0, tuple(self._assumed), self._missing)

    def open(self, event: Open) -> tuple[State, Step]:
        root = event.module
        known = self.table.setdefault(root.path, LinkMapEntry(root))
        self.table[root.path] = replace(known, opens=known.opens + 1)
        try:
            if not known.relocated and root.demand.flagged and root.demand.block_size:
                self._make_static(root, root)
            listed = dependencies(root, self.table, event.given)
            found, self._missing = listed.modules, listed.missing if event.assumes else ()
            for path, module in found.items():
                listed.enter(self.table, path, LinkMapEntry(module))
                self.table[path] = replace(self.table[path], needs=listed.needs[path])
            self.table[root.path] = replace(self.table[root.path], closure=tuple(found))
            scope = (*global_scope(self.table), *found.values())
            for path, module in found.items():
                if not self.table[path].relocated:
                    self._relocate(module, scope, event.assumes)
                    self.table[path] = replace(self.table[path], relocated=True)
        except Refused as refusal:
            self._let_go(root.path)
            return self._done(False, str(refusal), refusal.reason)
        except _Crashed:
            self.state, self._unsafe = replace(self.state, ended=True), DIVIDES_BY_ZERO
            return self._done(False)
        for path in found:
            row = self.table[path]
            self.table[path] = replace(row, stays=row.stays or row.module.nodelete)
        if event.is_global:
            make_global(self.table, found)
        return self._done(True)

    def close(self, module: TlsModule) -> tuple[State, Step]:
        known = self.table.get(module.path)
        if known is None or not known.opens:
            return self._done(False, "Invalid shared object handle", "other")
        self._let_go(module.path)
        return self._done(True)

    def use(self, module: TlsModule) -> tuple[State, Step]:
        known = self.table.get(module.path)
        if known is None:
            return self._done(False, "Invalid shared object handle", "other")
        if known.block is None and module.demand.block_size:
            self.table[module.path] = replace(known, dynamic=True)
        return self._done(True)

    def _relocate(self, module: TlsModule, scope: tuple[TlsModule, ...], assumes: bool) -> None:
        for access in module.accesses:
            definer = definer_of(access, module, scope)
            if definer is None and not self._assumed_there(module, access, assumes):
                continue
            if access.kind == "TLSDESC" and (words := descriptors_refused("freebsd", self.state.rules, module)):
                raise Refused(words, "descriptors")
            if not self._asks(module, access):
                continue
            if definer is None:
                self._asked = self._asked or 0
            else:
                self._make_static(definer, module)

    def _assumed_there(self, module: TlsModule, access: Access, assumes: bool) -> bool:
        # errno and its like are functions here: no name of glibc's is there either.
        if access.weak:
            return False
        if not assumes:
            raise Refused(f'{module.name}: Undefined symbol "{access.symbol}"', "undefined")
        self._assumed.append(access.symbol or "")
        return True

    def _asks(self, module: TlsModule, access: Access) -> bool:
        # riscv/reloc.c up to 14 treats R_RISCV_TLS_DTPREL64 as R_RISCV_TLS_TPREL64.
        return access.kind == "TPOFF" or (access.kind == "DTPOFF" and module.demand.machine == "riscv64" and self.state.rules < (15,))

    def _make_static(self, definer: TlsModule, asking: TlsModule) -> None:
        row, demand = self.table[definer.path], definer.demand
        if row.block is not None:
            return
        if demand.block_size and not demand.block_align:
            raise _Crashed
        refused = row.dynamic and self.state.rules >= FORGETS_DYNAMIC_USE
        placed = None if refused else allocate(self.state, demand)
        if placed is None:
            self._asked = (self._asked or 0) + demand.block_size
            raise Refused(NO_SPACE.says(asking=asking.name), "dynamic" if refused else "room")
        if demand.block_size:
            self._asked = (self._asked or 0) + placed[1] - self.state.used
            self._unsafe = OVERLAPS if self.state.overlaps else self._unsafe
        elif definer is asking:
            self._unsafe = POINTS_AT_NOTHING
        self.state, end = placed
        self.table[definer.path] = replace(row, block=Block(end - demand.block_size, end))

    def _let_go(self, path: str) -> None:
        """Drop one opening; unload in load order what no opened module reaches."""
        row = self.table[path]
        self.table[path] = replace(row, opens=row.opens - 1)
        kept = still_used(self.table)
        for gone in [p for p in self.table if p not in kept]:
            leaving = self.table.pop(gone)
            if leaving.block is not None:
                self.state = free(self.state, leaving.module.demand, leaving.block.end)
