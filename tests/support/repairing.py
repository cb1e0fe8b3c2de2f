"""Shared objects that are compiled, repaired, and run beside each other."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.repair_machines import X86_64, TestedMachine, machine_of
from tests.support.runtimes import Runtime
from tests.support.toolchain import SOURCES, require
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.repair.elf_file import read_elf_file
from tls_wheel_guard.repair.plan import RepairPlan, plan_repair
from tls_wheel_guard.repair.prove import repaired

__all__ = [
    "GLIBC",
    "HOST",
    "LINKERS",
    "MUSL",
    "build_object",
    "is_true",
    "linker_truth",
    "planned",
    "repair_file",
    "run_host",
    "unwinds",
    "widest_vectors",
]

HOST = SOURCES / "repair_host.c"
GLIBC, MUSL, LINKERS = X86_64.glibc, X86_64.musl, X86_64.linkers


def build_object(source: Path, output: Path, compiler: str, *flags: str, machine: TestedMachine = X86_64) -> Path:
    """A shared object from a C, C++ or assembler file."""
    words = machine.command(compiler, flags)
    require(words[0])
    command = [*words, "-shared", "-fPIC", "-w", "-o", str(output), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return output


def planned(data: bytes, targets: Sequence[Target] = (), *, drop: bool = False) -> RepairPlan:
    """The plan of a repair. ``targets``: where none is given, glibc of the object's machine."""
    plan = plan_repair(data, targets or (machine_of(data).glibc,), allow_dropping_build_id=drop)
    assert plan is not None, "there is nothing to repair"
    return plan


def repair_file(path: Path, output: Path, targets: Sequence[Target] = (), *, drop: bool = False) -> RepairPlan:
    """Repair and prove one file. ``drop``: the program header of the build-id note may go."""
    data = path.read_bytes()
    plan = planned(data, targets, drop=drop)
    output.write_bytes(repaired(data, plan))
    return plan


def linker_truth(path: Path) -> set[int]:
    """Addresses of the reads as the linker kept them (``-Wl,-q``): the relocations of reads."""
    machine = machine_of(path.read_bytes())
    text = subprocess.run(["readelf", "-rW", str(path)], check=True, capture_output=True, text=True).stdout
    return {int(at, 16) - machine.truth_shift for at in machine.truth.findall(text)}


def is_true(path: Path, found: set[int]) -> bool:
    """Whether the reads that were found in an object are those of the linker.

    gold moves functions of cold and hot sections without their relocations: then only the number can be compared.
    """
    truth, file = linker_truth(path), read_elf_file(path.read_bytes())
    mask, value = machine_of(file.data).truth_word
    if any(int.from_bytes(file.at(address, 4, "a read"), "little") & mask != value for address in truth):
        return len(found) == len(truth)
    return found == truth


def unwinds(runtime: Runtime) -> bool:
    """Whether run_host has an unwinder there: this machine's own glibc, and every glibc under an emulator, whose libgcc_s is beside it."""
    return runtime.libc == "glibc" and (runtime.suite is None or runtime.machine != platform.machine())


def run_host(runtime: Runtime, *words: Path | str, clobber: bool = False, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run tests/sources/repair_host.c in a runtime.

    ``clobber``: with a malloc that destroys every register that a call may destroy and, where there is one, an unwinder.
    """
    flags = ["-pthread", "-w"]
    if clobber:
        # On glibc 2.31 and 2.41 of aarch64 an unwinder crashes inside of malloc in a descriptor's first call, a compiler's descriptor too.
        with_unwinder = unwinds(runtime) and (runtime.suite is None or words[0] == "steps")
        # An older glibc lacks what the compiler's own libgcc_s needs; another one is there at run time.
        unwinder = ["-DUNWIND", "-lgcc_s", "-Wl,--unresolved-symbols=ignore-in-shared-libs"] if with_unwinder else []
        flags += ["-DCLOBBER", "-fno-omit-frame-pointer", *unwinder]
    program = runtime.program(HOST, *flags)
    return subprocess.run(runtime.command(program, *words), capture_output=True, text=True, check=False, timeout=timeout)


@functools.cache
def widest_vectors() -> int:
    """0 for xmm, 1 for ymm, 2 for zmm: what this processor has."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return 2 if "avx512bw" in text else 1 if "avx2" in text else 0
