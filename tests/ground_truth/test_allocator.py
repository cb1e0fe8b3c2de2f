"""An allocator's thread state in an extension, built for FreeBSD by a real compiler: what the user of such a wheel is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.toolchain import SOURCES, compile_shared
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main

pytestmark = pytest.mark.compiler

MODULE = "pkg/_native.so"
TARGETS = {"amd64": "x86_64-unknown-freebsd14.2", "arm64": "aarch64-unknown-freebsd14.2"}


def wheel(machine: str, model: str, folder: Path) -> str:
    command = ("clang-19", f"--target={TARGETS[machine]}", "-fuse-ld=lld-19")
    data = compile_shared(command, SOURCES / "allocator.c", folder / "m.so", f'-DMODEL="{model}"')
    return str(make_wheel(folder, {MODULE: data}, f"cp312-cp312-freebsd_14_2_release_{machine}"))


@pytest.mark.parametrize("machine", TARGETS)
@pytest.mark.parametrize(("release", "today"), [("14_2", "LD_STATIC_TLS_EXTRA=1024"), ("13_4", "only LD_PRELOAD for python itself helps")])
def test_initial_exec_is_an_error_with_both_ways_out(
    machine: str, release: str, today: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "check",
        "-v",
        "--no-config",
        "--no-own-tags",
        "--target",
        f"freebsd_{release}_{machine}",
        wheel(machine, "initial-exec", tmp_path),
    ]
    assert main(arguments) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "will not import on FreeBSD [initial-exec-tls]" in said
    assert MODULE in said
    assert "_native.so: No space available for static Thread Local Storage" in said
    assert "608 bytes asked; all imports share 128" in said
    assert today in said
    assert "-ftls-model=global-dynamic" in said
    assert ("LD_STATIC_TLS_EXTRA=" in said) == (release == "14_2")


@pytest.mark.parametrize("machine", TARGETS)
def test_the_same_object_with_global_dynamic_is_silent(machine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--no-config", "-q", wheel(machine, "global-dynamic", tmp_path)]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
