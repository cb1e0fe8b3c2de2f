"""Shared objects that are compiled, repaired, and run beside each other."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.runtimes import Runtime
from tests.support.toolchain import SOURCES, require
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.repair.plan import RepairPlan, plan_repair
from tls_wheel_guard.repair.prove import repaired

__all__ = ["GLIBC", "HOST", "LINKERS", "MUSL", "build_object", "linker_truth", "planned", "repair_file", "run_host", "widest_vectors"]

HOST = SOURCES / "repair_host.c"
GLIBC = Target("manylinux_2_17_x86_64", "x86_64", "glibc", (2, 17))
MUSL = Target("musllinux_1_2_x86_64", "x86_64", "musl", (1, 2))
LINKERS: dict[str, tuple[str, ...]] = {
    "bfd": ("-fuse-ld=bfd",),
    "bfd, one segment": ("-fuse-ld=bfd", "-Wl,-z,noseparate-code"),
    "bfd, 2 MiB": ("-fuse-ld=bfd", "-Wl,-z,noseparate-code,-z,max-page-size=0x200000"),
    "bfd, now": ("-fuse-ld=bfd", "-Wl,-z,now,--build-id"),
    "bfd, relr": ("-fuse-ld=bfd", "-Wl,-z,pack-relative-relocs"),
    "bfd, cet": ("-fuse-ld=bfd", "-fcf-protection=full", "-Wl,-z,ibt,-z,shstk"),
    "bfd, no relro": ("-fuse-ld=bfd", "-Wl,-z,norelro"),
    "bfd, sysv hash": ("-fuse-ld=bfd", "-Wl,--hash-style=sysv"),
    "bfd, no table": ("-fuse-ld=bfd", "-Wl,--no-eh-frame-hdr"),
    "bfd, stripped": ("-fuse-ld=bfd", "-s"),
    "gold": ("-fuse-ld=gold",),
    "lld": ("-fuse-ld=lld",),
    "lld, stripped": ("-fuse-ld=lld", "-s"),
    "lld, 64 KiB": ("-fuse-ld=lld", "-Wl,-z,max-page-size=0x10000"),
    "lld, one segment": ("-fuse-ld=lld", "-Wl,-z,noseparate-code,--no-rosegment"),
    "mold": ("-fuse-ld=mold",),
    "mold, stripped": ("-fuse-ld=mold", "-s"),
}
"""Name of a layout -> the flags that make it, for gcc and for clang."""
_KEPT = re.compile(r"^([0-9a-f]+) .*R_X86_64_GOTTPOFF", re.MULTILINE)


def build_object(source: Path, output: Path, compiler: str, *flags: str) -> Path:
    """A shared object from a C, C++ or assembler file."""
    require(compiler)
    if any("fuse-ld=lld" in flag for flag in flags) and compiler in ("gcc", "g++"):
        folder = Path("/usr/lib/llvm-19/bin")
        flags = (*flags, f"-B{folder}")
    command = [compiler, "-shared", "-fPIC", "-w", *flags, "-o", str(output), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return output


def planned(data: bytes, targets: Sequence[Target] = (GLIBC,), *, drop: bool = False) -> RepairPlan:
    plan = plan_repair(data, targets, allow_dropping_build_id=drop)
    assert plan is not None, "there is nothing to repair"
    return plan


def repair_file(path: Path, output: Path, targets: Sequence[Target] = (GLIBC,), *, drop: bool = False) -> RepairPlan:
    """Repair and prove one file. ``drop``: the program header of the build-id note may go."""
    data = path.read_bytes()
    plan = planned(data, targets, drop=drop)
    output.write_bytes(repaired(data, plan))
    return plan


def linker_truth(path: Path) -> set[int]:
    """Addresses of the reads as the linker kept them (``-Wl,-q``): a relocation stands at a read's displacement."""
    text = subprocess.run(["readelf", "-rW", str(path)], check=True, capture_output=True, text=True).stdout
    return {int(at, 16) - 3 for at in _KEPT.findall(text)}


def run_host(runtime: Runtime, *words: Path | str, clobber: bool = False, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run tests/sources/repair_host.c in a runtime.

    ``clobber``: with a malloc that destroys every register that a call may destroy and, with this machine's own glibc, an unwinder.
    """
    flags = ["-pthread", "-w"]
    if clobber:
        own = runtime.libc == "glibc" and runtime.suite is None
        flags += ["-DCLOBBER", "-fno-omit-frame-pointer", *(["-DUNWIND", "-lgcc_s"] if own else [])]
    program = runtime.program(HOST, *flags)
    return subprocess.run(runtime.command(program, *words), capture_output=True, text=True, check=False, timeout=timeout)


@functools.cache
def widest_vectors() -> int:
    """0 for xmm, 1 for ymm, 2 for zmm: what this processor has."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return 2 if "avx512bw" in text else 1 if "avx2" in text else 0
