"""The verdict on one module: what FreeBSD's loader does with it when it is the first that comes late."""

from __future__ import annotations

from tls_wheel_guard.loaders.freebsd.block import EXTRA, NO_SPACE
from tls_wheel_guard.loaders.verdict import Outcome
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand

__all__ = ["judge"]


def takes_by_flag(demand: TlsDemand) -> bool:
    """Whether room is taken though no initial-exec relocation asks: DF_STATIC_TLS on the opened file (dlopen_object)."""
    return demand.flagged and not demand.needs_static and demand.block_size > 0


def takes_by_dtprel(demand: TlsDemand, target: Target) -> bool:
    """On riscv up to 14 R_RISCV_TLS_DTPREL64 is treated as R_RISCV_TLS_TPREL64 (riscv/reloc.c)."""
    return demand.machine == "riscv64" and demand.dtpoff > 0 and (target.oldest or (12,)) < (15,)


def judge(demand: TlsDemand, target: Target) -> Outcome:
    """The verdict on one module, by what all releases have in common: 128 bytes, less what came before."""
    error = f"{demand.name}: {NO_SPACE}"
    if demand.is_degenerate:
        # p_align 0 divides by zero in release 12; without a segment the slot gets a distance to nothing.
        return Outcome("unsafe")
    own = demand.own_static > 0 or takes_by_flag(demand) or takes_by_dtprel(demand, target)
    definers = {use.definer.demand for use in demand.foreign if use.definer.demand is not None}
    unknown = any(use.definer.where != "wheel" and not use.symbol.weak for use in demand.foreign)
    if not own and not definers and not unknown:
        return Outcome("always")
    taken = (demand.block_size if own else 0) + sum(definer.block_size for definer in definers if definer != demand)
    return Outcome("never" if taken > EXTRA else "if-room", taken=taken, error=error, room=EXTRA)
