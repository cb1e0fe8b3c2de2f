"""What ``doctor`` has found: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tls_wheel_guard.live.model import Live

__all__ = ["Advice", "Asked", "Diagnosis", "Kind", "Outcome", "Share", "Stage"]

Outcome = Literal["loads", "static-tls", "fails"]


@dataclass(frozen=True, slots=True)
class Share:
    """Room that one file took: ``size`` bytes with padding. ``stage``: the import that brought it, None for the start-up set."""

    stage: str | None
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What was refused. ``asking``: files with initial-exec code for the variables of ``definer``; sizes in bytes, None where unknown.

    ``opened``: the file whose dlopen was refused, which may only need the others. ``used_before``: the definer's variables had been used
    dynamically, so that it can't get a place any more, whatever the room.
    """

    asking: tuple[str, ...]
    definer: str
    size: int | None
    align: int | None
    opened: str | None
    used_before: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What became of one import.

    ``stages``: what was done, in order; the last may have failed, and then ``not_tried`` are the rest. ``took``: who has room, in order.
    ``room``: bytes left at the end, None where the loader keeps none or they can't be read. ``refused``: words of the loader about static
    TLS in an import that worked all the same. ``disagrees``: where model and process first differ, None where nowhere or without a model.
    ``hint``: what to look at where another failure has a usual cause. ``swallowed``: the loader's words, where the import went on after them.
    """

    live: Live
    outcome: Outcome
    stages: tuple[Stage, ...]
    took: tuple[Share, ...]
    room: int | None
    refused: tuple[str, ...] = ()
    asked: Asked | None = None
    has_model: bool = False
    disagrees: str | None = None
    advice: tuple[Advice, ...] = ()
    swallowed: str | None = None
    not_tried: tuple[str, ...] = ()
    hint: str | None = None

    @property
    def error(self) -> str | None:
        """The exception, its type first."""
        return self.stages[-1].error if self.stages else None


Kind = Literal["import-order", "tunables", "preload", "extra", "author"]


@dataclass(frozen=True, slots=True)
class Advice:
    """One remedy. ``helps``: whether it is advised; if not, ``text`` says why not.

    ``command``: what to type before or in place of ``python``. ``least``, ``padded``: values by name. ``simulated``, ``ran``: whether the
    model says that it works, and whether it did; None where that was not tried. ``then``: the other failure that the import ends with when
    this one is gone.
    """

    kind: Kind
    helps: bool
    text: str
    command: str | None = None
    least: Mapping[str, int] | None = None
    padded: Mapping[str, int] | None = None
    simulated: bool | None = None
    ran: bool | None = None
    then: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One import, or the opening of one file. ``error``: the exception, None when it worked; ``static_tls``: the loader's words in it."""

    name: str
    error: str | None = None
    static_tls: str | None = None
