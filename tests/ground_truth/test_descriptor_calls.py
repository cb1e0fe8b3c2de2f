"""Descriptor calls and what is kept over them: small random programs of each compiler and linker beside relocations and runs.

``make truth-descriptors`` does the same with more than ten thousand sites; docs/proofs/descriptors.md has its figures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.descriptor_truth import build, compare

pytestmark = pytest.mark.compiler

BUILDS = (
    ("gcc", "-O2"), ("g++", "-O2", "-fuse-ld=gold"), ("gcc", "-O3", "-march=x86-64-v3", "-fuse-ld=mold"), ("g++", "-Os"), ("gcc", "-O0"),
    ("clang-19", "-O2", "-fuse-ld=lld-19"), ("clang++-19", "-O3"), ("clang-19", "-O0"), ("g++", "-O2", "-flto"),
)  # fmt: skip


@pytest.mark.parametrize(("seed", "command"), [pytest.param(n, words, id=" ".join(words)) for n, words in enumerate(BUILDS)])
def test_calls_are_those_of_the_linker_and_dead_ones_change_nothing(seed: int, command: tuple[str, ...], tmp_path: Path) -> None:
    path = build(tmp_path, 1000 + seed, 5, command)
    outcome = compare(path)
    assert not outcome.unread
    assert not outcome.missed
    assert not outcome.extra
    assert not outcome.wrong, f"at {[hex(site) for site in outcome.wrong]} the result changes"
    changed = {said: n for (said, ran), n in outcome.counts.items() if ran == "changed"}
    assert changed.get("kept", 0) >= 0.95 * sum(changed.values()) > 0
