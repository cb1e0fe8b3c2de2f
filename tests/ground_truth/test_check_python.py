"""``check --python``: the rules count with the room that a real interpreter has left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.musl_python import musl_python
from tests.support.toolchain import this_glibc
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.live.reading import read_live


def half_of(room: int) -> bytes:
    return build(Spec(relocs=(Reloc(18),), tls=Tls(room // 2, 1), flags=0x10))


def rules(wheel: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], str]:
    main(["check", "--no-config", "--format", "json", str(wheel), "--select", "static-tls-overflow", *words])
    said = capsys.readouterr()
    (report,) = json.loads(said.out)["wheels"]
    return [finding["message"] for finding in report["findings"]], said.err


def test_the_room_of_an_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    this_glibc()
    room = read_live(sys.executable).room
    assert room is not None
    for spare, fits in ((0, True), (2, False)):
        half = half_of(room + spare)
        wheel = make_wheel(tmp_path, {"a.so": half, "b.so": half}, "cp312-cp312-manylinux_2_34_x86_64")
        found, _ = rules(wheel, capsys, "--python", sys.executable)
        assert (found == []) == fits
        if found:
            assert f"{sys.executable} leaves {room:,}" in found[0]
    # Without an interpreter the setting counts: both halves are above 1664.
    assert room > 1664
    found, _ = rules(wheel, capsys)
    assert "leaves 1,664" in found[0]


@pytest.mark.network
@pytest.mark.compiler
def test_an_interpreter_without_room_to_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = make_wheel(tmp_path, {"a.so": half_of(100)}, "cp312-cp312-musllinux_1_2_x86_64")
    python = musl_python()
    found, said = rules(wheel, capsys, "--python", str(python))
    assert found == []
    assert said == f"tls-wheel-guard: {python}: the loader keeps no room for late modules; the wheel's targets alone decide\n"
