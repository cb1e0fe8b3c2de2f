"""Other systems, one row each. Read from their sources, not measured."""

from __future__ import annotations

from collections.abc import Callable

from tls_wheel_guard.loaders.descriptors import descriptors_refused
from tls_wheel_guard.loaders.link_map import POINTS_AT_NOTHING, Event, Step
from tls_wheel_guard.loaders.refusals import INITIALISED, NO_SPACE, SEGMENT, STATIC_FAILURE, Refusal
from tls_wheel_guard.loaders.simple import FINE, Asked, State, step_by
from tls_wheel_guard.platforms import Libc
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsDemand

__all__ = ["ROWS", "Row", "fresh_state", "stepper"]

JUMPS_INTO_NOTHING = "the loader takes the descriptor for a function's address, and the first access jumps into nothing"


@dataclass(frozen=True, slots=True)
class Row:
    """How a loader treats a late module with initial-exec TLS.

    ``default``: the release that counts where none is named. ``extra``: bytes that it keeps for all late modules. ``refusal``: its words.
    ``initialised``: its words for a block with initialised data (p_filesz > 0), where it refuses one whatever its size.
    ``acts_on_flag``: DF_STATIC_TLS alone takes room. ``refuses_segments``: any late TLS segment is refused. ``refuses_dynamic``: a
    module that was used dynamically can't get a place.
    """

    source: str
    default: tuple[int, ...]
    extra: int
    refusal: Refusal
    initialised: Refusal | None = None
    acts_on_flag: bool = False
    refuses_segments: bool = False
    refuses_dynamic: bool = False


ROWS: dict[Libc, Row] = {
    "netbsd": Row(
        "NetBSD libexec/ld.elf_so/tls.c 1.34 (2026-07-22):_rtld_tls_offset_allocate, RTLD_STATIC_TLS_RESERVATION; the same in 1.14.8.2",
        (10,),
        64,
        NO_SPACE,
        initialised=INITIALISED,
        refuses_dynamic=True,
    ),
    "openbsd": Row(
        "OpenBSD libexec/ld.so/library.c:_dl_tryload_shlib",
        (7, 7),
        0,
        SEGMENT,
        refuses_segments=True,
    ),
    "illumos": Row(
        "illumos cmd/sgs/rtld/common/tls.c:tls_assign, TLS_STATIC_RESRV",
        (5, 11),
        512,
        STATIC_FAILURE,
        initialised=STATIC_FAILURE,
        acts_on_flag=True,
    ),
    "dragonfly": Row(
        "DragonFly libexec/rtld-elf/rtld.c:allocate_tls_offset",
        (6, 4),
        2048,
        NO_SPACE,
    ),
}


def fresh_state(libc: Libc, version: tuple[int, ...] | None, machine: str) -> State:
    """A process of a system that has a row."""
    return State(version, machine, ROWS[libc].extra)


def stepper(libc: Libc) -> Callable[[State, Event], tuple[State, Step]]:
    """The step of a system that has a row: blocks are added up, aligned; none comes back."""
    row = ROWS[libc]

    def answer(asked: Asked) -> Step:
        demand, access = asked.module.demand, asked.access
        if access is None:
            if row.refuses_segments and demand.block_size:
                return Step(False, error=row.refusal.says(asking=demand.name), reason="segment", asked=demand.block_size)
            return _place(row, asked.state, demand) if row.acts_on_flag and demand.flagged and demand.block_size else FINE
        if asked.definer is None and not asked.assumed:
            return FINE if access.weak else Step(False, error=f"{demand.name}: undefined symbol {access.symbol}", reason="undefined")
        if access.kind != "TPOFF":
            return _descriptor(libc, asked) if access.kind == "TLSDESC" else FINE
        if asked.definer is None:
            return Step(True, asked=0)
        if row.refuses_dynamic and any(r.dynamic and r.module.path == asked.definer.path for r in asked.state.loaded):
            return Step(False, error=f"{demand.name}: (no message)", reason="dynamic", asked=asked.definer.demand.block_size)
        return _place(row, asked.state, asked.definer.demand)

    return lambda state, event: step_by(answer, state, event)


def _descriptor(libc: Libc, asked: Asked) -> Step:
    words = descriptors_refused(libc, asked.state.version, asked.module)
    if words is None:
        return FINE
    if libc == "netbsd" and asked.module.descriptors_in_plt:
        # Only an assertion looks at the type there: the entry is taken for a function's.
        return Step(True, unsafe=JUMPS_INTO_NOTHING)
    return Step(False, error=words, reason="descriptors")


def _place(row: Row, state: State, demand: TlsDemand) -> Step:
    if not demand.block_size:
        return Step(True, asked=0, unsafe=POINTS_AT_NOTHING)
    if row.initialised and demand.initialised:
        return Step(False, error=row.initialised.says(asking=demand.name), reason="initialised", asked=demand.block_size)
    align = max(demand.block_align, 1)
    taken = -(-(state.used + demand.block_size) // align) * align - state.used
    if state.limit is not None and state.used + taken > state.limit:
        return Step(False, error=row.refusal.says(asking=demand.name), reason="room", asked=demand.block_size)
    return Step(True, taken, asked=taken)
