"""Local-exec code in a shared object: what GNU ld for aarch64 lets through.

Local-exec adds a constant to the thread pointer. In a program that constant leads to its own variables; in a library that is opened
late it leads into another module's variables. Every linker refuses this but GNU ld for aarch64, which resolves R_AARCH64_TLSLE_* in a shared
object as if it were the program (bfd/elfnn-aarch64.c:elfNN_aarch64_final_link_relocate) and leaves no relocation behind.

The code reads the thread pointer (``mrs xN, tpidr_el0``) and adds the distance: 16 bytes of thread control block, rounded up to the
segment's alignment, and the variable's place in the segment (AArch64 ELF ABI, "Thread Local Storage"). Reading the thread pointer
alone is no sign: allocators use it as a thread's name, and stack protectors load through it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tls_wheel_guard.elf.headers import Segment
from tls_wheel_guard.elf.shared_object import TlsSegment
from tls_wheel_guard.elf.source import PIECE, Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["MAX_SITES", "local_exec_sites"]

MAX_SITES = 4096
"""Places that are kept."""
TCB = 16
NEAR = 12
"""Instructions behind the read of the thread pointer in which the constant is looked for."""
_READS_THREAD_POINTER = re.compile(rb"\xd0\x3b\xd5")
"""The last bytes of ``mrs xN, tpidr_el0``; the first is 0x40 and the register's number. A search for fixed bytes is ten times as fast."""
MRS = range(0x40, 0x5F)
ADD_IMMEDIATE, ADD_MASK = 0x91000000, 0xFF800000


def local_exec_sites(source: Source, segments: list[Segment], tls: TlsSegment, limits: Limits = DEFAULT_LIMITS) -> tuple[int, ...]:
    """Virtual addresses of the reads of the thread pointer to which a distance into the TLS segment is added, in file order."""
    start = -(-TCB // max(tls.align, 1)) * max(tls.align, 1)
    found: list[int] = []
    total = sum(segment.filesz for segment in segments if segment.is_code)
    if total > limits.code_size:
        raise MalformedElf(f"code of {total} bytes; {over(limits, 'code-size')}")
    if total > source.size:
        raise MalformedElf(f"code of {total} bytes in a file of {source.size}")
    for segment in segments:
        if segment.is_code:
            for at in _scan(source, segment, range(start, start + tls.memsz)):
                found.append(at)
                if len(found) == MAX_SITES:
                    return tuple(found)
    return tuple(found)


def _scan(source: Source, segment: Segment, distances: range) -> Iterator[int]:
    tail = 4 * (NEAR + 1)
    for begin in range(0, segment.filesz, PIECE):
        code = source.read(segment.offset + begin, min(PIECE + tail, segment.filesz - begin))
        for hit in _READS_THREAD_POINTER.finditer(code):
            at = hit.start() - 1
            if at % 4 == 0 and at < PIECE and code[at] in MRS and _adds_distance(code, at, distances):
                yield segment.vaddr + begin + at


def _adds_distance(code: bytes, at: int, distances: range) -> bool:
    register = code[at] & 0x1F
    high: int | None = None
    for (word,) in struct.iter_unpack("<I", code[at + 4 : at + 4 + 4 * min(NEAR, (len(code) - at - 4) // 4)]):
        if word & ADD_MASK == ADD_IMMEDIATE and word >> 5 & 0x1F == register:
            value = word >> 10 & 0xFFF
            if word >> 22 & 1:
                # The upper part; the lower one follows in an add, or in the offset of a load or store.
                high, register = value << 12, word & 0x1F
                if high <= distances[-1]:
                    return True
            else:
                return (high or 0) + value in distances
        elif _writes(word, register):
            return False
    return False


def _writes(word: int, register: int) -> bool:
    """Whether an instruction may put something else into the register: a branch ends the search, others name it as their destination."""
    if word & 0x1C000000 == 0x14000000:
        return True
    return word & 0x1F == register and not _is_store(word)


def _is_store(word: int) -> bool:
    return word & 0x0A000000 == 0x08000000 and not word >> 22 & 1
