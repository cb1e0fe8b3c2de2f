"""Other systems, one row each. Read from their sources, not measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tls_wheel_guard.loaders.link_map import Event, Step
from tls_wheel_guard.loaders.simple import FINE, Asked, State, step_by
from tls_wheel_guard.loaders.verdict import Outcome
from tls_wheel_guard.platforms import Libc, Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["ROWS", "Row", "fresh_state", "judge", "stepper"]


@dataclass(frozen=True, slots=True)
class Row:
    """How a loader treats a late module with initial-exec TLS.

    ``extra``: bytes that it keeps for all late modules; None where that is not known. ``refuses_initialised``: a block with
    initialised data (p_filesz > 0) is refused whatever its size. ``acts_on_flag``: DF_STATIC_TLS alone takes room.
    ``refuses_segments``: any late TLS segment is refused. ``words``: its message, ``{file}`` the module.
    """

    source: str
    extra: int | None
    words: str
    words_initialised: str | None = None
    acts_on_flag: bool = False
    refuses_segments: bool = False


ROWS: dict[Libc, Row] = {
    "netbsd": Row(
        "NetBSD libexec/ld.elf_so/tls.c:_rtld_tls_offset_allocate, RTLD_STATIC_TLS_RESERVATION",
        64,
        "{file}: No space available for static Thread Local Storage",
        words_initialised="{file}: Use of initialized Thread Local Storage with model initial-exec and dlopen is not supported",
    ),
    "openbsd": Row(
        "OpenBSD libexec/ld.so/library.c:_dl_tryload_shlib",
        0,
        "unsupported TLS program header in {file}",
        refuses_segments=True,
    ),
    "illumos": Row(
        "illumos cmd/sgs/rtld/common/tls.c:tls_assign, TLS_STATIC_RESRV",
        512,
        "{file}: static TLS failure",
        words_initialised="{file}: static TLS failure",
        acts_on_flag=True,
    ),
    "dragonfly": Row(
        "DragonFly libexec/rtld-elf/rtld.c:allocate_tls_offset",
        2048,
        "{file}: No space available for static Thread Local Storage",
    ),
    "haiku": Row("Haiku src/system/runtime_loader", None, "{file}: TLS"),
}


def judge(demand: TlsDemand, target: Target) -> Outcome:
    """The verdict on one module by the row of the target's system; ``unknown`` where there is none."""
    row = ROWS.get(target.libc)
    if row is None:
        return Outcome("unknown")
    if row.refuses_segments and demand.block_size:
        return Outcome("never", taken=demand.block_size, error=row.words.format(file=demand.name), room=row.extra)
    by_flag = row.acts_on_flag and demand.flagged and demand.block_size > 0
    if not demand.needs_static and not by_flag:
        return Outcome("always")
    if row.extra is None:
        return Outcome("unknown", taken=demand.block_size)
    taken = demand.block_size if demand.own_static or by_flag else 0
    if row.words_initialised and taken and demand.initialised:
        return Outcome("never", taken=taken, error=row.words_initialised.format(file=demand.name), room=row.extra)
    return Outcome("never" if taken > row.extra else "if-room", taken=taken, error=row.words.format(file=demand.name), room=row.extra)


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
                return Step(False, error=row.words.format(file=demand.name))
            return _place(row, asked.state, demand) if row.acts_on_flag and demand.flagged else FINE
        if asked.definer is None:
            return FINE if access.weak else Step(False, error=f"{demand.name}: undefined symbol {access.symbol}")
        return _place(row, asked.state, asked.definer.demand) if access.kind == "TPOFF" else FINE

    return lambda state, event: step_by(answer, state, event)


def _place(row: Row, state: State, demand: TlsDemand) -> Step:
    if row.words_initialised and demand.initialised:
        return Step(False, error=row.words_initialised.format(file=demand.name))
    align = max(demand.block_align, 1)
    taken = -(-(state.used + demand.block_size) // align) * align - state.used
    if row.extra is not None and state.used + taken > row.extra:
        return Step(False, error=row.words.format(file=demand.name))
    return Step(True, taken)
