"""The loaders, one row each, and a process of each at its start."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.loaders import bionic, freebsd, glibc, musl, other_systems
from tls_wheel_guard.loaders.link_map import Event, LinkMapEntry, Step
from tls_wheel_guard.platforms import Libc, Machine, machine_called
from tls_wheel_guard.records import dataclass, fields, replace

__all__ = ["LOADERS", "ROWS", "Loader", "Row", "State", "Version", "loader_called", "loader_of"]

Version = tuple[int, ...]
MAX_NUMBER = 2**53


class State(Protocol):
    """What every loader's state has: bytes taken and left (0 where the loader keeps no room), and the late modules."""

    @property
    def used(self) -> int:
        """Bytes taken."""

    @property
    def room(self) -> int:
        """Bytes left."""

    @property
    def loaded(self) -> tuple[LinkMapEntry, ...]:
        """The modules that are there."""

    def without_room(self) -> Any:
        """The same process after others have taken all of it."""


S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Row(Generic[S]):
    """One loader. ``fresh``: a process of a version and machine that has loaded nothing late; ``step``: what an event does to it.

    ``numbers``: those of a start that can be given, under the names of the loader's own variables. ``default``: the release that counts
    where none is named. ``oldest``: where a tag names the oldest version and users run newer ones, the oldest that there is: a verdict
    then asks for the tag's and for the default. ``order``: two numbers of which the first can't be above the second by more than ``slack``.
    """

    fresh: Callable[[Version, Machine], S]
    step: Callable[[S, Event], tuple[S, Step]]
    default: Version
    numbers: tuple[str, ...] = ()
    oldest: Version | None = None
    order: tuple[str, str] | None = None
    slack: int = 0

    def judged(self, promised: Version | None) -> tuple[Version, ...]:
        """The versions that a verdict is about. ``promised``: the oldest one of a tag."""
        if self.oldest is None:
            return (promised or self.default,)
        return max(promised or self.oldest, self.oldest), self.default


_OTHER_NUMBERS = ("used", "limit")


def _other(libc: Libc) -> Row[Any]:
    row = other_systems.ROWS[libc]
    keeps = (_OTHER_NUMBERS, _OTHER_NUMBERS) if row.extra else ((), None)
    fresh = lambda version, machine: other_systems.fresh_state(libc, version, machine.name)  # noqa: E731
    return Row(fresh, other_systems.stepper(libc), row.default, keeps[0], order=keeps[1])


ROWS: dict[Libc, Row[Any]] = {
    "glibc": Row(
        lambda version, machine: glibc.fresh_state(version, machine.name, machine.tls_variant),
        glibc.step,
        glibc.CURRENT,
        ("used", "limit", "align", "optional"),
        glibc.OLDEST,
        ("used", "limit"),
    ),
    "freebsd": Row(
        lambda version, machine: freebsd.fresh_state(version, machine.name),
        freebsd.step,
        freebsd.NEWEST,
        ("last_offset", "last_size", "space"),
        order=("last_offset", "space"),
        slack=1,
    ),
    "musl": Row(lambda version, machine: musl.fresh_state(version, machine.name), musl.step, (1, 2, 5)),
    "bionic": Row(lambda version, machine: bionic.fresh_state(version, machine.name), bionic.step, (35,)),
    **{libc: _other(libc) for libc in other_systems.ROWS},
}
"""Every loader that has a model."""
LOADERS = tuple(ROWS)


@dataclass(frozen=True, slots=True)
class Loader(Generic[S]):
    """One loader's model for one version and machine. ``fresh``: a process that has loaded nothing late; ``step`` is pure.

    ``version``: as it was asked for, None for the newest.
    """

    name: Libc
    version: Version | None
    machine: str
    fresh: S
    step: Callable[[S, Event], tuple[S, Step]]
    numbers: tuple[str, ...]

    @property
    def spelling(self) -> str | None:
        """The version as text."""
        return ".".join(map(str, self.version)) if self.version else None

    def start(self, numbers: Mapping[str, int | None]) -> S:
        """The state of a process with these numbers, the rest as in a fresh one; raises UsageError where they contradict each other."""
        for name in numbers:
            if name not in self.numbers:
                takes = f"it takes {', '.join(self.numbers)}" if self.numbers else "it needs none"
                raise UsageError(f"the loader {self.name} has no number {name!r}", hint=takes)
        state: Any = replace(self.fresh, **numbers)  # type: ignore[type-var]
        _check(state, ROWS[self.name])
        return state  # type: ignore[no-any-return]

    def start_numbers(self, state: S) -> dict[str, int | None]:
        """A state's numbers under the loader's own names."""
        return {name: getattr(state, name) for name in self.numbers}


def _check(state: Any, row: Row[Any]) -> None:
    for number in fields(state):
        value = getattr(state, number.name)
        if number.name in row.numbers and value is not None and not 0 <= value <= MAX_NUMBER:
            raise UsageError(f"{number.name} is {value}", hint=f"numbers are bytes, from 0 to {MAX_NUMBER}")
    if "align" in row.numbers and (state.align < 1 or state.align & (state.align - 1)):
        raise UsageError(f"align is {state.align}", hint="it is a power of two, such as 64")
    if row.order is not None:
        (low, less), (high, more) = ((name, getattr(state, name)) for name in row.order)
        if less > more + row.slack:
            raise UsageError(f"{low} is {less} and {high} is {more}", hint=f"{high} can't be less than {low}: give both, as `env` prints them")


def loader_called(name: str, machine: str = "x86_64") -> Loader[Any]:
    """The model of a loader by its name, with or without a version: ``glibc-2.36``, ``musl-1.2.3``, ``freebsd-14.1``, ``illumos``.

    Without a version: the newest that is known. Raises UsageError.
    """
    match = re.fullmatch(r"([a-z]+)(?:-(\d{1,6}(?:\.\d{1,6}){0,3}))?", name)
    libc = match[1] if match else name
    known = machine_called(machine)
    if match is None or libc not in ROWS:
        import difflib  # noqa: PLC0415  (only mistakes need it)

        near = difflib.get_close_matches(libc.split("-")[0], LOADERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"loaders: {', '.join(LOADERS)}, with a version as in glibc-2.36"
        raise UsageError(f"unknown loader {name!r}", hint=hint)
    if known is None:
        raise UsageError(f"unknown machine {machine!r}", hint="machines are spelled as by `show`: x86_64, aarch64, riscv64, ...")
    version = tuple(map(int, match[2].split("."))) if match[2] else None
    return loader_of(libc, version, known)


@lru_cache(maxsize=256)
def loader_of(libc: Libc, version: Version | None, machine: Machine) -> Loader[Any]:
    """The model of a loader; ``version``: None for the newest."""
    row = ROWS[libc]
    if version is None and row.oldest is not None:
        version = row.default
    return Loader(libc, version, machine.name, row.fresh(version or row.default, machine), row.step, row.numbers)
