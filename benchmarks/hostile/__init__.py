"""Hostile input by kind: a module each, with its seeds and an oracle, which damage.py and fuzz.py both use.

A module has ``LONGEST``, the bytes of an input; ``seeds()``, its seeds; ``judge(data)``, which gives what came of one input as a word or
two and raises where that is wrong; and where the default does not do, ``case(chance, number, seeds)``, which damages one. A bare
exception is as wrong as :class:`Wrong`: whatever the product raises on purpose is expected there.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.mutations import broken

__all__ = ["DAMAGED", "Kind", "Wrong", "kind_of"]

DAMAGED = ("check", "elf", "wheel", "repair", "descriptors", "reports", "index", "fix")


class Wrong(AssertionError):  # noqa: N818  (the guard is wrong, and not the program)
    """The guard gave an answer that can't be right."""


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    name: str
    longest: int
    seeds: Callable[[], list[bytes]]
    judge: Callable[[bytes], str]
    case: Callable[[random.Random, int, Sequence[bytes]], bytes]


def _any(chance: random.Random, number: int, seeds: Sequence[bytes]) -> bytes:
    del number
    return broken(chance.choice(seeds), chance)


def kind_of(name: str) -> Kind:
    """A kind by its name; the product is imported here, and not before."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Kind(name, module.LONGEST, module.seeds, module.judge, getattr(module, "case", _any))
