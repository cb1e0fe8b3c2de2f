"""Every row of the relocation table, proved: a real object of a real compiler, read by the guard and by GNU readelf."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support import readelf
from tests.support.toolchain import COMPILERS, DESCRIPTORS, SOURCES, VARIANTS, compile_shared, require
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.platforms import MACHINES

pytestmark = pytest.mark.compiler


def test_each_machine_has_a_row_and_a_compiler() -> None:
    assert set(COMPILERS) == {machine.name for machine in MACHINES}
    assert {machine.e_machine for machine in MACHINES} == set(TLS_RELOCS)


ABIS = {**{machine: (machine, command) for machine, command in COMPILERS.items()}, **VARIANTS}


@pytest.mark.parametrize("abi", ABIS)
def test_facts_equal_readelf(abi: str, tmp_path: Path) -> None:
    machine, command = ABIS[abi]
    path = tmp_path / "truth.so"
    found = read_shared_object(BytesSource(compile_shared(command, SOURCES / "models.c", path)))
    assert found.machine is not None
    assert found.machine.name == machine
    readelf.assert_same(found, readelf.read(path), abi)
    # models.c: one own variable and two of other modules by initial-exec; some linkers turn more accesses of their own.
    assert found.initial_exec.own >= 1
    assert {(s.name, s.weak) for s, _ in found.initial_exec.foreign_symbols} == {("foreign", False), ("foreign_weak", True)}


@pytest.mark.parametrize("machine", COMPILERS)
def test_all_initial_exec_and_none(machine: str, tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    variables = "__thread int x = 1; static __thread int y[50]; extern __thread int z;"
    source.write_text(variables + "int *f(int i) { return i ? y + i : &x; } int *g(void) { return &z; }")
    for model in ("initial-exec", "global-dynamic"):
        path = tmp_path / f"{model}.so"
        found = read_shared_object(BytesSource(compile_shared(COMPILERS[machine], source, path, f"-ftls-model={model}")))
        readelf.assert_same(found, readelf.read(path), f"{machine} {model}")
        assert (found.initial_exec.count > 0) == (model == "initial-exec")


@pytest.mark.parametrize("machine", DESCRIPTORS)
def test_descriptors(machine: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.so"
    source = tmp_path / "plain.c"
    source.write_text("extern __thread int z; static __thread int y; int *f(void) { return &z; } int *g(void) { return &y; }")
    found = read_shared_object(BytesSource(compile_shared(DESCRIPTORS[machine], source, path)))
    require("llvm-readelf-19")
    # GNU readelf 2.40 does not know the descriptors of riscv and loongarch; LLVM's does, but for the name's spelling.
    text = subprocess.run(["llvm-readelf-19", "-Wr", str(path)], capture_output=True, text=True, check=True).stdout
    named = Counter(word for word in text.split() if word.startswith("R_") and ("TLSDESC" in word or "TLS_DESC" in word))
    assert found.dynamic.tlsdesc == sum(named.values()) > 0
    assert found.initial_exec.count == 0


@pytest.mark.parametrize("machine", ["i386", "s390x", "ppc64le"])
def test_text_relocations_of_position_dependent_code(machine: str, tmp_path: Path) -> None:
    """Linkers that let local-exec code into a shared object leave initial-exec relocations in the instructions."""
    path, source = tmp_path / "truth.so", tmp_path / "plain.c"
    source.write_text("static __thread int y[50] = {1}; int *f(int i) { return y + i; }")
    found = read_shared_object(BytesSource(compile_shared(COMPILERS[machine], source, path, "-fno-pic")))
    readelf.assert_same(found, readelf.read(path), machine)
    assert found.initial_exec.own > 0


@pytest.mark.parametrize("machine", ["x86_64-linux-gnu", "aarch64-linux-gnu", "riscv64-linux-gnu", "i686-linux-gnu"])
@pytest.mark.parametrize("packing", ["android", "relr", "android+relr"])
def test_packed_tables_of_a_real_linker(machine: str, packing: str, tmp_path: Path) -> None:
    """lld packs the same objects' relocations; the guard reads the same accesses, and llvm-readelf counts the same entries."""
    command = ("clang-19", f"--target={machine}", "-fuse-ld=lld-19")
    source = tmp_path / "pointers.c"
    source.write_text((SOURCES / "models.c").read_text() + "int v; int *p[300] = {" + "&v," * 300 + "}; extern int w; int *q = &w;")
    plain = read_shared_object(BytesSource(compile_shared(command, source, tmp_path / "plain.so")))
    path = tmp_path / "packed.so"
    packed = read_shared_object(BytesSource(compile_shared(command, source, path, f"-Wl,--pack-dyn-relocs={packing}")))
    assert packed.initial_exec.types == plain.initial_exec.types
    assert packed.initial_exec.foreign_symbols == plain.initial_exec.foreign_symbols
    assert packed.dynamic == plain.dynamic
    assert packed.dynamic_relocations + packed.relr_relative == plain.dynamic_relocations
    require("llvm-readelf-19")
    text = subprocess.run(["llvm-readelf-19", "-Wr", str(path)], capture_output=True, text=True, check=True).stdout
    assert sum(" R_" in line for line in text.splitlines()) == packed.dynamic_relocations + packed.relr_relative
