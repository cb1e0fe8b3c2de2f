"""The static TLS block of a FreeBSD process: what start-up leaves, where late modules go, what comes back.

Follows libexec/rtld-elf/rtld.c:allocate_tls_offset, calculate_tls_offset and free_tls_offset with the machines' rtld_machdep.h, by
release: 12 (12.1-STABLE to 13.0), 13.1 (to 13.5), 14, 15, main (2026). Read from the source, not measured here. Sizes are bytes;
numbers wrap as size_t does.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.link_map import LinkMapEntry
from tls_wheel_guard.platforms import machine_called
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.tls import TlsDemand

__all__ = ["EXTRA", "NEWEST", "TUNABLE_SINCE", "State", "allocate", "extra_from", "free", "fresh_state", "is_no_number", "rule_set"]

EXTRA = 128
"""RTLD_STATIC_TLS_EXTRA (rtld_tls.h)."""
TUNABLE_SINCE = (14,)
"""The release that first reads LD_STATIC_TLS_EXTRA."""
NEWEST = (16,)
"""Stands for main, which has no number of its own yet."""
_WRAP = 2**64


@dataclass(frozen=True, slots=True)
class State:
    """A process's static TLS under the names of the loader's own variables, in bytes.

    ``last_offset``: tls_last_offset; ``last_size``: tls_last_size; ``space``: tls_static_space. ``rules``: the release whose code
    places blocks, as of :func:`rule_set`. ``overlaps``: a close has moved the cursor into memory that is in use. ``ended``: the process
    has crashed.
    """

    machine: str
    rules: tuple[int, ...]
    last_offset: int
    last_size: int
    space: int
    loaded: tuple[LinkMapEntry, ...] = ()
    overlaps: bool = False
    ended: bool = False

    @property
    def variant(self) -> int:
        """1 or 2: blocks above or below the thread pointer."""
        machine = machine_called(self.machine)
        return machine.tls_variant if machine else 1

    @property
    def used(self) -> int:
        """Where the next block may begin."""
        return self.last_offset if self.variant == 2 else self.last_offset + self.last_size

    @property
    def room(self) -> int:
        """Bytes left for a module that needs no padding."""
        return max(self.space - self.used, 0)

    def without_room(self) -> State:
        """The same process after others have taken all of it."""
        return replace(self, space=self.used)


def rule_set(version: tuple[int, ...] | None) -> tuple[int, ...]:
    """The release among those that differ whose code a version has: (12,), (13, 1), (14,), (15,) or main."""
    version = version or NEWEST
    return next((rules for rules in (NEWEST, (15,), (14,), (13, 1)) if version >= rules), (12,))


def extra_from(value: str, rules: tuple[int, ...]) -> int:
    """The reserve that LD_STATIC_TLS_EXTRA gives: empty or below 128 is ignored, what is no number becomes SIZE_MAX."""
    if rules < TUNABLE_SINCE or not value:
        return EXTRA
    try:
        asked = _number(value, rules)
    except ValueError:
        return _WRAP - 1
    return max(asked, EXTRA)


def is_no_number(value: str, version: tuple[int, ...] | None) -> bool:
    """Whether LD_STATIC_TLS_EXTRA is read and says no number: then the program starts, and every late module by initial-exec is refused."""
    return extra_from(value, rule_set(version)) == _WRAP - 1


def _number(value: str, rules: tuple[int, ...]) -> int:
    if not value.isascii() or not value.isalnum():
        raise ValueError(value)
    if rules < NEWEST or not value.startswith("0") or value == "0":
        return int(value, 10)
    return int(value, 0) if value[1:2] in "xXbB" else int(value, 8)


def fresh_state(version: tuple[int, ...] | None, machine: str, extra: int = EXTRA) -> State:
    """A process whose start-up TLS (the C library's own) ends at a multiple of 16, which is where a module finds the most room.

    ``extra``: the reserve. From 15 on a block of two pointers more stands behind what the start has. The sum wraps: a reserve of SIZE_MAX
    leaves one byte less than nothing.
    """
    rules, known = rule_set(version), machine_called(machine)
    variant, word = (known.tls_variant, known.bits // 8) if known else (1, 8)
    after = 2 * word if rules >= (15,) else 0
    if variant == 2:
        return State(machine, rules, 16 + after, after or 16, (16 + after + extra) % 2 ** (8 * word))
    # The last block of the start: 16 bytes behind the thread control block, or the two pointers behind those.
    size = after or 16
    last = (32 if after else 16) + (size if rules >= (13, 1) else 0)
    return State(machine, rules, last, size, (last + size + extra) % 2 ** (8 * word))


def _place(state: State, demand: TlsDemand) -> int:
    """calculate_tls_offset: the new block's offset."""
    size, align, first = demand.block_size, max(demand.block_align, 1), demand.file_first_byte
    if state.variant == 1:
        if state.last_offset == 0:
            return _up(16, align) if state.machine.startswith("aarch64") else 16
        return _up(state.last_offset + state.last_size, align)
    least = state.last_offset + size
    if state.rules < (13, 1):
        return _up(least, align) + (-first) % align
    return least + (-first - least) % align


def _up(value: int, align: int) -> int:
    return -(-value // align) * align


def allocate(state: State, demand: TlsDemand) -> tuple[State, int] | None:
    """Place a block: the new state and the block's end, or None where there is no space. No size takes nothing and never fails."""
    if not demand.block_size:
        return state, 0
    offset = _place(state, demand)
    end = offset if state.variant == 2 else offset + demand.block_size
    if end > state.space:
        return None
    cursor = end if state.variant == 1 and state.rules >= (13, 1) else offset
    return replace(state, last_offset=cursor, last_size=demand.block_size), end


def free(state: State, demand: TlsDemand, end: int) -> State:
    """free_tls_offset: a block that ends at the cursor comes back without its padding; any other is lost."""
    size = demand.block_size
    keeps_start = state.variant == 1 and state.rules < (13, 1)
    if not size or end != state.last_offset + (state.last_size if keeps_start else 0):
        return state
    # Where the cursor keeps the start of a block, this moves it below the block.
    overlaps = state.overlaps or keeps_start
    return replace(state, last_offset=state.last_offset - size, last_size=0, overlaps=overlaps)
