"""Loaders by name, and a process of each at its start."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.loaders import bionic, freebsd, glibc, musl, other_systems
from tls_wheel_guard.loaders.link_map import Event, Step
from tls_wheel_guard.platforms import Libc, machine_called

__all__ = ["LOADERS", "NUMBERS", "Loader", "State", "loader_called"]


class State(Protocol):
    """What every loader's state has: bytes taken and left, None where the loader keeps no room at all."""

    @property
    def used(self) -> int:
        """Bytes taken."""

    @property
    def room(self) -> int:
        """Bytes left."""


@dataclass(frozen=True, slots=True)
class Loader:
    """One loader's model for one version and machine. ``numbers``: what ``start`` takes; ``step`` is pure."""

    name: Libc
    version: tuple[int, ...] | None
    machine: str
    fresh: Any
    step: Callable[[Any, Event], tuple[Any, Step]]
    numbers: tuple[str, ...]

    @property
    def spelling(self) -> str | None:
        """The version as text."""
        return ".".join(map(str, self.version)) if self.version else None

    def start(self, numbers: Mapping[str, int | None]) -> Any:
        """The state of a process with these numbers, the rest as in a fresh one; raises UsageError where they contradict each other."""
        for name in numbers:
            if name not in self.numbers:
                takes = f"it takes {', '.join(self.numbers)}" if self.numbers else "it needs none"
                raise UsageError(f"the loader {self.name} has no number {name!r}", hint=takes)
        state = replace(self.fresh, **numbers)
        _check(state, self.name)
        return state

    def start_numbers(self, state: Any) -> dict[str, int | None]:
        """A state's numbers under the loader's own names."""
        return {name: getattr(state, name) for name in self.numbers}


NUMBERS: dict[Libc, tuple[str, ...]] = {
    "glibc": ("used", "limit", "align", "optional"),
    "freebsd": ("last_offset", "last_size", "space"),
    "musl": (),
    "bionic": (),
    "netbsd": ("used", "limit"),
    "openbsd": (),
    "illumos": ("used", "limit"),
    "dragonfly": ("used", "limit"),
}
"""Loader -> the numbers of its start, under the names of its own variables."""
LOADERS = tuple(NUMBERS)
MAX_NUMBER = 2**53


def _check(state: Any, name: Libc) -> None:
    for number in fields(state):
        value = getattr(state, number.name)
        if number.name in NUMBERS[name] and value is not None and not 0 <= value <= MAX_NUMBER:
            raise UsageError(f"{number.name} is {value}", hint=f"numbers are bytes, from 0 to {MAX_NUMBER}")
    if name == "glibc":
        if state.align < 1 or state.align & (state.align - 1):
            raise UsageError(f"align is {state.align}", hint="it is a power of two, such as 64")
        _order("used", state.used, "limit", state.limit)
    elif name == "freebsd":
        _order("last_offset", state.last_offset, "space", state.space)
    elif state.limit is not None:
        _order("used", state.used, "limit", state.limit)


def _order(low: str, less: int, high: str, more: int) -> None:
    if less > more:
        raise UsageError(f"{low} is {less} and {high} is {more}", hint=f"{high} can't be less than {low}: give both, as `env` prints them")


def loader_called(name: str, machine: str = "x86_64") -> Loader:
    """The model of a loader by its name, with or without a version: ``glibc-2.36``, ``musl-1.2.3``, ``freebsd-14.1``, ``illumos``.

    Without a version: the newest that is known. Raises UsageError.
    """
    match = re.fullmatch(r"([a-z]+)(?:-(\d{1,6}(?:\.\d{1,6}){0,3}))?", name)
    libc = match[1] if match else name
    known = machine_called(machine)
    if match is None or libc not in NUMBERS:
        near = difflib.get_close_matches(libc.split("-")[0], LOADERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"loaders: {', '.join(LOADERS)}, with a version as in glibc-2.36"
        raise UsageError(f"unknown loader {name!r}", hint=hint)
    if known is None:
        raise UsageError(f"unknown machine {machine!r}", hint="machines are spelled as by `show`: x86_64, aarch64, riscv64, ...")
    version = tuple(map(int, match[2].split("."))) if match[2] else None
    return _loader(libc, version, known.name, known.tls_variant)


def _loader(libc: Libc, version: tuple[int, ...] | None, machine: str, variant: int) -> Loader:
    numbers = NUMBERS[libc]
    if libc == "glibc":
        version = version or glibc.CURRENT
        return Loader(libc, version, machine, glibc.fresh_state(version, machine, variant), glibc.step, numbers)
    if libc == "freebsd":
        return Loader(libc, version, machine, freebsd.fresh_state(version, machine), freebsd.step, numbers)
    if libc == "musl":
        return Loader(libc, version, machine, musl.fresh_state(version, machine), musl.step, numbers)
    if libc == "bionic":
        return Loader(libc, version, machine, bionic.fresh_state(version, machine), bionic.step, numbers)
    return Loader(libc, version, machine, other_systems.fresh_state(libc, version, machine), other_systems.stepper(libc), numbers)
