#!/usr/bin/env python3
"""How the guard's cost grows: wheels, relocations, members; and its memory for members of 10 MB to 1 GB.

usage: python -m benchmarks.scale [--folder FOLDER]

Makes its own inputs (2 GB on disk at most, in a temporary folder below FOLDER). CPU seconds of the process and its workers, the least of
three runs. The exponent is the slope between the first and the last row in logarithms, after the cost of starting was taken off: 1 is linear.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.mutations import wheel_of
from tests.support.elf_builder import Reloc, Spec, Tls, build

RUNS = 3
TAG = "cp312-cp312-manylinux_2_28_x86_64"
PIECE = 1 << 20


def cost(paths: Iterable[Path]) -> tuple[float, float]:
    """CPU seconds (the least of RUNS) and megabytes of ``check`` of these paths."""
    least, most = math.inf, 0.0
    for _ in range(RUNS):
        command = [sys.executable, "-m", "tls_wheel_guard", "check", "--no-config", "-q", *map(str, paths)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        errors = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1) or errors:
            raise SystemExit(f"exit code {process.returncode}: {errors.decode()}")
        least, most = min(least, usage.ru_utime + usage.ru_stime), max(most, usage.ru_maxrss / 1024)
    return least, most


Make = Callable[[Path, int], list[Path]]


def made(make: Make, folder: Path, size: int) -> list[Path]:
    """Call ``make`` in a process of its own: what a child is said to use at most includes what its parent had when it started it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(make, folder, size).result()


def table(what: str, sizes: Iterable[int], make: Make, folder: Path, start: float) -> None:
    """A row a size, and the exponent."""
    print(f"\n| {what} | CPU seconds | peak MB |\n|---|---|---|")
    points = []
    for size in sizes:
        paths = made(make, folder, size)
        seconds, peak = cost(paths)
        points.append((size, max(seconds - start, 1e-4)))
        print(f"| {size:,} | {seconds:.3f} | {peak:.0f} |", flush=True)
        for path in paths:
            path.unlink()
    # The first points are all start-up; what counts is how the large ones grow.
    (a, first), (b, last) = points[-2], points[-1]
    slope = math.log(points[-1][1] / points[0][1]) / math.log(points[-1][0] / points[0][0])
    print(f"\nExponent: {slope:.2f} from the first to the last row, {math.log(last / first) / math.log(b / a):.2f} between the last two.")


def many_wheels(folder: Path, count: int) -> list[Path]:
    """As many wheels of one module and 100 KB."""
    data = wheel_of(
        {"pkg/m.so": build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), relative=500)), "pkg/data.bin": random.Random(1).randbytes(90_000)}
    )
    paths = [folder / f"pkg{number}-1.0-{TAG}.whl" for number in range(count)]
    for path in paths:
        path.write_bytes(data)
    return paths


def relocations(folder: Path, count: int) -> list[Path]:
    """A wheel with one module of as many relocations, in tens of thousands; one in each is a TLS one."""
    small = build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), relative=1))
    rows = b"".join(struct.pack("<QQq", 8 * n, 8 if n else 18, n % 64) for n in range(10_000))
    path = folder / f"pkg-1.0-{TAG}.whl"
    path.write_bytes(wheel_of({"pkg/m.so": _with_table(small, rows * (count // 10_000))}))
    return [path]


def _with_table(small: bytes, table: bytes) -> bytes:
    """The file with its PT_LOAD stretched over a table at its end, and DT_RELA and DT_RELASZ pointing there."""
    data = bytearray(small + bytes(-len(small) % 8))
    at = len(data)
    data += table
    phoff, phnum = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for number in range(phnum):
        row = phoff + 56 * number
        (kind,) = struct.unpack_from("<I", data, row)
        if kind == 1:
            struct.pack_into("<QQ", data, row + 32, len(data), len(data))
        if kind == 2:
            offset, _, _, size = struct.unpack_from("<QQQQ", data, row + 8)
            for entry in range(offset, offset + size, 16):
                (tag,) = struct.unpack_from("<Q", data, entry)
                if tag in (7, 8):
                    struct.pack_into("<Q", data, entry + 8, at if tag == 7 else len(table))
    return bytes(data)


def members(folder: Path, count: int) -> list[Path]:
    """A wheel of as many modules, one in two hundred with initial-exec TLS, each needing the one before it."""
    path = folder / f"pkg-1.0-{TAG}.whl"
    files = {}
    for number in range(count):
        needed = (f"m{number - 1}.so",) if number else ()
        relocs, tls = ((Reloc(18),), Tls(8, 8)) if number % 200 == 0 else ((), None)
        files[f"pkg/m{number}.so"] = build(Spec(needed=needed, relative=20, relocs=relocs, tls=tls))
    path.write_bytes(wheel_of(files))
    return [path]


def big_member(folder: Path, size: int, relocs: tuple[Reloc, ...] = ()) -> list[Path]:
    """A wheel with one module of about ``size`` bytes, a quarter of them noise, and .dynamic at its end, as linkers put it."""
    path = folder / f"pkg-1.0-{TAG}.whl"
    chance = random.Random(size)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("pkg/m.so", "w", force_zip64=True) as member:
        whole = build(Spec(relocs=relocs, tls=Tls(64, 8), padding=size))
        end = len(whole) - PIECE
        member.write(whole[:PIECE])
        for at in range(PIECE, end, PIECE):
            member.write((chance.randbytes(PIECE // 4) + bytes(range(256)) * (3 * PIECE // 1024))[: end - at])
        member.write(whole[end:])
    return [path]


def big_member_with_initial_exec(folder: Path, size: int) -> list[Path]:
    """The same, so that it is looked at a second time, whole."""
    return big_member(folder, size, (Reloc(18),))


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=("wheels", "relocations", "members", "sizes"), help="one table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        small = folder / "small.so"
        small.write_bytes(build(Spec()))
        start, _ = cost([small])
        small.unlink()
        print(f"zlib {zlib.ZLIB_RUNTIME_VERSION}; starting costs {start:.2f} s.")
        tables: dict[str, tuple[tuple[int, ...], Make]] = {
            "wheels": ((1, 10, 100, 1000), many_wheels),
            "relocations": ((10_000, 100_000, 1_000_000, 10_000_000), relocations),
            "members": ((1, 20, 200, 2_000, 20_000), members),
        }
        for what, (counts, make) in tables.items():
            if options.only in (None, what):
                table(what, counts, make, folder, start)
        if options.only in (None, "sizes"):
            print("\n| one member of | CPU seconds | peak MB | with initial-exec: CPU seconds | peak MB |\n|---|---|---|---|---|")
            for size in (10, 100, 1000):
                figures = []
                for make in (big_member, big_member_with_initial_exec):
                    (path,) = made(make, folder, size * 1_000_000)
                    seconds, peak = cost([path])
                    figures += [f"{seconds:.2f}", f"{peak:.0f}"]
                    path.unlink()
                print(f"| {size} MB | {' | '.join(figures)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
