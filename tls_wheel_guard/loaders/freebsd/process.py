"""A FreeBSD process, step by step: dlopen, dlclose, and the first dynamic access.

Follows libexec/rtld-elf/rtld.c:dlopen_object, relocate_object_dag, unload_object and the machines' reloc.c. Read from the source, not
measured here.

Room is taken for the opened file when it has DF_STATIC_TLS, before its dependencies are loaded; else by relocations, in load order: the
opened file before what it needs.
"""

from __future__ import annotations

from dataclasses import replace

from tls_wheel_guard.loaders.freebsd.block import NO_SPACE, State, allocate, free
from tls_wheel_guard.loaders.link_map import (
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
    still_used,
)
from tls_wheel_guard.tls import Access, TlsModule

__all__ = ["step"]

OVERLAPS = "the loader places it over memory that another module uses"
KNOWS_DESCRIPTORS_ON_X86 = (16,)
FORGETS_DYNAMIC_USE = (14,)
"""From here on a module that was reached dynamically can't become static."""
TLSDESC_NUMBERS = {"x86_64": 36, "i386": 41}


class _Refused(Exception):  # noqa: N818  (the loader's answer)
    """The loader's words."""


def step(state: State, event: Event) -> tuple[State, Step]:
    """What the process is after an event, and what the loader answered."""
    run = _Run(state)
    if isinstance(event, Open):
        return run.open(event)
    if isinstance(event, Close):
        return run.close(event.module)
    return run.use(event.module)


class _Run:
    """One step in work."""

    def __init__(self, state: State) -> None:
        self.state, self._before = state, state.used
        self.table: Table = {loaded.module.path: loaded for loaded in state.loaded}
        self._placed_over = False

    def _done(self, loads: bool, error: str | None = None) -> tuple[State, Step]:
        state = replace(self.state, loaded=tuple(self.table.values()))
        return state, Step(loads, state.used - self._before, error, OVERLAPS if self._placed_over else None)

    def open(self, event: Open) -> tuple[State, Step]:
        root = event.module
        known = self.table.setdefault(root.path, LinkMapEntry(root))
        self.table[root.path] = replace(known, opens=known.opens + 1)
        try:
            if not known.relocated and root.demand.flagged:
                self._make_static(root, root)
            found, needs = dependencies(root, self.table, event.given)
            for path, module in found.items():
                row = self.table.setdefault(path, LinkMapEntry(module))
                self.table[path] = replace(row, needs=needs[path])
            self.table[root.path] = replace(self.table[root.path], closure=tuple(found))
            scope = (*global_scope(self.table), *found.values())
            for path, module in found.items():
                if not self.table[path].relocated:
                    self._relocate(module, scope)
                    self.table[path] = replace(self.table[path], relocated=True)
        except _Refused as refusal:
            self._let_go(root.path)
            return self._done(False, str(refusal))
        for path in found:
            row = self.table[path]
            self.table[path] = replace(row, stays=row.stays or row.module.nodelete)
        return self._done(True)

    def close(self, module: TlsModule) -> tuple[State, Step]:
        known = self.table.get(module.path)
        if known is None or not known.opens:
            return self._done(False, "Invalid shared object handle")
        self._let_go(module.path)
        return self._done(True)

    def use(self, module: TlsModule) -> tuple[State, Step]:
        known = self.table.get(module.path)
        if known is None:
            return self._done(False, "Invalid shared object handle")
        if known.block is None and module.demand.block_size:
            self.table[module.path] = replace(known, dynamic=True)
        return self._done(True)

    def _relocate(self, module: TlsModule, scope: tuple[TlsModule, ...]) -> None:
        for access in module.accesses:
            definer = definer_of(access, module, scope)
            if definer is None:
                # errno and its like are functions here: no name of glibc's is there either.
                if not access.weak:
                    raise _Refused(f'{module.name}: Undefined symbol "{access.symbol}"')
            elif self._asks(module, access):
                self._make_static(definer, module)
            elif access.kind == "TLSDESC" and module.demand.machine in TLSDESC_NUMBERS and self.state.rules < KNOWS_DESCRIPTORS_ON_X86:
                raise _Refused(f"Unknown relocation type {TLSDESC_NUMBERS[module.demand.machine]:x} in PLT")

    def _asks(self, module: TlsModule, access: Access) -> bool:
        # riscv/reloc.c up to 14 treats R_RISCV_TLS_DTPREL64 as R_RISCV_TLS_TPREL64.
        return access.kind == "TPOFF" or (access.kind == "DTPOFF" and module.demand.machine == "riscv64" and self.state.rules < (15,))

    def _make_static(self, definer: TlsModule, asking: TlsModule) -> None:
        row = self.table[definer.path]
        if row.block is not None:
            return
        refused = row.dynamic and self.state.rules >= FORGETS_DYNAMIC_USE
        placed = None if refused else allocate(self.state, definer.demand)
        if placed is None:
            raise _Refused(f"{asking.name}: {NO_SPACE}")
        self._placed_over |= self.state.overlaps and definer.demand.block_size > 0
        self.state, end = placed
        self.table[definer.path] = replace(row, block=Block(end - definer.demand.block_size, end))

    def _let_go(self, path: str) -> None:
        """Drop one opening; unload in load order what no opened module reaches."""
        row = self.table[path]
        self.table[path] = replace(row, opens=row.opens - 1)
        kept = still_used(self.table)
        for gone in [p for p in self.table if p not in kept]:
            leaving = self.table.pop(gone)
            if leaving.block is not None:
                self.state = free(self.state, leaving.module.demand, leaving.block.end)
