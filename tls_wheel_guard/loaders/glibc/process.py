"""A glibc process, step by step: dlopen, dlclose, and the first dynamic access.

Follows elf/dl-open.c:dl_open_worker_begin, elf/dl-deps.c:_dl_map_object_deps, elf/dl-reloc.c, elf/dl-close.c:_dl_close_worker and
sysdeps/*/dl-machine.h, 2.5 to 2.43. Proved by random sequences against the real loader: benchmarks/truth.py, docs/loaders.md.

Room is taken while relocating: dependencies before their users, relocation by relocation. The first that needs a module's block to
be static takes room for the whole block. A dlopen that fails unloads what it had mapped, by the same rules as dlclose.
DF_STATIC_TLS is ignored since 2.3.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from tls_wheel_guard.loaders.descriptors import LOSES_REGISTERS, descriptors_refused, loses_registers, version_refused
from tls_wheel_guard.loaders.glibc.block import State, allocate, give_back
from tls_wheel_guard.loaders.glibc.lookup import undefined_words, unique_names
from tls_wheel_guard.loaders.glibc.order import SEARCHES_DEPTH_FIRST, sorted_maps
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
    make_global,
    still_used,
)
from tls_wheel_guard.loaders.refusals import NO_MORE_STATIC, NO_ROOM, Reason, Refused
from tls_wheel_guard.records import replace
from tls_wheel_guard.tls import Access, TlsModule, UniqueNames

__all__ = ["step"]

PUTS_CLOSED_FIRST = (2, 39)
"""The version since which the module that was closed comes first when modules are unloaded (elf/dl-close.c)."""
GROWS_DTV_SINCE, DTV_SURPLUS = (2, 22), 14
"""Before this version a static module with a higher TLS id is refused in a process with threads (f8aeae3473)."""
DIVIDES_BY_ZERO = "Floating point exception: the loader divides by the segment's alignment, which is 0"
OVERWRITES = "the loader puts the next module's block over the C library's own variables"


class _Crashed(Exception):  # noqa: N818
    """The process is gone."""


def step(state: State, event: Event) -> tuple[State, Step]:
    """What the process is after an event, and what the loader answered."""
    if state.ended:
        return state, Step(False, error=None, unsafe="the process has ended")
    run = _Run(state)
    if isinstance(event, Open):
        return run.open(event)
    if isinstance(event, Close):
        return run.close(event.module)
    return run.use(event.module)


class _Run:
    """One step in work: the state's numbers and a table of late modules that may change until it is done."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.table: Table = {loaded.module.path: loaded for loaded in state.loaded}
        self.unsafe: str | None = None
        self._before = state.used
        self._asked: int | None = None
        self._by_descriptors: dict[str, int] = {}
        self._assumed: list[str] = []
        self._missing: tuple[str, ...] = ()
        self._unique = unique_names(self.table)
        self._defined_unique = UniqueNames()
        self._held: dict[str, set[str]] = {}
        self._never_leave: set[str] = set()
        self._relocated_before = {path for path, row in self.table.items() if row.relocated}

    def _done(self, loads: bool, error: str | None = None, reason: Reason | None = None, *, ended: bool = False) -> tuple[State, Step]:
        for path, names in self._held.items():
            # A set for each name would be built anew for each name: a module may have very many.
            if path in self.table:
                self._change(path, unique=self.table[path].unique | names)
        state = replace(self.state, loaded=tuple(self.table.values()), ended=ended)
        taken, optional = state.used - self._before, sum(self._by_descriptors.values())
        return state, Step(loads, taken, error, self.unsafe, reason, self._asked, optional, tuple(self._assumed), self._missing)

    def _change(self, path: str, **fields: object) -> None:
        self.table[path] = replace(self.table[path], **fields)  # type: ignore[arg-type]

    def open(self, event: Open) -> tuple[State, Step]:
        root = event.module
        known = self.table.get(root.path)
        if known is not None and known.closure is not None:
            self._change(root.path, opens=known.opens + 1)
            if event.is_global:
                make_global(self.table, dependencies(root, self.table, event.given).modules)
            return self._done(True)
        listed = dependencies(root, self.table, event.given)
        found, self._missing = listed.modules, listed.missing if event.assumes else ()
        scope = [*global_scope(self.table), *found.values()]
        for path, module in found.items():
            listed.enter(self.table, path, LinkMapEntry(module, listed.needs[path], tls_id=self._next_tls_id(path, module)))
        # The root has no list of its own yet, unless it came before as what another one needs.
        links = {path: loaded.order if path != root.path or known else () for path, loaded in self.table.items()}
        order = sorted_maps(list(found), links, self.state.version, first=True)
        self._change(root.path, opens=self.table[root.path].opens + 1, closure=tuple(order))
        try:
            self._check_versions(found.values())
            self._relocate_all(self._relocation_order(order), scope, event.assumes)
            self._check_tls_ids(found)
        except Refused as refusal:
            self._let_go(root.path)
            return self._done(False, str(refusal), refusal.reason)
        except _Crashed as crash:
            self.unsafe = str(crash)
            return self._done(False, ended=True)
        for path in (*(path for path in order if self.table[path].module.nodelete), *self._never_leave):
            self._change(path, stays=True)
        if event.is_global:
            make_global(self.table, found)
        lost = any(self._may_be_slow(path) for path in order)
        self.unsafe = self.unsafe or (LOSES_REGISTERS if lost else None)
        return self._done(True, reason="registers" if lost else None)

    def _check_versions(self, modules: Iterable[TlsModule]) -> None:
        """_dl_check_map_versions: before anything is relocated."""
        for module in modules:
            if not self.table[module.path].relocated and (words := version_refused(self.state.version, module)):
                raise Refused(words, "version")

    def _may_be_slow(self, path: str) -> bool:
        """Whether a thread's first descriptor call of a module runs C code that takes away registers which the module keeps."""
        row = self.table[path]
        return row.block is None and loses_registers(self.state.version, row.module)

    def close(self, module: TlsModule) -> tuple[State, Step]:
        known = self.table.get(module.path)
        if known is None or not known.opens:
            return self._done(False, f"{module.name}: shared object not open", "other")
        if not module.nodelete:
            self._let_go(module.path)
        return self._done(True)

    def use(self, module: TlsModule) -> tuple[State, Step]:
        """tls_get_addr_tail: a module without a place becomes dynamic, for as long as it is there."""
        known = self.table.get(module.path)
        if known is None:
            return self._done(False, f"{module.name}: shared object not open", "other")
        if known.block is None and module.demand.block_size:
            self._change(module.path, dynamic=True)
        return self._done(True)

    def _relocation_order(self, order: list[str]) -> list[str]:
        """dl_open_worker up to 2.34 sorts what is not relocated once more, the root among the others, which matters where it is in a circle."""
        if self.state.version >= SEARCHES_DEPTH_FIRST:
            return order
        new = [path for path, row in self.table.items() if not row.relocated]
        return sorted_maps(new, {path: self.table[path].order for path in new}, self.state.version, first=False)

    def _relocate_all(self, order: Sequence[str], scope: Sequence[TlsModule], assumes: bool) -> None:
        for path in reversed(order):
            if not self.table[path].relocated:
                self._relocate(self.table[path].module, scope, assumes)
                self._change(path, relocated=True)

    def _relocate(self, module: TlsModule, scope: Sequence[TlsModule], assumes: bool) -> None:
        for access in module.accesses:
            if access.by_libc:
                continue
            definer = self._only_one(access, definer_of(access, module, scope))
            # The name is looked up first, and found even where nobody defines it: elf_machine_type_class does not know the type as one of
            # TLS, and check_match then takes the module's own undefined symbol for a definition.
            if access.kind == "TLSDESC":
                self._knows_descriptors(module)
            if definer is None:
                self._undefined(module, access, assumes)
                continue
            self._bind(module, definer)
            if access.kind == "TPOFF":
                self._make_static(definer)
            elif access.kind == "TLSDESC" or (access.kind == "DTPMOD" and module.tls_optimised and self.state.version >= (2, 22)):
                self._try_static(definer)

    def _only_one(self, access: Access, definer: TlsModule | None) -> TlsModule | None:
        """do_lookup_unique: the first definition of an STB_GNU_UNIQUE name holds for the process, and its module never leaves."""
        name = access.symbol
        if name is None or definer is None or name not in self._defined_unique.of(definer):
            return definer
        path = self._unique.setdefault(name, definer.path)
        self._held.setdefault(path, set()).add(name)
        row = self.table[path]
        if not row.at_start:
            self._never_leave.add(path)
        return row.module

    def _next_tls_id(self, path: str, module: TlsModule) -> int:
        """_dl_next_tls_modid: the least number that is free; the start-up set has the first ones."""
        if not module.demand.block_size or path in self.table:
            return 0
        taken = {row.tls_id for row in self.table.values()}
        return next(number for number in itertools.count(self.state.start_tls_ids + 1) if number not in taken)

    def _check_tls_ids(self, found: Iterable[str]) -> None:
        """dl_open_worker up to 2.21: with threads there must be room in the DTV that each thread has already."""
        if self.state.version >= GROWS_DTV_SINCE or not self.state.threads:
            return
        for path in found:
            row = self.table[path]
            if path not in self._relocated_before and row.block is not None and row.tls_id > DTV_SURPLUS:
                raise Refused(NO_MORE_STATIC.says(), "slots")

    def _undefined(self, module: TlsModule, access: Access, assumes: bool) -> None:
        """A name that nobody here defines: of another library whose size is not known, or the loader's refusal."""
        if access.weak:
            return
        if not assumes:
            raise Refused(undefined_words(module, access), "undefined")
        self._assumed.append(access.symbol or "")
        if access.kind == "TPOFF":
            self._asked = self._asked or 0

    def _knows_descriptors(self, module: TlsModule) -> None:
        if words := descriptors_refused("glibc", self.state.version, module):
            raise Refused(words, "descriptors")

    def _bind(self, module: TlsModule, definer: TlsModule) -> None:
        row = self.table[module.path]
        if definer is not module and definer.path not in (*row.order, *row.bound):
            self._change(module.path, bound=(*row.bound, definer.path))

    def _make_static(self, definer: TlsModule) -> None:
        row, before, demand = self.table[definer.path], self.state.used, definer.demand
        if row.block is not None:
            if definer.path in self._by_descriptors:
                self._asked = (self._asked or 0) + self._by_descriptors.pop(definer.path)
            return
        if row.dynamic or not self._place(definer, optional=False):
            self._asked = (self._asked or 0) + demand.block_size + demand.first_byte
            reason: Reason = "dynamic" if row.dynamic else "alignment" if demand.block_align > self.state.align else "room"
            raise Refused(NO_ROOM.says(definer=definer.name), reason)
        self._asked = (self._asked or 0) + self.state.used - before

    def _try_static(self, definer: TlsModule) -> None:
        row, before = self.table[definer.path], self.state.used
        if row.block is None and not row.dynamic and self._place(definer, optional=True):
            self._by_descriptors[definer.path] = self.state.used - before

    def _place(self, module: TlsModule, *, optional: bool) -> bool:
        demand, before = module.demand, self.state.used
        if not demand.block_align or not demand.block_size:
            return self._place_nothing(module, optional)
        placed = allocate(self.state, demand, optional=optional)
        if placed is None:
            return False
        self.state = placed[0]
        # Variant II leaves the padding out of what comes back; variant I has it in since 2.14.
        whole = self.state.variant == 1 and self.state.version >= (2, 14)
        self._change(module.path, block=Block(before if whole else self.state.used - demand.block_size, self.state.used))
        return True

    def _place_nothing(self, module: TlsModule, optional: bool) -> bool:
        """A block without a usable segment: what the loader's arithmetic makes of it. p_memsz 0 counts as no segment at all."""
        demand, before = module.demand, self.state.used
        first = demand.first_byte if demand.block_size else 0
        if self.state.variant == 2:
            if self.state.room < first + demand.block_size:
                return False
            raise _Crashed(DIVIDES_BY_ZERO)
        end = first + demand.block_size
        wrapped = (end - before) % 2**64
        if end > self.state.limit or (optional and self.state.optional is not None and wrapped > self.state.optional):
            return False
        self.state = replace(self.state, used=end)
        self._change(module.path, block=Block(first, end))
        self.unsafe = OVERWRITES
        return True

    def _let_go(self, path: str) -> None:
        """_dl_close_worker: drop one opening, unload what nobody keeps, give room back."""
        self._change(path, opens=self.table[path].opens - 1)
        if self.table[path].opens:
            return
        kept = still_used(self.table)
        leaving = [self.table.pop(p) for p in self._closing_order(path, kept) if p not in kept]
        blocks = [row.block for row in leaving if row.block is not None and row.block.end > row.block.start]
        self.state = replace(self.state, used=give_back(self.state.used, blocks))

    def _closing_order(self, path: str, kept: set[str]) -> list[str]:
        paths = list(self.table)
        closed_first = self.state.version >= PUTS_CLOSED_FIRST
        if closed_first:
            paths.remove(path)
            paths.insert(0, path)
        links = {p: loaded.order for p, loaded in self.table.items()}
        bound = {p: loaded.bound for p, loaded in self.table.items()}
        return sorted_maps(paths, links, self.state.version, first=closed_first, bound=bound, kept=frozenset(kept))
