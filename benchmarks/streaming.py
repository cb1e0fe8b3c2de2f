#!/usr/bin/env python3
"""How to meet relocation tables before one knows where they are: three ways to read the ELF members of a folder of wheels.

usage: streaming.py WHEELS-FOLDER

    twice    keep no more than the program headers; inflate the beginning again, up to the tables
    segment  keep the first PT_LOAD, where linkers put the tables
    8 MiB    keep the first 8 MiB; inflate again where the tables lie beyond (what the guard does)

Each way runs in a process of its own. CPU: seconds of that process. Peak: its resident memory. Inflated: bytes that came out
of the decompressor, beside the size of the members.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tls_wheel_guard.archive import MemberSource, inflate, open_archive
from tls_wheel_guard.elf import BytesSource, Source, is_elf, read_shared_object
from tls_wheel_guard.elf.constants import PT_LOAD
from tls_wheel_guard.elf.headers import read_header, read_segments

HEADERS = 64 << 10


def first_segment(first: Source) -> int:
    """The end of the first PT_LOAD in the file, from the file's first bytes."""
    loads = [s for s in read_segments(first, read_header(first)) if s.type == PT_LOAD]
    return max(HEADERS, min(loads, key=lambda s: s.offset).filesz + min(s.offset for s in loads)) if loads else HEADERS


WAYS: dict[str, Callable[[Source], int]] = {
    "twice": lambda _: HEADERS,
    "segment": first_segment,
    "8 MiB": lambda _: 8 << 20,
}


def run(way: str, folder: Path, results: multiprocessing.SimpleQueue[tuple[int, int, int, float, float]]) -> None:
    """Read every ELF member of the wheels once."""
    members = size = inflated = 0

    def counted(pieces: Callable[[], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
        def start() -> Iterator[bytes]:
            nonlocal inflated
            for piece in pieces():
                inflated += len(piece)
                yield piece

        return start

    started = time.process_time()
    for wheel in sorted(folder.glob("*.whl")):
        with open_archive(wheel.open("rb")) as archive:
            for member in archive.members():
                first = archive.peek(member, HEADERS)
                if not is_elf(first):
                    continue
                inflate.HEAD = WAYS[way](BytesSource(first))
                source = archive.source(member)
                source = MemberSource(counted(source.start), source.size)
                read_shared_object(source)
                source.finish()
                inflate.HEAD = HEADERS
                members, size = members + 1, size + source.size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put((members, size, inflated, time.process_time() - started, peak))


def main() -> int:
    """Run each way and print a line for it."""
    folder = Path(sys.argv[1])
    context = multiprocessing.get_context("spawn")
    for way in WAYS:
        results: multiprocessing.SimpleQueue[tuple[int, int, int, float, float]] = context.SimpleQueue()
        process = context.Process(target=run, args=(way, folder, results))
        process.start()
        process.join()
        if process.exitcode:
            return 1
        members, size, inflated, seconds, peak = results.get()
        print(
            f"{way:8} {members} members, {size / 1e6:,.0f} MB: {inflated / 1e6:,.0f} MB inflated, {seconds:.1f} s of CPU time, {peak:.0f} MB peak"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
