"""What is kept of a wheel so that it can be judged again without it: the contents, and the clues to who brought initial-exec TLS in."""

from __future__ import annotations

from tls_wheel_guard.commands.check import SecondLook, damaged_in, descriptor_calls_of
from tls_wheel_guard.commands.culprits import clues_in, trace_clues
from tls_wheel_guard.culprits.clues import Clues
from tls_wheel_guard.index.reading import ClearModule
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites
from tls_wheel_guard.records import dataclass

__all__ = ["StoredClear", "StoredWheel", "facts_of"]


@dataclass(frozen=True, slots=True)
class StoredClear:
    """A wheel whose modules are clear by their beginnings."""

    modules: tuple[ClearModule, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredWheel:
    """A wheel that was read whole.

    ``clues``, ``damaged``, ``calls``: module's index, and its clues, what is wrong with its repair, its calls through TLS descriptors.
    The rest is as in :class:`Contents`.
    """

    name: str
    tags: tuple[str, ...]
    modules: tuple[InputModule, ...]
    unreadable: tuple[tuple[str, str], ...] = ()
    not_applicable: tuple[tuple[str, int], ...] = ()
    nested: tuple[str, ...] = ()
    definers: tuple[tuple[str, int], ...] = ()
    clues: tuple[tuple[int, Clues], ...] = ()
    damaged: tuple[tuple[int, tuple[str, ...]], ...] = ()
    calls: tuple[tuple[int, DescriptorSites], ...] = ()
    generator: str | None = None

    @property
    def contents(self) -> Contents:
        """The same as a check has read it."""
        return Contents(
            self.name, self.tags, True, list(self.modules), list(self.unreadable), dict(self.not_applicable), list(self.nested),
            dict(self.definers),
        )  # fmt: skip

    @property
    def looks(self) -> SecondLook:
        """What a check finds at its second look; who brought initial-exec TLS in is told by today's culprits."""
        traced = trace_clues(dict(self.clues), self.generator) if self.clues else {}
        return SecondLook(traced, dict(self.damaged), calls={index: (sites, ()) for index, sites in self.calls})


def facts_of(opened: OpenInput) -> StoredWheel:
    """The facts of an open wheel; raises UnreadableInput."""
    contents = opened.contents
    return StoredWheel(
        contents.name,
        contents.tags,
        tuple(contents.modules),
        tuple(contents.unreadable),
        tuple(sorted(contents.not_applicable.items())),
        tuple(contents.nested),
        tuple(sorted(contents.definers.items())),
        tuple(clues_in(opened).items()),
        tuple(damaged_in(opened).items()),
        tuple((index, sites) for index, (sites, _) in descriptor_calls_of(opened).items() if sites is not None),
        opened.generator,
    )
