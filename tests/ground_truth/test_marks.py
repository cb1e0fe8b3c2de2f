"""Marked modules of aarch64, whose GNU ld leaves the flag out: what readelf prints, and the real loader under qemu."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import readelf
from tests.support.toolchain import SOURCES, compile_shared, require
from tls_wheel_guard.commands.mark import mark_file

pytestmark = [pytest.mark.compiler, pytest.mark.emulated]

COMPILER = "aarch64-linux-gnu-gcc"
SOURCE = "static __thread int table[{size}];\nint *entry(void) {{ table[0]++; return table; }}\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A program of aarch64 that opens what it is given, and how to run it."""
    emulator, program = require("qemu-aarch64"), tmp_path_factory.mktemp("host") / "host"
    subprocess.run([require(COMPILER), "-O1", "-o", str(program), str(SOURCES / "host.c"), "-ldl"], check=True)
    return [emulator, "-L", "/usr/aarch64-linux-gnu", str(program)]


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (["-Wl,-z,now"], "DF_STATIC_TLS added to DT_FLAGS"),
        (["-Wl,-Bsymbolic", "-s"], "DF_STATIC_TLS added to DT_FLAGS"),
        ([], "DT_FLAGS with DF_STATIC_TLS in a spare DT_NULL slot"),
        (["-Wl,--spare-dynamic-tags=1", "-Wl,-z,norelro"], "DT_FLAGS with DF_STATIC_TLS in a spare DT_NULL slot"),
        (["-Wl,--spare-dynamic-tags=0"], None),
    ],
)
@pytest.mark.parametrize("size", [3, 4000], ids=["fits", "too large"])
def test_set_or_refused_and_opened_as_before(size: int, options: list[str], how: str | None, host: list[str], tmp_path: Path) -> None:
    source, path, new = tmp_path / "m.c", tmp_path / "m.so", tmp_path / "new.so"
    source.write_text(SOURCE.format(size=size))
    compile_shared((COMPILER,), source, path, "-ftls-model=initial-exec", *options)
    marking = mark_file(path, new)
    if how is None:
        assert marking.refused
        assert not new.exists()
        return
    assert [said for _, said in marking.marked] == [how]
    assert (readelf.read(path).static_tls, readelf.read(new).static_tls) == (False, True)
    assert sum(a != b for a, b in zip(path.read_bytes(), new.read_bytes(), strict=True)) <= 2
    answers = []
    for file in (path, new):
        opened = Path(shutil.copy(file, tmp_path / "opened.so"))
        answers.append(subprocess.run([*host, str(opened)], capture_output=True, text=True, check=True).stdout)
    assert answers[0] == answers[1]
    assert (answers[0] == ":\n") == (size == 3), answers
