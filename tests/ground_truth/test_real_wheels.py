"""Real wheels, opened by the real loaders: what the guard says of their modules is what happens.

The symbols of Python are stubbed, so that any C process can open an extension module.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.toolchain import open_in_turn, require, this_glibc
from tests.support.wheels import fetch, unpack
from tls_wheel_guard import check_wheel
from tls_wheel_guard.findings import ModuleReport
from tls_wheel_guard.loaders.refusals import LATE, NO_ROOM

pytestmark = [pytest.mark.network, pytest.mark.compiler]

MANYLINUX, MUSLLINUX_1_1, MUSLLINUX_1_2 = "manylinux2014_x86_64", "musllinux_1_1_x86_64", "musllinux_1_2_x86_64"
WHEELS = [
    ("granian==0.1.5", MANYLINUX),
    ("memray==1.15.0", MANYLINUX),
    ("scikit-learn==1.2.2", MANYLINUX),
    ("faiss-cpu==1.7.4", MANYLINUX),
    ("markupsafe==2.1.5", MANYLINUX),
    ("granian==0.1.5", MUSLLINUX_1_1),
    ("pydantic-core==0.7.1", MUSLLINUX_1_1),
    ("markupsafe==2.1.5", MUSLLINUX_1_1),
    ("cachebox==5.2.0", MUSLLINUX_1_2),
    ("rpds-py==0.18.0", MUSLLINUX_1_2),
    ("orjson==3.10.0", MUSLLINUX_1_2),
]
"""Seven modules with initial-exec TLS (mimalloc, libgomp, memray's own) among them."""
EACH = 4
"""Modules that are opened of each wheel, those with initial-exec first."""


def stub(compiler: str, modules: list[Path], folder: Path) -> Path:
    """A library that defines the symbols of Python's C API that the modules leave undefined."""
    require("nm")
    names: set[str] = set()
    for module in modules:
        text = subprocess.run(["nm", "-D", "--undefined-only", str(module)], capture_output=True, text=True, check=True).stdout
        names.update(name for name in (line.split()[-1].split("@")[0] for line in text.splitlines()) if name.startswith(("Py", "_Py")))
    source, library = folder / "stub.c", folder / f"stub-{compiler}.so"
    source.write_text("\n".join(f"char {name}[64];" for name in sorted(names)))
    subprocess.run([compiler, "-shared", "-fPIC", "-nostdlib", "-o", str(library), str(source)], check=True)
    return library


def words_for(module: ModuleReport, libc: str) -> str | None:
    """What the loader must say: "" loads; None where the verdict leaves it open."""
    (outcome,) = {v.outcome for v in module.verdicts if v.target.libc == libc}
    if outcome.word == "unsafe":
        return None
    if libc == "musl":
        return LATE.mark if outcome.word == "never" else ""
    fit = outcome.fits_fresh_process
    return "" if fit is None or fit.current else NO_ROOM.mark


@pytest.mark.parametrize(("requirement", "platform"), WHEELS)
def test_the_loader_does_what_the_guard_says(requirement: str, platform: str, tmp_path: Path) -> None:
    compiler, libc = ("gcc", "glibc") if platform == MANYLINUX else ("musl-gcc", "musl")
    if libc == "glibc":
        this_glibc()
    wheel = fetch(requirement, platform, "3.11")
    report = check_wheel(wheel)
    unpack(wheel, tmp_path)
    modules = sorted((m for m in report.modules if m.kind == "shared"), key=lambda m: -m.demand.own_static)[:EACH]
    library = stub(compiler, [tmp_path / m.path for m in modules], tmp_path)
    opened = 0
    for module in modules:
        said = open_in_turn(compiler, tmp_path / module.path, environment={"LD_PRELOAD": str(library)})[-1]
        expected = words_for(module, libc)
        usable = said == "" or NO_ROOM.mark in said or LATE.mark in said
        assert usable or not module.demand.own_static, (module.path, said)
        if usable and expected is not None:
            opened += 1
            assert (expected in said) if expected else said == "", (module.path, said, expected)
    assert opened >= 1, "no module of this wheel could be opened at all"
