"""Bytes for the ELF reader and for the lookup of symbols, as fuzzing needs it: nothing around them."""

from __future__ import annotations

from benchmarks.mutations import elf_seeds
from tls_wheel_guard.elf import BytesSource, defined_tls, read_shared_object
from tls_wheel_guard.errors import UnreadableInput

LONGEST = 8192
NAMES = ("errno", "own", "foreign", "a", "missing")
seeds = elf_seeds


def judge(data: bytes) -> str:
    """Nothing but an error of ours may leave the reader."""
    said = []
    for read in (read_shared_object, lambda source: defined_tls(source, NAMES)):
        try:
            read(BytesSource(data))
            said.append("read")
        except UnreadableInput:
            said.append("refused")
    return ", ".join(said)
