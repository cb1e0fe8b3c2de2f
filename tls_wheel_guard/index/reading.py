"""Read as little of a listed wheel as is certain: by ranges where its modules are clear by their beginnings, else whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tls_wheel_guard.archive import Archive, Member, format_of, open_archive
from tls_wheel_guard.archive.magic import PEEK
from tls_wheel_guard.elf.headers import read_header
from tls_wheel_guard.elf.screening import Screening, screen
from tls_wheel_guard.errors import MalformedElf, UnreadableIndex, UnreadableInput
from tls_wheel_guard.index.connection import Connection, FileChanged, NoRanges
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.ranges import RangeFile
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.platforms import Target, machine_of

__all__ = ["ClearModule", "Policy", "WheelRead", "read_wheel"]

SMALL = 128 << 10
"""Bytes of a wheel that is fetched whole: its members would take several requests."""
FIRST_BYTES = 30 + 1024
"""Bytes of a member that tell its format: the local header and the first compressed bytes. Its name comes on top."""
MOST_BY_PARTS = 2
"""A wheel of whose bytes more than one in this many would be fetched to see its members' formats is read whole."""
REPAIRED = ".dist-info/tls_wheel_guard.json"
"""The note that a repair leaves in a wheel."""
NO_STATIC_TLS = frozenset({"darwin", "windows", "wasm"})
SCREENED_SYSTEMS = frozenset({"glibc", "musl"}) | NO_STATIC_TLS
"""Systems whose loaders look at relocations alone. FreeBSD acts on DF_STATIC_TLS, Android and OpenBSD on any TLS segment."""
SAFE_DESCRIPTORS = frozenset({("glibc", "aarch64"), ("musl", "aarch64"), ("musl", "x86_64")})
"""Systems and machines whose loaders know descriptors in every release that a tag can promise, and keep all registers in them."""
KEEPS_OPTIONAL = (2, 32)
"""The glibc from which on descriptors take only what is set apart for them (rtld.optional_static_tls)."""


@dataclass(frozen=True, slots=True)
class ClearModule:
    """An ELF member that asks for no static TLS, known by its beginning. ``descriptors``, ``block``: as of :class:`Screening`."""

    path: str
    machine: str
    descriptors: bool
    block: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What *clear* means to one judgement: no rule of ``check`` can find anything in such a wheel.

    ``descriptor_room``: bytes that descriptors may take before static-tls-crowding speaks. ``largest``: a block of more bytes fits into
    no process, so the loader never places it for descriptors (glibc elf/dl-reloc.c:_dl_try_allocate_static_tls).
    """

    descriptor_room: int
    largest: int

    def allows(self, targets: Sequence[Target], modules: Sequence[ClearModule]) -> bool:
        """Whether a wheel of these modules, all clear, needs no reading on."""
        if not modules:
            return True
        if not targets or any(t.libc not in SCREENED_SYSTEMS for t in targets):
            return False
        machines = {t.machine for t in targets if t.libc not in NO_STATIC_TLS}
        if any({m.machine} != machines for m in modules):
            return False
        with_descriptors = [m for m in modules if m.descriptors]
        systems = {t.libc for t in targets} - NO_STATIC_TLS
        if any((system, m.machine) not in SAFE_DESCRIPTORS for m in with_descriptors for system in systems):
            return False
        fills = any(t.libc == "glibc" and (t.oldest is None or t.oldest < KEEPS_OPTIONAL) for t in targets)
        return not fills or sum(m.block for m in with_descriptors if m.block <= self.largest) <= self.descriptor_room


@dataclass(slots=True)
class WheelRead:
    """What was read of one wheel. ``file``: where it lies whole, until the context ends; None where its modules are clear.

    ``read``: ``ranges``, ``whole`` (over the network) or ``file``. ``sha256``: as listed, or as read whole.
    """

    wheel: ListedWheel
    read: Literal["ranges", "whole", "file"]
    bytes_read: int
    sha256: str | None
    modules: tuple[ClearModule, ...] = ()
    file: Path | None = None
    size: int | None = None
    version: str | None = field(default=None)


@contextmanager
def read_wheel(
    wheel: ListedWheel, targets: Sequence[Target], connection: Connection, policy: Policy | None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[WheelRead]:
    """Read a wheel; with ``policy`` None always whole. Raises UnreadableIndex, and UnreadableInput where a folder's file can't be read."""
    if wheel.path is not None:
        yield WheelRead(wheel, "file", 0, wheel.sha256, file=Path(wheel.path), size=wheel.size)
        return
    spent = 0
    if policy is not None and (wheel.size is None or wheel.size > SMALL):
        for _ in range(2):
            try:
                clear = _by_ranges(wheel, targets, connection, policy, limits)
            except (NoRanges, UnreadableInput):
                # What can't be read by parts may be read whole; what is wrong with it is then said by the judgement.
                break
            except FileChanged:
                continue
            if clear.modules is not None:
                yield WheelRead(wheel, "ranges", clear.bytes_read, wheel.sha256, clear.modules, size=clear.size, version=clear.version)
                return
            spent = clear.bytes_read
            break
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-index-") as folder:
        path = Path(folder, wheel.filename)
        digest = _fetch(wheel, connection, path, limits)
        size = path.stat().st_size
        yield WheelRead(wheel, "whole", spent + size, digest, file=path, size=size)


def _fetch(wheel: ListedWheel, connection: Connection, path: Path, limits: Limits) -> str:
    if wheel.url is None:
        raise AssertionError("a wheel has an address or a path")
    try:
        with path.open("w+b") as out:
            digest = connection.whole(wheel.url, out, wheel.size or limits.wheel_size)
    except OSError as error:
        raise UnreadableIndex(
            f"{path.parent}: it can't be written: {error.strerror}", hint="TMPDIR names a folder with room for the largest wheels"
        ) from error
    if wheel.sha256 is not None and digest != wheel.sha256:
        raise UnreadableIndex(
            f"{wheel.place}: its sha256 is {digest}, and the index says {wheel.sha256}", hint="a proxy or a mirror serves another file"
        )
    return digest


@dataclass(frozen=True, slots=True)
class _Clear:
    modules: tuple[ClearModule, ...] | None
    bytes_read: int
    size: int
    version: str | None


def _by_ranges(wheel: ListedWheel, targets: Sequence[Target], connection: Connection, policy: Policy, limits: Limits) -> _Clear:
    """The wheel's modules where all are clear; ``modules`` None where it must be read whole."""
    if wheel.url is None:
        raise AssertionError("a wheel has an address or a path")
    file = RangeFile(connection, wheel.url, wheel.size)
    with open_archive(file, limits) as archive:  # type: ignore[arg-type]  # a RawIOBase reads bytes
        spans = list(archive.first_spans(FIRST_BYTES))
        if file.cost(spans) * MOST_BY_PARTS > file.size:
            # Many small members: their beginnings are as much as the wheel, and more requests.
            return _Clear(None, file.bytes_read, file.size, file.version)
        file.prefetch(spans)
        modules = _clear_modules(archive, targets, policy)
    return _Clear(modules, file.bytes_read, file.size, file.version)


def _clear_modules(archive: Archive, targets: Sequence[Target], policy: Policy) -> tuple[ClearModule, ...] | None:
    found: list[ClearModule] = []
    for member in archive.members():
        if member.name.endswith(REPAIRED):
            # What a repair has written is looked at whole: another tool may have broken it.
            return None
        answer = _module(archive, member)
        if answer == "no module":
            continue
        if answer is None or not policy.allows(targets, [*found, answer]):
            return None
        found.append(answer)
    return tuple(found)


def _module(archive: Archive, member: Member) -> ClearModule | Literal["no module"] | None:
    """A member that is clear; None where that is not certain."""
    if format_of(archive.peek(member, PEEK), member.name) != "elf":
        return "no module"
    source = archive.source(member)
    try:
        found: Screening = screen(source)
        header = read_header(source)
    except MalformedElf:
        return None
    machine = machine_of(header.e_machine, header.format.bits, header.format.little_endian)
    if found.answer != "clear" or machine is None:
        return None
    return ClearModule(member.name, machine.name, found.descriptors, found.block)
