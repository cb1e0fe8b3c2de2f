"""The static TLS block of a glibc process: how large it is at the start, and where late modules go in it.

Follows elf/dl-tls.c:_dl_tls_static_surplus_init and _dl_determine_tlsoffset, elf/dl-reloc.c:_dl_try_allocate_static_tls,
sysdeps/*/nptl/tls.h and pthreaddef.h, at 2.5 to 2.43. All sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard.loaders.link_map import Block, LinkMapEntry
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.tls import TlsDemand

__all__ = [
    "CURRENT",
    "MEASURED",
    "OLDEST",
    "OPTIONAL",
    "SURPLUS",
    "State",
    "allocate",
    "fresh_state",
    "give_back",
    "has_optional",
    "place_at_start",
    "round_up",
    "state_with_room",
    "surplus",
    "tcb_alignment",
    "tuned",
]

SURPLUS = 1664
"""TLS_STATIC_SURPLUS: 64 + 16 * 100 up to 2.31; with the tunables' defaults the same since 2.32."""
NNS, OPTIONAL, MAX_NNS = 4, 512, 16
"""Defaults of glibc.rtld.nns and glibc.rtld.optional_static_tls; DL_NNS."""
LIBC_IE, OTHER_IE = 144, 144
"""LIBC_IE_TLS, OTHER_IE_TLS: what a namespace more costs. LEGACY_TLS makes the sum the historic 1664."""
DEBIAN_2_31_LIBC_IE = 192
"""The same in Debian 11's 2.31, the only older version with the two tunables that was seen."""
OLDEST = (2, 5)
"""The glibc of manylinux1, the oldest that a tag promises."""
CURRENT = (2, 43)
"""A current version; the newest that was measured."""


@dataclass(frozen=True, slots=True)
class State:
    """A process's static TLS, in bytes, under the names of the loader's own variables.

    ``used``: _dl_tls_static_used; ``limit``: _dl_tls_static_size, less the TCB in variant II; ``align``: _dl_tls_static_align;
    ``optional``: what is left for descriptors, None where they may take everything (before 2.32). ``loaded``: the late modules,
    in the order of their link map. ``ended``: the process has crashed. ``start_tls_ids``: modules with TLS at the start (the C library
    is one); ``threads``: whether the process has more than one thread, which decides up to 2.21.
    """

    variant: int
    used: int
    limit: int
    align: int
    optional: int | None = OPTIONAL
    version: tuple[int, ...] = CURRENT
    loaded: tuple[LinkMapEntry, ...] = ()
    ended: bool = False
    start_tls_ids: int = 1
    threads: bool = True

    @property
    def room(self) -> int:
        """Bytes left."""
        return self.limit - self.used

    def without_room(self) -> State:
        """The same process after others have taken all of it."""
        return replace(self, used=self.limit)


def round_up(value: int, align: int) -> int:
    """ALIGN_UP, which masks to 0 where ``align`` is 0."""
    return -(-value // align) * align if align else 0


def tcb_alignment(version: tuple[int, ...], machine: str) -> int:
    """TCB_ALIGNMENT: the least ``align`` of a process. x86: pthreaddef.h and tls.h; others: 32 since rseq came (2.35)."""
    if machine in ("x86_64", "x32", "i386"):
        if machine != "i386" and version >= (2, 13) and version < (2, 15):
            return 32
        return 64 if version >= (2, 15) else 16
    return 32 if version >= (2, 35) else 16


def has_optional(version: tuple[int, ...]) -> bool:
    """Whether descriptors have a part of their own, with the two tunables: since 2.32 (Debian 11's 2.31 has them too)."""
    return version >= (2, 32)


def surplus(version: tuple[int, ...] = CURRENT, nns: int = NNS, optional: int = OPTIONAL, auditors: int = 0) -> int:
    """_dl_tls_static_surplus_init@2.32 to 2.43: bytes for late modules. A tunable out of bounds keeps its default; the sum is an int."""
    nns = nns if 1 <= nns <= MAX_NNS else NNS
    spaces = nns + auditors
    libc = LIBC_IE if has_optional(version) else DEBIAN_2_31_LIBC_IE
    legacy = SURPLUS - ((NNS - 1) * libc + NNS * OTHER_IE + OPTIONAL)
    total = (spaces - 1) * libc + spaces * OTHER_IE + optional + legacy
    return (total + 2**31) % 2**32 - 2**31


MEASURED: dict[tuple[tuple[int, int], str], tuple[int, int, int]] = {
    ((2, 31), "x86_64"): (144, 1856, 64),
    ((2, 36), "x86_64"): (144, 1856, 64),
    ((2, 41), "x86_64"): (192, 1856, 64),
    ((2, 43), "x86_64"): (160, 1856, 64),
    ((2, 31), "aarch64"): (160, 1824, 16),
    ((2, 36), "aarch64"): (160, 1824, 32),
    ((2, 41), "aarch64"): (224, 1888, 32),
    ((2, 43), "aarch64"): (192, 1856, 32),
    ((2, 31), "arm"): (92, 1760, 16),
    ((2, 36), "arm"): (92, 1760, 32),
    ((2, 43), "arm"): (128, 1792, 32),
    ((2, 31), "i386"): (84, 1792, 64),
    ((2, 36), "i386"): (84, 1792, 64),
    ((2, 43), "i386"): (128, 1792, 64),
    ((2, 36), "ppc64le"): (144, 1824, 32),
    ((2, 43), "ppc64le"): (160, 1824, 32),
    ((2, 36), "riscv64"): (144, 1824, 32),
    ((2, 43), "riscv64"): (160, 1824, 32),
    ((2, 36), "s390x"): (152, 1824, 32),
    ((2, 43), "s390x"): (160, 1824, 32),
}
"""(version, machine) -> used, limit, align of a process without TLS of its own, by _dl_get_tls_static_info on Debian."""

TCB_IN_FRONT = {"aarch64": 16, "aarch64_be": 16, "arm": 8, "armeb": 8}
"""TLS_TCB_SIZE of variant I (sysdeps/*/nptl/tls.h); 0 on the others, where the thread pointer stands behind it."""
_LEAST_USED = {1: 16, 2: 0}
"""Where nothing was measured: the thread control block of variant I, the largest there is; nothing in variant II."""


def fresh_state(version: tuple[int, ...], machine: str, variant: int) -> State:
    """The static TLS of a process that runs a program without TLS and has loaded nothing late.

    Exact where it was measured. Elsewhere the least that every version grants: the surplus, and no luck with rounding.
    """
    optional = OPTIONAL if has_optional(version) else None
    measured = MEASURED.get((version[:2], machine))  # type: ignore[arg-type]
    if measured is not None:
        return State(variant, *measured, optional, version)
    used = _LEAST_USED[variant]
    return State(variant, used, used + SURPLUS, tcb_alignment(version, machine), optional, version)


def place_at_start(
    blocks: Iterable[TlsDemand], version: tuple[int, ...], machine: str, *, nns: int = NNS, optional: int | None = OPTIONAL, auditors: int = 0
) -> State:
    """The state of a process whose start-up set has these blocks, in link map order; :func:`_dl_determine_tlsoffset`.

    ``optional``: None where the version has no tunables. With auditors glibc calls it before the libraries are there: then give the
    program's own block alone, and open the rest late.
    """
    blocks = [b for b in blocks if b.block_size]
    variant = 2 if machine in ("x86_64", "x32", "i386", "s390x", "s390", "sparc64", "sparc", "sparc32plus") else 1
    align = max([tcb_alignment(version, machine), *(b.block_align for b in blocks)])
    end = _place_all(blocks, variant, 0 if variant == 2 else TCB_IN_FRONT.get(machine, 0))
    if version >= (2, 41):
        # The rseq area became an extra block at the end (_dl_extra_tls_get_size).
        end = round_up(end, 32) + 32
    room = SURPLUS if optional is None else surplus(version, nns, optional, auditors)
    limit = round_up(end + room, align if variant == 2 else tcb_alignment(version, machine))
    return State(variant, end, limit, align, optional, version, start_tls_ids=len(blocks))


def _place_all(blocks: list[TlsDemand], variant: int, start: int) -> int:
    """The end of the last block. A gap that an alignment made takes a later block that fits into it."""
    end, gap, gap_end = start, 0, 0
    for block in blocks:
        size, align = block.block_size, max(block.block_align, 1)
        first = -block.first_byte & (align - 1)
        if variant == 2:
            placed = round_up(gap + size - first, align) + first
            if gap_end - gap >= size and placed <= gap_end:
                gap = placed
                continue
            placed = round_up(end + size - first, align) + first
            if placed > end + size + (gap_end - gap):
                gap, gap_end = end, placed - size
            end = placed
        else:
            inside = round_up(gap + first, align) - first
            if gap_end - gap >= size and inside + size <= gap_end:
                gap = inside + size
                continue
            placed = round_up(end + first, align) - first
            if placed - end > gap_end - gap:
                gap, gap_end = end, placed
            end = placed + size
    return end


def tuned(fresh: State, machine: str, *, nns: int, optional: int) -> State:
    """A fresh process's state as it would be under other tunables: the block is laid out again behind what start-up took."""
    align = fresh.align if fresh.variant == 2 else tcb_alignment(fresh.version, machine)
    return replace(fresh, limit=round_up(fresh.used + surplus(fresh.version, nns, optional), align), optional=optional)


def allocate(state: State, demand: TlsDemand, *, optional: bool = False) -> tuple[State, int] | None:
    """Place a module's block: the new state and the bytes taken, or None where the loader refuses.

    ``optional``: for descriptors, which may fail without the load failing. _dl_try_allocate_static_tls@2.43; before 2.14 variant
    I knew no first byte (66bdbaa452). Raises ZeroDivisionError where the loader does: variant II with an alignment of 0.
    """
    size, align, first = demand.block_size, demand.block_align, demand.first_byte
    if align > state.align:
        return None
    if state.variant == 2:
        free = state.limit - state.used
        if free < size + first:
            return None
        taken = free - (free - size - first) // align * align - first
    else:
        if state.version < (2, 14):
            first = 0
        end = round_up(state.used - first, align) + first + size
        if end > state.limit:
            return None
        taken = end - state.used
    if not optional or state.optional is None:
        return replace(state, used=state.used + taken), taken
    if taken > state.optional:
        return None
    return replace(state, used=state.used + taken, optional=state.optional - taken), taken


def give_back(used: int, blocks: Iterable[Block]) -> int:
    """What _dl_close_worker leaves of ``used`` when these blocks go, in this order: touching ones are joined, the last may come back."""
    start = end = -1
    for block in blocks:
        if start in (end, block.end):
            start, end = block.start, max(end, block.end)
        elif block.start == end:
            end = block.end
        elif end == used:
            used, start, end = start, block.start, block.end
        elif block.end == used:
            used = block.start
        elif end < block.end:
            start, end = block.start, block.end
    return start if end == used else used


def state_with_room(version: tuple[int, ...], machine: str, variant: int, room: int) -> State:
    """A process of which only the room left is known, in bytes; what is in front of it counts as aligned."""
    optional = OPTIONAL if has_optional(version) else None
    return State(variant, 0, room, tcb_alignment(max(version, OLDEST), machine), optional, version)
