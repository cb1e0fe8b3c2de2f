"""What loaders without an exact block have in common: each module and each access is asked about once, in load order.

For musl and Android, which keep no room, and for the systems that are a row in a table.
"""

from __future__ import annotations

from collections.abc import Callable

from tls_wheel_guard.loaders.link_map import (
    Close,
    Event,
    LinkMapEntry,
    Open,
    Step,
    Table,
    Use,
    definer_of,
    dependencies,
    global_scope,
    make_global,
    still_used,
)
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.tls import Access, TlsModule

__all__ = ["FINE", "Asked", "State", "step_by"]


@dataclass(frozen=True, slots=True)
class State:
    """A process. ``used`` and ``limit``: bytes of static TLS for late modules; None where the loader keeps none.

    ``placed``: paths of the modules that have their place.
    """

    version: tuple[int, ...] | None
    machine: str
    limit: int | None = None
    used: int = 0
    loaded: tuple[LinkMapEntry, ...] = ()
    placed: frozenset[str] = frozenset()
    ended: bool = False

    @property
    def room(self) -> int:
        """Bytes left; 0 where the loader keeps none."""
        return max((self.limit or 0) - self.used, 0)

    def without_room(self) -> State:
        """The same process after others have taken all of it."""
        return replace(self, used=self.limit or 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: may this module, or this access of it, come in?

    ``definer``: whose variable it is, None where nobody here defines it; ``assumed``: then it is taken to be another late library's.
    """

    state: State
    module: TlsModule
    access: Access | None = None
    definer: TlsModule | None = None
    assumed: bool = False


FINE = Step(True)


def step_by(
    answer: Callable[[Asked], Step], state: State, event: Event, *, unloads: bool = True, by_soname: bool = True, plt_first: bool = False
) -> tuple[State, Step]:
    """One event. ``answer`` gives a Step a question: not ``loads`` refuses the dlopen, and without ``error`` the process has crashed.

    ``unloads``: whether dlclose does anything; ``by_soname``: as for ``dependencies``; ``plt_first``: whether DT_JMPREL is relocated first.
    """
    if state.ended:
        return state, Step(False, unsafe="the process has ended")
    table: Table = {loaded.module.path: loaded for loaded in state.loaded}
    if isinstance(event, Open):
        return _open(answer, state, table, event, by_soname, plt_first)
    known = table.get(event.module.path)
    if known is None or not known.opens:
        return state, Step(False, error=f"{event.module.name}: not open", reason="other")
    if isinstance(event, Use) and event.module.path not in state.placed and event.module.demand.block_size:
        table[event.module.path] = replace(known, dynamic=True)
    if isinstance(event, Close) and unloads:
        table[event.module.path] = replace(known, opens=known.opens - 1)
        kept = still_used(table)
        table = {path: row for path, row in table.items() if path in kept}
    return replace(state, loaded=tuple(table.values())), FINE


def _open(answer: Callable[[Asked], Step], state: State, table: Table, event: Open, by_soname: bool, plt_first: bool) -> tuple[State, Step]:
    listed = dependencies(event.module, table, event.given, by_soname=by_soname)
    found = listed.modules
    new = [module for path, module in found.items() if path not in table]
    for path, module in found.items():
        listed.enter(table, path, LinkMapEntry(module, listed.needs[path]))
        table[path] = replace(table[path], stays=table[path].stays or module.nodelete)
    root = table[event.module.path]
    table[event.module.path] = replace(root, opens=root.opens + 1, closure=tuple(found))
    after, total = state, Step(True, missing=listed.missing if event.assumes else ())
    scope = (*global_scope(table), *found.values())
    for module in new:
        for access in (None, *sorted(module.accesses, key=lambda access: plt_first and not access.in_plt)):
            definer = definer_of(access, module, scope) if access else module
            if definer is not None and definer.path in after.placed:
                continue
            assumed = access is not None and definer is None and event.assumes and not access.weak
            reply = answer(Asked(after, module, access, definer, assumed))
            total = _both(total, reply, (access.symbol or "",) if access and assumed else ())
            if not reply.loads:
                return replace(state, ended=reply.error is None and reply.unsafe is not None), total
            if reply.taken and definer is not None:
                after = replace(after, used=after.used + reply.taken, placed=after.placed | {definer.path})
    if event.is_global:
        make_global(table, found)
    return replace(after, loaded=tuple(table.values())), total


def _both(before: Step, reply: Step, assumed: tuple[str, ...]) -> Step:
    """What one dlopen has answered so far, and one more answer. What a refused one took comes back."""
    asked = before.asked if reply.asked is None else (before.asked or 0) + reply.asked
    taken = before.taken + reply.taken if reply.loads else 0
    unsafe = before.unsafe or reply.unsafe if reply.loads else reply.unsafe
    return replace(reply, taken=taken, unsafe=unsafe, asked=asked, assumed=(*before.assumed, *assumed), missing=before.missing)
