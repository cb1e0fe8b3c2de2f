"""Random histories of a process: the models say byte for byte what the real loaders do. The long run is `make truth`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.runtimes import EMULATED, Runtime, cases, emulated, musl, native, release
from tests.support.truth import Tally, compare
from tls_wheel_guard.loaders import glibc
from tls_wheel_guard.loaders.link_map import Block
from tls_wheel_guard.tls import TlsDemand

pytestmark = pytest.mark.compiler

SEED = 1_000_000
RUNTIMES: dict[str, tuple[Callable[[], Runtime], int]] = {
    "glibc": (native, 150),
    "glibc of 2020": (lambda: release("bullseye"), 40),
    "glibc of 2025": (lambda: release("trixie"), 40),
    "the newest glibc": (lambda: release("sid"), 40),
    "musl": (musl, 60),
    **{machine: (lambda machine=machine: emulated(machine), 20) for machine in EMULATED},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", cases(RUNTIMES))
def test_the_model_does_what_the_loader_does(name: str, tmp_path: Path) -> None:
    make, count = RUNTIMES[name]
    runtime, tally = make(), Tally()
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        compare(runtime, SEED + number, folder, tally)
    assert tally.differences == []
    assert tally.histories == count
    assert min(tally.loads, tally.refusals, tally.closes) > count // 4, tally


@pytest.mark.parametrize(
    ("name", "seeds"), [pytest.param("riscv64", (91020, 91066), marks=pytest.mark.emulated), ("musl", (91220, 91245))], ids=["riscv64", "musl"]
)
def test_of_two_refusals_the_first_is_told(name: str, seeds: tuple[int, ...], tmp_path: Path) -> None:
    """riscv64 finds the name of a descriptor even where nobody defines it; musl relocates DT_JMPREL first."""
    runtime, tally = RUNTIMES[name][0](), Tally()
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        compare(runtime, seed, folder, tally)
    assert tally.differences == []


def test_the_model_does_what_python_sees(tmp_path: Path) -> None:
    tally = Tally()
    for number in range(15):
        folder = tmp_path / str(number)
        folder.mkdir()
        compare(native(), SEED + number, folder, tally, python=Path(sys.executable))
    assert tally.differences == []
    assert tally.loads > 20


def _wasteful(state: glibc.State, demand: TlsDemand, *, optional: bool = False) -> tuple[glibc.State, int] | None:
    placed = glibc.allocate(state, demand, optional=optional)
    return placed and (replace(placed[0], used=placed[0].used + 1), placed[1] + 1)


def _generous(used: int, blocks: list[Block]) -> int:
    return used - sum(block.end - block.start for block in blocks)


@pytest.mark.parametrize(("name", "wrong"), [("allocate", _wasteful), ("give_back", _generous)])
def test_a_wrong_model_is_noticed(name: str, wrong: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: with a byte of padding too many, and with a dlclose that gives everything back."""
    monkeypatch.setattr(f"tls_wheel_guard.loaders.glibc.process.{name}", wrong)
    tally = Tally()
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        compare(native(), SEED + number, folder, tally)
    assert tally.differences
