"""glibc's second limit, up to 2.21: elf/dl-open.c:dl_open_worker at 2.17, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.demands import module
from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import check_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.loaders import Close, Given, Open, loader_called

WORDS = "dlopen: cannot load any more object with static TLS"


def opened(version: str, count: int, *, threads: bool = True) -> tuple[object, list[str | None]]:
    """What is said when ``count`` dynamic modules are followed by a static one; the C library has the first id."""
    loader = loader_called(f"glibc-{version}")
    state, said = replace(loader.fresh, threads=threads), []
    for late in [*(module(f"d{n}.so", 8, 8, static=False) for n in range(count)), module("static.so", 8, 8)]:
        state, step = loader.step(state, Open(late, Given()))
        said.append(step.error)
    return state, said


@pytest.mark.parametrize("version", ["2.5", "2.12", "2.17", "2.21"])
def test_the_fifteenth_module_is_refused(version: str) -> None:
    """Ids count every module with TLS, static or not; the limit is 14, and the C library has the first."""
    assert opened(version, 12)[1][-1] is None
    assert opened(version, 13)[1][-1] == WORDS
    assert opened(version, 13, threads=False)[1][-1] is None
    assert opened("2.22", 40)[1][-1] is None


def test_a_refused_module_gives_its_id_back_and_a_closed_one_makes_place() -> None:
    loader = loader_called("glibc-2.17")
    state, said = opened("2.17", 13)
    assert said[-1] == WORDS
    state, _ = loader.step(state, Close(module("d3.so", 8, 8, static=False)))
    _, step = loader.step(state, Open(module("static.so", 8, 8), Given()))
    assert step.loads


def test_check_and_simulate_know_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wheel of 15 modules with TLS, one of them by initial-exec and last: fine on glibc 2.28, too many on manylinux2014."""
    dynamic, static = build(Spec(relocs=(Reloc(16), Reloc(17)), tls=Tls(8, 8))), build(Spec(relocs=(Reloc(18),), tls=Tls(8, 8)))
    members = {f"pkg/d{n}.so": dynamic for n in range(15)} | {"pkg/z.so": static}
    paths = []
    for name, data in members.items():
        path = tmp_path / name.rsplit("/", 1)[-1]
        path.write_bytes(data)
        paths.append(str(path))
    assert main(["simulate", "--loader", "glibc-2.17", *paths]) == 1
    assert WORDS in capsys.readouterr().out
    assert main(["simulate", "--loader", "glibc-2.28", *paths]) == 0
    every = {f"pkg/s{n}.so": static for n in range(15)}
    old = check_wheel(make_wheel(tmp_path, every, "cp312-cp312-manylinux2014_x86_64"))
    new = check_wheel(make_wheel(tmp_path, every, "cp312-cp312-manylinux_2_28_x86_64"))
    (finding,) = (each for each in old.findings if each.rule == "static-tls-overflow")
    assert "above 14" in finding.message
    assert "static-tls-overflow" not in {finding.rule for finding in new.findings}
