"""Damaged wheels and ELF files, each checked beside a good wheel by the command line.

A third are bare ELF files, a third wheels that are whole but hold a damaged ELF file, a third wheels damaged as files. The command must
end with an exit code of the contract, without a traceback, and what it says of the good wheel must be what it says of it alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.hostile import Wrong
from benchmarks.hostile.scratch import scratch
from benchmarks.mutations import broken, elf_seeds, wheel_of, wheel_seeds
from tls_wheel_guard.__main__ import main as guard

LONGEST = 400_000
"""Bytes of a real wheel that is still a seed."""
CODES = {0, 1, 3}
"""Of ``check`` with paths that exist and no options: nothing found, findings, unreadable."""
WHEELS = "HOSTILE_WHEELS"
"""Names a folder whose small wheels are seeds too."""


def seeds() -> list[bytes]:
    """ELF files, then wheels."""
    elves = elf_seeds()
    folder = os.environ.get(WHEELS)
    real = sorted(p for p in Path(folder).glob("*.whl") if p.stat().st_size < LONGEST) if folder else []
    return [*elves, *wheel_seeds(elves), *(path.read_bytes() for path in real)]


def case(chance: random.Random, number: int, found: Sequence[bytes]) -> bytes:
    """A file name, a line end, and the file's bytes."""
    elves = [data for data in found if data.startswith(b"\x7fELF")]
    kind = number % 3
    if kind == 0:
        return b"bad.so\n" + broken(chance.choice(elves), chance)
    if kind == 1:
        names = chance.sample(("pkg/a.so", "pkg/b.so", "lib", "c.txt"), 2)
        members = {names[0]: broken(chance.choice(elves), chance), names[1]: chance.choice(elves)}
        return b"bad-1.0-cp312-cp312-musllinux_1_2_x86_64.whl\n" + wheel_of(members, chance.choice((0, 8)))
    return b"bad-1.0-cp312-cp312-manylinux_2_17_x86_64.whl\n" + broken(chance.choice(found[len(elves) :]), chance)


def _run(path: Path, good: Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of the command in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = guard(["check", "--no-config", "--format", "json", "-j", "1", str(path), str(good)])
    return code, out.getvalue(), errors.getvalue()


@functools.cache
def _good() -> tuple[Path, object]:
    path = scratch() / "good-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    path.write_bytes(wheel_of({"pkg/good.so": elf_seeds()[0]}))
    return path, json.loads(_run(path, path)[1])["wheels"][0]


def judge(data: bytes) -> str:
    """The exit code."""
    good, expected = _good()
    name, _, body = data.partition(b"\n")
    path = scratch() / name.decode()
    path.write_bytes(body)
    code, out, errors = _run(path, good)
    if code not in CODES:
        raise Wrong(f"exit code {code}: {errors.strip()[-300:]}")
    if "Traceback" in errors + out:
        raise Wrong("a traceback")
    report = json.loads(out)["wheels"]
    if len(report) != 2 or report[1] != expected:
        raise Wrong("the good wheel's report changed")
    if (code == 3) != ("error" in report[0]) or (code == 3) != bool(errors):
        raise Wrong(f"exit code {code}, and the report says otherwise")
    return f"exit code {code}"
