"""Bytes of a wheel, checked as a user would, as fuzzing needs it."""

from __future__ import annotations

from benchmarks.hostile.scratch import scratch
from benchmarks.mutations import elf_seeds, wheel_of, wheel_seeds
from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.errors import UnreadableInput

LONGEST = 16384


def seeds() -> list[bytes]:
    """Wheels of every form, and stored ones, whose ELF files a fuzzer can reach."""
    elves = elf_seeds()
    return [*wheel_seeds(elves), *(wheel_of({"a.so": data}, 0) for data in elves[:12])]


def judge(data: bytes) -> str:
    """Nothing but an error of ours may leave the check."""
    path = scratch() / "x-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"
    path.write_bytes(data)
    try:
        return "findings" if check_wheel(path).findings else "nothing found"
    except UnreadableInput:
        return "refused"
