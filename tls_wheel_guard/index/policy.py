"""What *clear* means to one judgement: which modules, known by their beginnings, no rule can find anything in."""

from __future__ import annotations

from collections.abc import Sequence

from tls_wheel_guard.elf import TlsSegment
from tls_wheel_guard.loaders import judge
from tls_wheel_guard.platforms import Target, machine_called
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsDemand, TlsModule
from tls_wheel_guard.tls.module import Access

__all__ = ["ClearModule", "Policy"]

NO_STATIC_TLS = frozenset({"darwin", "windows", "wasm"})
SCREENED_SYSTEMS = frozenset({"glibc", "musl"})
"""Systems whose loaders look at relocations alone. FreeBSD acts on DF_STATIC_TLS, Android and OpenBSD on any TLS segment: there, and where
no tag names a system, only a module without a TLS segment and TLS relocations is clear."""
SAFE_DESCRIPTORS = frozenset({("glibc", "aarch64"), ("musl", "aarch64"), ("musl", "x86_64")})
"""Systems and machines whose loaders know descriptors in every release that a tag can promise, and keep all registers in them."""
KEEPS_OPTIONAL = (2, 32)
"""The glibc from which on descriptors take only what is set apart for them (rtld.optional_static_tls)."""


@dataclass(frozen=True, slots=True)
class ClearModule:
    """An ELF member that asks for no static TLS, known by its beginning. The fields behind ``machine`` are those of :class:`Screening`."""

    path: str
    machine: str
    tls: bool = True
    descriptors: bool = False
    segment: TlsSegment | None = None
    libraries: tuple[str, ...] = ()
    unmarked: bool = False

    def may_need(self, name: str) -> bool:
        """Whether DT_NEEDED may hold a name."""
        return ".so" not in name or not self.libraries or any(library.endswith(name) for library in self.libraries)

    @property
    def demand(self) -> TlsDemand:
        """The most that it can ask: descriptors for variables of its own, as far as it has any."""
        machine, own = machine_called(self.machine), self.segment or TlsSegment(0, 0, 0, 0, 0)
        mask = max(own.align, 1) - 1
        return TlsDemand(
            self.path, self.machine, machine.tls_variant if machine else 0, self.segment is not None, own.memsz, own.align, own.vaddr & mask,
            own.offset & mask, own.filesz, 0, (), int(self.descriptors), 0, False, (),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """What is clear to one judgement.

    ``room``: bytes of static TLS that all late modules share; ``crowding``: bytes from which one module's share is reported.
    """

    room: int
    crowding: int

    def is_clear(self, targets: Sequence[Target], module: ClearModule) -> bool:
        """Whether nothing can be found in one module whose beginning is clear."""
        with_tls = [t for t in targets if t.libc not in NO_STATIC_TLS]
        machines = {t.machine for t in with_tls}
        if machines and None not in machines and machines != {module.machine}:
            # foreign-machine has something to say.
            return False
        if not module.tls:
            return True
        if not with_tls or any(t.libc not in SCREENED_SYSTEMS for t in with_tls):
            return False
        if module.machine == "i386" and not module.unmarked and any(t.libc == "glibc" for t in with_tls):
            return False
        if not module.descriptors:
            return True
        if any((t.libc, module.machine) not in SAFE_DESCRIPTORS for t in with_tls):
            return False
        taken = self.takes(with_tls, module)
        return taken is not None and taken < self.crowding

    def takes(self, targets: Sequence[Target], module: ClearModule) -> int | None:
        """Bytes of the room that all share which descriptors of a module take at most; None where a loader may refuse it."""
        most = 0
        if module.segment is None:
            # Its descriptors are for variables of others.
            return 0
        if not module.segment.align:
            return None
        for target in targets:
            outcome = judge(TlsModule(module.demand, accesses=(Access("TLSDESC"),)), target).outcome
            if outcome.word != "always":
                return None
            if target.libc == "glibc" and (target.oldest is None or target.oldest < KEEPS_OPTIONAL):
                most = max(most, outcome.takes_at_most)
        return most

    def allows(self, targets: Sequence[Target], modules: Sequence[ClearModule]) -> bool:
        """Whether a wheel of these modules, all known by their beginnings, needs no reading on."""
        return all(self.is_clear(targets, module) for module in modules)
