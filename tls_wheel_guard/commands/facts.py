"""What is kept of a wheel so that it can be judged again without it: the contents, and the clues to who brought initial-exec TLS in."""

from __future__ import annotations

from collections.abc import Sequence

from tls_wheel_guard.commands.check import SecondLook, damaged_in, descriptor_calls_of
from tls_wheel_guard.commands.culprits import clues_in, trace_clues
from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.culprits.clues import Clues
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.culprits.descriptors import descriptor_suspects
from tls_wheel_guard.index.policy import ClearModule, Policy
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass, replace

__all__ = ["StoredClear", "StoredWheel", "facts_of", "is_certain"]

MOST_TOGETHER, MOST_ALIGNED = 13, 64
"""Modules that glibc up to 2.21 surely has numbers for, and bytes that every glibc aligns static blocks to."""


@dataclass(frozen=True, slots=True)
class StoredClear:
    """A wheel whose modules are clear by their beginnings."""

    modules: tuple[ClearModule, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredCalls:
    """A module's calls through TLS descriptors, None where none can lose registers; words in its data that say who chose descriptors."""

    index: int
    sites: DescriptorSites | None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredWheel:
    """A wheel, or those of its members that were read whole.

    ``clues``, ``damaged``: module's index, and its clues, what is wrong with its repair. The rest is as in :class:`Contents`.
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
    calls: tuple[StoredCalls, ...] = ()
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
        return SecondLook(traced, dict(self.damaged), calls={call.index: (call.sites, self._who(call.words)) for call in self.calls})

    def _who(self, words: Sequence[str]) -> tuple[Suspect, ...]:
        return descriptor_suspects(words, known_culprits(), self.generator) if words else ()


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
        tuple(StoredCalls(index, sites, _words(suspects)) for index, (sites, suspects) in descriptor_calls_of(opened).items()),
        opened.generator,
    )


def _words(suspects: Sequence[Suspect]) -> tuple[str, ...]:
    return tuple(text for suspect in suspects for text in suspect.match.culprit.words.descriptors)


def is_certain(stored: StoredWheel, clear: Sequence[ClearModule], targets: Sequence[Target], policy: Policy) -> bool:
    """Whether a wheel can be judged by some members alone, since nothing that the others' beginnings leave open can matter.

    The beginnings do not say what a module needs, what it is called and what it defines. So no variable may be looked up among modules,
    no culprit may depend on who needs it, and all modules that take room must fit together in any order.
    """
    if not clear:
        return True
    if not policy.allows(targets, clear) or stored.contents.foreign_names() or any(call.sites and call.sites.kept for call in stored.calls):
        return False
    by_index = {module.index: module for module in stored.modules}
    for index, clues in stored.clues:
        names = {by_index[index].facts.soname or clues.file_name, clues.file_name}
        if replace(clues, needed_inside=False).interposes and any(c.may_need(name) for c in clear for name in names):
            return False
    asking = [m.facts for m in stored.modules if m.is_shared and (m.facts.initial_exec.count or m.facts.df_static_tls or m.facts.dynamic.tlsdesc)]
    blocks = [facts.tls_segment for facts in asking] + [c.segment for c in clear if policy.takes(targets, c)]
    if len(blocks) <= 1:
        # What is refused alone has its own finding, and nothing else takes room.
        return True
    few = len(blocks) <= MOST_TOGETHER and all(block is None or 0 < block.align <= MOST_ALIGNED for block in blocks)
    return few and sum(block.memsz + 2 * block.align for block in blocks if block is not None) <= policy.room
