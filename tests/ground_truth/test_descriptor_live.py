"""What is kept over descriptor calls beside gcc's own live sets, on small random programs; ``make truth-descriptors`` has the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.descriptor_gcc import compare
from tests.support.descriptor_truth import build
from tests.support.gcc_live import live_sets, plugin, plugin_flags

pytestmark = [pytest.mark.compiler, pytest.mark.network]

BUILDS = (("gcc", "-O0"), ("gcc", "-Os", "-fno-ipa-ra"), ("g++", "-O2", "-fno-ipa-ra"), ("gcc", "-O3", "-march=x86-64-v3", "-fno-ipa-ra"))


@pytest.mark.parametrize(("seed", "command"), [pytest.param(n, words, id=" ".join(words)) for n, words in enumerate(BUILDS)])
def test_nothing_is_kept_that_gcc_calls_dead(seed: int, command: tuple[str, ...], tmp_path: Path) -> None:
    sets = tmp_path / "live"
    path = build(tmp_path, 401 + seed, 6, (*command, *plugin_flags(plugin(), sets)))
    found = compare(path, live_sets(path, sets))
    assert found.unpaired == 0
    assert found.more == 0
    assert found.counts["live", "dead"] == found.merged
    assert found.counts["live", "kept"] > 0.8 * sum(n for (says, _), n in found.counts.items() if says == "live") > 20
