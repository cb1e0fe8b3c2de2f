"""local-exec-tls: what GNU ld for aarch64 lets through, and what it does when it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.runtimes import emulated
from tests.support.toolchain import COMPILERS, SOURCES, compile_shared, require
from tests.support.wheels import fetch, unpack
from tls_wheel_guard import check_wheel
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.headers import read_header, read_segments
from tls_wheel_guard.elf.local_exec import local_exec_sites

pytestmark = pytest.mark.compiler

GCC = COMPILERS["aarch64"]
CLANG = ("clang-19", "--target=aarch64-linux-gnu", "-fuse-ld=/usr/bin/aarch64-linux-gnu-ld")
LOCAL_EXEC = ("-ftls-model=local-exec",)
WAYS = {
    "gcc -O0": (GCC, ("-O0",)),
    "gcc -O2": (GCC, ("-O2",)),
    "gcc -Os": (GCC, ("-Os",)),
    "gcc, small": (GCC, ("-O2", "-mtls-size=12")),
    "gcc, beyond a page": (GCC, ("-O2", "-DBULK=20000")),
    "gcc without -fPIC": (GCC, ("-O2", "-fno-pic", "-fno-pie")),
    "clang -O0": (CLANG, ("-O0",)),
    "clang -O2": (CLANG, ("-O2",)),
    "clang, beyond a page": (CLANG, ("-O2", "-DBULK=20000")),
}


def build(way: str, folder: Path, *flags: str) -> Path:
    compiler, options = WAYS[way]
    output = folder / "m.so"
    compile_shared(compiler, SOURCES / "local_exec.c", output, *options, *flags)
    return output


@pytest.mark.parametrize("way", WAYS)
def test_found_when_compiled_so(way: str, tmp_path: Path) -> None:
    report = check_wheel(build(way, tmp_path, *LOCAL_EXEC))
    (finding,) = report.findings
    assert (finding.rule, finding.severity) == ("local-exec-tls", "warning")
    # bulk, counter, add: three functions or more read it.
    assert len(report.modules[0].shared_object.local_exec) >= 3


@pytest.mark.parametrize("way", [way for way in WAYS if "PIC" not in way])
@pytest.mark.parametrize("model", ["global-dynamic", "local-dynamic", "initial-exec"])
def test_silent_on_the_other_models(way: str, model: str, tmp_path: Path) -> None:
    report = check_wheel(build(way, tmp_path, f"-ftls-model={model}"))
    assert "local-exec-tls" not in {f.rule for f in report.findings}
    assert report.modules[0].shared_object.tls_segment is not None


def test_silent_on_a_thread_name_alone(tmp_path: Path) -> None:
    source = tmp_path / "name.c"
    source.write_text(
        "__thread char unused[4096] __attribute__((used)) = {1};\n"
        "unsigned long name(void) { return (unsigned long)__builtin_thread_pointer(); }\n"
        "unsigned long load(void) { return ((unsigned long *)__builtin_thread_pointer())[5]; }\n"
        "unsigned long mixed(void) { return name() * 31 + 7; }\n"
    )
    data = compile_shared(GCC, source, tmp_path / "m.so", "-O2")
    found = read_shared_object(BytesSource(data))
    assert found.accesses == ()
    assert found.tls_segment is not None
    assert found.local_exec == ()


@pytest.mark.network
def test_silent_on_mimalloc(tmp_path: Path) -> None:
    """Its code reads the thread pointer as a thread's name, in dozens of places; asked past its relocations, none is taken for more."""
    wheel = fetch("cachebox==5.2.0", "manylinux2014_aarch64", "3.12")
    folder = unpack(wheel, tmp_path)
    report = check_wheel(wheel)
    module = next(m for m in report.modules if m.shared_object.initial_exec.own)
    source = BytesSource((folder / module.path).read_bytes())
    assert module.shared_object.tls_segment is not None
    segments = read_segments(source, read_header(source))
    assert local_exec_sites(source, segments, module.shared_object.tls_segment) == ()


@pytest.mark.emulated
@pytest.mark.parametrize("way", ["gcc -O2", "clang -O2"])
def test_it_overwrites_the_programs_variables(way: str, tmp_path: Path) -> None:
    runtime = emulated("aarch64")
    require("qemu-aarch64")
    host = runtime.program(SOURCES / "local_exec_host.c")
    said = {}
    for model in ("local-exec", "global-dynamic"):
        library = build(way, tmp_path, f"-ftls-model={model}")
        run = subprocess.run(runtime.command(host, library), capture_output=True, text=True, check=True)
        said[model] = run.stdout.split("\n")[:2]
    assert said["global-dynamic"] == ["counter 8", "intact"]
    assert said["local-exec"][1] == "overwritten", said
