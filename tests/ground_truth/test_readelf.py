"""All shared objects of the machine's library folders, read by the guard and by GNU readelf: every count is equal.

The cross compilers bring the C library of each machine, whose own libraries reach libc's variables by initial-exec: files of
some twenty machines that nobody here made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import readelf
from tls_wheel_guard.archive import MemberSource, inflate
from tls_wheel_guard.elf import BytesSource, defined_tls, is_elf, read_shared_object
from tls_wheel_guard.inputs.files import FileSource

pytestmark = pytest.mark.compiler

FOLDERS = ("/usr/lib", "/lib", sys.prefix, sys.base_prefix, *sorted(map(str, Path("/usr").glob("*-linux-gnu*"))))
WANTED = 300
FOREIGN_MACHINES = 15
"""Machines beside this one whose libraries the cross compilers of tools/packages.txt bring, at least."""
MAX_SIZE = 30 << 20
"""Bytes; readelf takes a minute for the largest ones and says nothing new."""


def _shared_objects() -> list[Path]:
    found: dict[tuple[int, int], Path] = {}
    for folder in FOLDERS:
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                if ".so" in name and path.is_file() and not path.is_symlink() and path.stat().st_size < MAX_SIZE:
                    with path.open("rb") as file:
                        if is_elf(file.read(4)):
                            found.setdefault((path.stat().st_dev, path.stat().st_ino), path)
    return sorted(found.values())


def _compare(path: Path) -> tuple[str, int]:
    """Machine and initial-exec relocations, after the comparison."""
    with path.open("rb") as file:
        found = read_shared_object(FileSource(file))
    truth = readelf.read(path)
    # readelf lists the tables of sections; a split debug file keeps their headers without their bytes.
    if found.kind not in ("debug", "object"):
        readelf.assert_same(found, truth, str(path))
    return found.machine_name, found.initial_exec.count


def test_every_shared_object_of_this_machine() -> None:
    paths = _shared_objects()
    if len(paths) < WANTED:
        pytest.fail(f"only {len(paths)} shared objects on this machine; tools/setup.sh installs enough")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        facts = list(pool.map(_compare, paths))
    with_initial_exec = {machine for machine, count in facts if count}
    # Every libc is among them, so a reader that finds nothing does not pass.
    assert len(with_initial_exec) > FOREIGN_MACHINES, with_initial_exec


STREAM_PIECE, STREAM_OVERLAP = 4096, 512


def test_a_stream_says_what_a_file_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing kept of head and tail, and pieces far smaller than the tables, real files need few inflations, however they are laid out."""
    monkeypatch.setattr(inflate, "HEAD", 0)
    monkeypatch.setattr(inflate, "TAIL", 0)
    monkeypatch.setattr(inflate, "OVERLAP", STREAM_OVERLAP)
    paths = [path for path in _shared_objects() if STREAM_PIECE * 8 < path.stat().st_size < 2 << 20]
    for path in paths[:: max(1, len(paths) // 400)]:
        data = path.read_bytes()
        starts = 0

        def start(data: bytes = data) -> Iterator[bytes]:
            nonlocal starts
            starts += 1
            return (data[at : at + STREAM_PIECE] for at in range(0, len(data), STREAM_PIECE))

        facts = read_shared_object(MemberSource(start, len(data)))
        assert facts == read_shared_object(BytesSource(data)), path
        assert starts <= 7, (path, starts)
        names = ["errno", "__resp", "__libc_errno", "missing"]
        assert defined_tls(MemberSource(start, len(data)), names) == defined_tls(BytesSource(data), names), path
