"""Relocation records found by their form in the beginning of a shared object, without the dynamic segment that says where they are.

A record is a place in a writable segment, a type that the machine's psABI knows with a symbol's index that can be, and in RELA tables
an addend that leads into an address space. Linkers write records word by word, one behind another, so a table is a run of them. What
looks like one record by chance stands in the symbol table: a variable's address and size. It has no addend that fits, and never two
neighbours, so only three records in a row begin a table.
"""

from __future__ import annotations

import re
import sys
from array import array

from tls_wheel_guard.elf.constants import EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64
from tls_wheel_guard.elf.formats import ElfFormat
from tls_wheel_guard.records import dataclass

__all__ = ["BEHIND", "MACHINES", "RecordKinds", "RecordSearch"]

BLOCK = 4096
"""Records that are looked at together."""
ANCHOR = 3
"""Records in a row that begin a table."""
BEHIND = 4096
"""Bytes behind the last record that are searched for more: tables of one file are neighbours (GNU ld, gold, lld, mold)."""
FAR = 1 << 32
"""Addends stay below. What stands in a symbol table behind a size is a name and, in its upper half, a kind: never 0 there."""
MAX_SYMBOLS, MOST_TYPES = 1 << 24, 2048


@dataclass(frozen=True, slots=True)
class RecordKinds:
    """Relocation types of a machine (psABI).

    ``rela``: whether its records have addends. ``word``: bytes of a number; ``relative``: types without a symbol; ``named``: with one;
    ``lazy``: of the procedure linkage table, with a symbol, and ``resolved`` there without one.
    """

    word: int
    little: bool
    rela: bool
    relative: frozenset[int]
    named: frozenset[int]
    lazy: frozenset[int]
    resolved: frozenset[int]


def _row(relative: int, named: set[int], lazy: int, resolved: int, *, word: int = 8, little: bool = True, rela: bool = True) -> RecordKinds:
    return RecordKinds(word, little, rela, frozenset({relative}), frozenset(named), frozenset({lazy}), frozenset({resolved}))


MACHINES = {
    # RELATIVE, {64, COPY, GLOB_DAT}, JUMP_SLOT, IRELATIVE under each machine's names
    EM_X86_64: _row(8, {1, 5, 6}, 7, 37),
    EM_AARCH64: _row(1027, {257, 1024, 1025}, 1026, 1032),
    EM_RISCV: _row(3, {2, 4}, 5, 58),
    EM_PPC64: _row(22, {38, 19, 20}, 21, 248),
    EM_S390: _row(12, {22, 9, 10}, 11, 61, little=False),
    # with 32 and PC32, ABS32 and REL32 in place of 64
    EM_386: _row(8, {1, 2, 5, 6}, 7, 42, word=4, rela=False),
    EM_ARM: _row(23, {2, 3, 20, 21}, 22, 160, word=4, rela=False),
}
"""e_machine -> its row. Others are read whole: they are few."""


class RecordSearch:
    """One search, in words from the file offset ``base`` on; bytes come in pieces that follow each other.

    ``writable``: addresses from and to, at which pointers stand; ``loaded``: the address behind all that is loaded. Once a table was
    found, its records may have any loaded place: some relocate code. ``types``: of all records in the tables; ``end``: behind the last
    record, counted in bytes from ``base``, None before a table was found. ``settled``: nothing that follows can be a table's record.
    """

    def __init__(
        self, kinds: RecordKinds, fmt: ElfFormat, base: int, writable: tuple[tuple[int, int], ...], loaded: int, tls: frozenset[int]
    ) -> None:
        self.base, self.data = base, bytearray()
        self.types: set[int] = set()
        self.end: int | None = None
        self.settled = False
        self._kinds, self._writable, self._shift, self._mask = kinds, writable, fmt.symbol_shift, (1 << fmt.symbol_shift) - 1
        self._low, self._high, self._loaded = min(low for low, _ in writable), max(high for _, high in writable), loaded
        self._without = kinds.relative | kinds.resolved
        self._known, self._tls = self._without | kinds.named | kinds.lazy | tls, tls
        self._symbol_size, self._step = fmt.sym.size, 3 if kinds.rela else 2
        self._code = "Q" if kinds.word == 8 else "I"
        self._words = array(self._code)
        self._at = 0
        self._pattern = self._info_pattern()

    def _info_pattern(self) -> re.Pattern[bytes]:
        """r_info of a known type; its symbol's index stands above it, or before it in big-endian files."""
        size = self._kinds.word // 2 if self._kinds.word == 8 else 1
        order = "little" if self._kinds.little else "big"
        types = b"|".join(re.escape(number.to_bytes(size, order)) for number in sorted(self._known))  # type: ignore[arg-type]
        if self._kinds.word == 4:
            return re.compile(b"(?:" + types + b")", re.DOTALL)
        return re.compile(b"(?=(?:" + types + b")...\x00)" if self._kinds.little else b"(?=\x00...(?:" + types + b"))", re.DOTALL)

    def feed(self, piece: bytes) -> None:
        """The next bytes of the file."""
        self.data += piece
        word = self._kinds.word
        new = array(self._code, bytes(self.data[word * len(self._words) : len(self.data) // word * word]))
        if self._kinds.little != (sys.byteorder == "little"):
            new.byteswap()
        self._words.extend(new)
        self._follow()

    @property
    def has_table(self) -> bool:
        """Whether a record was found that stands in no procedure linkage table."""
        return bool(self.types & (self._kinds.relative | self._kinds.named))

    def _follow(self) -> None:
        at, count, step = self._at, len(self._words), self._step
        while not self.settled and at + step <= count:
            end = self._end_of_run(at)
            if end > at:
                waits = end + step > count
                if self.end is None and (end - at) // step < ANCHOR:
                    if waits:
                        break
                    end = at + 1
                elif self.end is not None or self._begins_table(at, end):
                    begin = at if self.end is not None else self._begin_of_table(at)
                    self.types |= self._types_in(begin, end)
                    self.end = end * self._kinds.word
                at = end
                continue
            found = self._next(at, count)
            self._note_damaged(at, count)
            here = count - step + 1 if found is None else found
            self._leave_table(here)
            at = max(at, here)
            if found is None:
                break
        self._at = at

    def _leave_table(self, here: int) -> None:
        """No record begins between the last one and word ``here``."""
        if self.end is None or self._kinds.word * here - self.end < BEHIND:
            return
        if self.has_table:
            self.settled = True
        else:
            self.end = None

    def _begins_table(self, at: int, end: int) -> bool:
        """Whether some neighbours in a run have places that a linker gives to pointers."""
        odd = [bool(place % self._kinds.word) for place in self._words[at : end : self._step]]
        return any(not any(odd[start : start + ANCHOR]) for start in range(len(odd) - ANCHOR + 1))

    def _types_in(self, at: int, end: int) -> set[int]:
        return {info & self._mask for info in set(self._words[at + 1 : end : self._step])}

    def _begin_of_table(self, at: int) -> int:
        """The word where the table begins whose first record with a writable place stands at ``at``."""
        while at >= self._step and self._is_record(at - self._step, anywhere=True):
            at -= self._step
        return at

    def _note_damaged(self, at: int, count: int) -> None:
        """A few records behind a run: what has a TLS type there is one, even where its place is damaged."""
        for here in range(at, min(at + 4 * self._step, count - 1), self._step) if self.end == at * self._kinds.word else ():
            if self._words[here + 1] & self._mask in self._tls and self._are_infos({self._words[here + 1]}, here, True):
                self.types.add(self._words[here + 1] & self._mask)

    def _next(self, at: int, count: int) -> int | None:
        """The next word from ``at`` on where a record begins."""
        word, anywhere = self._kinds.word, self.end is not None and self._kinds.rela
        for match in self._pattern.finditer(self.data, word * (at + 1), word * count):
            place, odd = divmod(match.start() - word, word)
            if not odd and self._words[place] < self._high and place + self._step <= count and self._is_record(place, anywhere):
                return place
        return None

    def _is_record(self, at: int, anywhere: bool) -> bool:
        place = self._words[at]
        fits = place < self._loaded if anywhere else any(low <= place < high for low, high in self._writable)
        return fits and self._are_infos({self._words[at + 1]}, at, anywhere) and self._are_addends(at, at + self._step)

    def _are_infos(self, infos: set[int], at: int, anywhere: bool) -> bool:
        """Whether all are a type with a symbol's index that can be, or without one: a file's symbols stand before its tables.

        Inside a table any type will do. GNU ld leaves records of type 0 where it has counted too many, ten thousand bytes of them in ruff's.
        Without addends only those empty ones will: what follows a table, such as .eh_frame_hdr, looks too much like records.
        """
        most = min((self.base + self._kinds.word * at) // self._symbol_size, MAX_SYMBOLS)
        for info in infos:
            kind, symbol = info & self._mask, info >> self._shift
            if symbol >= most or kind >= MOST_TYPES or (info and not self._kinds.rela and kind not in self._known):
                return False
            if not anywhere and (kind not in self._known or (kind not in self._tls and bool(symbol) == (kind in self._without))):
                return False
        return True

    def _are_addends(self, at: int, end: int) -> bool:
        if not self._kinds.rela:
            return True
        addends = array("q", self._words[at + 2 : end : 3].tobytes())
        return min(addends) > -FAR and max(addends) < FAR

    def _end_of_run(self, at: int) -> int:
        """The word behind the last of the records that follow each other from ``at`` on."""
        step, words, anywhere = self._step, self._words, self.end is not None
        low, high = (0, self._loaded) if anywhere else (self._low, self._high)
        while (count := min((len(words) - at) // step, BLOCK)) > 0:
            end = at + step * count
            places, infos = words[at:end:step], set(words[at + 1 : end : step])
            if low <= min(places) and max(places) < high and self._are_infos(infos, at, anywhere) and self._are_addends(at, end):
                at = end
                continue
            while at + step <= len(words) and self._is_record(at, anywhere):
                at += step
            break
        return at
