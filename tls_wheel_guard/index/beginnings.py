"""The beginnings of a wheel's members over HTTP, all members together: in each round what all of them want next, in few requests.

A member is looked at whatever its name is, but its name and its size say how much is asked for at first. A member that is no
ELF file takes its local header and some bytes; an ELF file takes its program headers, and then its relocation tables, which end somewhere
in its first hundredths: they are fetched in growing steps.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from typing import Literal

from tls_wheel_guard.archive import Archive, Member
from tls_wheel_guard.archive.beginning import Beginning
from tls_wheel_guard.archive.central_directory import LOCAL_HEADER
from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.elf.constants import MAGIC
from tls_wheel_guard.elf.headers import read_header, read_segments
from tls_wheel_guard.elf.screening import Screener, Screening
from tls_wheel_guard.errors import MalformedElf, UnreadableMember
from tls_wheel_guard.index.ranges import RangeFile
from tls_wheel_guard.platforms import machine_of
from tls_wheel_guard.records import dataclass

__all__ = ["Looked", "TooMuch", "look_at"]

FIRST, FIRST_OF_ELF = 160, 1024
"""Compressed bytes of a member that are fetched first: enough for a deflate block's tables and the first bytes; or for program headers."""
SLACK = 16
"""Bytes of a local header's extra field beyond the directory's."""
RATIO = 4
"""Bytes of symbols and relocations that one compressed byte becomes, at the start; then what was seen is used."""
GROWTH = 1.5
LEAST = 4 << 10
MOST_HEADER = 64 << 10
"""Bytes of a member in which its program headers must end."""
LONGEST_HEADER = 64
"""Bytes of an ELF header without its program headers."""
MOST_ROUNDS = 24
MOST_HELD = 256 << 20
"""Bytes of members' beginnings that are held while more is wanted: a small wheel may become very many."""
PIECE = 1 << 20

Format = Literal["unknown", "elf", "no module"]


class TooMuch(Exception):  # noqa: N818  (an answer, not a mistake)
    """So much would be fetched for the beginnings that the whole wheel is cheaper."""


@dataclass(frozen=True, slots=True)
class Looked:
    """An ELF member: its machine's name, None for one without a row, and what its beginning shows, None where it contradicts itself."""

    member: Member
    machine: str | None
    screening: Screening | None


class _Member:
    """One member on its way: first its format, then its program headers, then its relocation tables."""

    def __init__(self, member: Member, info: zipfile.ZipInfo) -> None:
        self.member, self.info = member, info
        self.beginning = Beginning(info)
        self.format: Format = "unknown" if member.size >= len(MAGIC) else "no module"
        self.machine: str | None = None
        self.screening: Screening | None = None
        self.is_done = self.format == "no module"
        self._first = bytearray()
        self._inflated = self._skip = 0
        self._screener: Screener | None = None

    @property
    def held(self) -> int:
        """Bytes of it that are kept."""
        return 0 if self.is_done else self._inflated

    def wants(self, at_once: bool) -> tuple[int, int]:
        """The bytes of the wheel that are wanted next, from and to. ``at_once``: what an ELF member wants is worth one request at most."""
        at, end = self.beginning.at, self.beginning.end
        if at == self.info.header_offset:
            head = LOCAL_HEADER + len(self.info.orig_filename.encode()) + len(self.info.extra) + SLACK
            of_elf = max(_usual_end(self.member.size) // RATIO, FIRST_OF_ELF) if at_once else FIRST_OF_ELF
            return at, min(end + SLACK, at + head + (of_elf if _may_be_elf(self.info) else FIRST))
        if self._screener is None:
            return at, max(min(end, at + FIRST_OF_ELF), at + FIRST)
        return at, max(min(end, at + self._step(self._screener)), at + 1)

    def _step(self, screener: Screener) -> int:
        """Compressed bytes up to where the tables probably end."""
        here, spent = self._inflated, self.beginning.at - self.info.header_offset
        if screener.likely is not None and screener.likely > here:
            target = screener.likely
        else:
            target = max(int(GROWTH * here), min(_usual_end(self.member.size), screener.end))
        ratio = max(here / spent, RATIO / 2) if here > 16 * FIRST_OF_ELF else RATIO
        return max(int(1.05 * (target - here) / ratio), LEAST)

    def take(self, piece: bytes) -> None:
        """The wheel's bytes that were wanted; raises UnreadableMember."""
        for part in self.beginning.feed(piece):
            self._inflated += len(part)
            self._judge(part)
            if self.is_done:
                return
        if self.beginning.is_whole:
            if self.format == "unknown":
                # It has as many bytes as ELF's magic: the directory says so, and its data end before.
                raise UnreadableMember("its data end too soon")
            self.is_done = True

    def _judge(self, part: bytes) -> None:
        if self._screener is None:
            self._first += part
            if self.format == "unknown" and len(self._first) >= len(MAGIC):
                self.format = "elf" if self._first.startswith(MAGIC) else "no module"
                self.is_done = self.format != "elf"
            if self.format == "elf":
                self._begin_screening()
        else:
            self._feed(part)

    def _begin_screening(self) -> None:
        source = BytesSource(bytes(self._first))
        try:
            header = read_header(source)
            end = header.phoff + header.phnum * header.phentsize
            if end > min(MOST_HEADER, self.member.size):
                self.is_done = True
                return
            if end > source.size:
                return
            segments = read_segments(source, header)
        except MalformedElf:
            self.is_done = len(self._first) >= LONGEST_HEADER
            return
        machine = machine_of(header.e_machine, header.format.bits, header.format.little_endian)
        self.machine = machine.name if machine is not None else None
        self._screener = Screener(header, segments)
        rest, self._first = bytes(self._first[self._screener.at :]), bytearray()
        self._skip = max(self._screener.at - self._inflated, 0)
        self._feed(rest)

    def _feed(self, part: bytes) -> None:
        screener = self._screener
        if screener is None:
            raise AssertionError("it is told after the program headers")
        skip = min(self._skip, len(part))
        self._skip -= skip
        if screener.answer is None and len(part) > skip:
            screener.feed(part[skip : skip + screener.end - screener.at])
        if screener.answer is not None:
            self.screening, self.is_done, self._screener = screener.answer, True, None


def _may_be_elf(info: zipfile.ZipInfo) -> bool:
    """Whether a member's name or mode looks like one of an ELF file: this decides how much is asked for first, and nothing else."""
    base = info.orig_filename.rsplit("/", 1)[-1]
    return info.file_size > 1024 and (".so" in base or "." not in base or bool(info.external_attr >> 16 & 0o111 and not base.endswith(".py")))


def _usual_end(size: int) -> int:
    """Where relocation tables of a file of this size often end: a tenth of small ones, two hundredths of large ones."""
    return int(0.1 * size * (max(size, 100_000) / 100_000) ** -0.23)


def look_at(archive: Archive, file: RangeFile, most: int) -> Iterator[Looked]:
    """The ELF members of a wheel, as each becomes known; raises UnreadableMember, and TooMuch above ``most`` bytes of the wheel."""
    open_members = [m for m in (_Member(member, archive.infos[member.index]) for member in archive.members()) if not m.is_done]
    for _ in range(MOST_ROUNDS):
        if not open_members:
            return
        wanted = [m.wants(at_once=not file.takes_several) for m in open_members]
        if file.bytes_read + file.cost(wanted) > most:
            break
        file.fetch(wanted)
        held = 0
        for member, (low, high) in zip(open_members, wanted, strict=True):
            _take(file, member, low, min(high, file.size))
            held += member.held
            if held > MOST_HELD:
                raise TooMuch
        yield from _known(open_members)
        open_members = [m for m in open_members if not m.is_done]
    raise TooMuch


def _take(file: RangeFile, member: _Member, low: int, high: int) -> None:
    while low < high and not member.is_done:
        file.seek(low)
        piece = file.read(min(PIECE, high - low))
        if not piece:
            raise UnreadableMember("its data end too soon")
        member.take(piece)
        low += len(piece)


def _known(members: Sequence[_Member]) -> Iterator[Looked]:
    for m in members:
        if m.is_done and m.format == "elf":
            yield Looked(m.member, m.machine, m.screening)
