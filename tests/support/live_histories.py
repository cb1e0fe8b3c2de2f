"""Random pasts of a process: what was preloaded, which tunables were set, which modules were opened and closed before it is read.

The modules come from tests/support/elf_builder.py, not from the product's own generator.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.toolchain import require
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.live.probe_module import TPOFF
from tls_wheel_guard.live.reading import read_live

__all__ = ["DESCRIPTOR", "History", "auditor", "disagreements", "pythons", "random_history"]

DESCRIPTOR = {"x86_64": 36, "i386": 41, "aarch64": 1031, "arm": 13}
"""Machine -> its descriptor relocation; the others' glibc has none, or only new ones have."""

OPENER = """\
import ctypes, _ctypes
handles = []
for path, close in {steps!r}:
    try:
        handle = ctypes.CDLL(path)
    except OSError:
        continue
    handles.append(handle)
    if close:
        _ctypes.dlclose(handle._handle)
"""


def pythons() -> list[Path]:
    """Every Python of this machine: the one that runs, those on PATH, the system's, and pyenv's."""
    folders = [Path(sys.executable).parent, *map(Path, os.environ.get("PATH", "").split(os.pathsep)), Path("/usr/bin")]
    folders += sorted((Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions").glob("*/bin"))
    found: dict[Path, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("python*")):
            if re.fullmatch(r"python[\d.]*", path.name) and "shims" not in path.parts and os.access(path, os.X_OK):
                found.setdefault(path.resolve(), path)
    return list(found.values())


@dataclass(frozen=True)
class History:
    """What happens in a process before it is read. ``steps``: modules, and whether each is closed again."""

    machine: str
    steps: tuple[tuple[Spec, bool], ...]
    preload: Spec | None = None
    tunables: str | None = None
    auditor: Path | None = None

    def environment(self, folder: Path, extra: Spec | None = None) -> dict[str, str]:
        """Write the modules and the Python module ``history`` that opens them; gives the variables of the process."""
        folder.mkdir()
        steps = [*self.steps, *([(extra, False)] if extra else [])]
        names = [(str(folder / f"m{number}.so"), close) for number, (_, close) in enumerate(steps)]
        for (name, _), (spec, _) in zip(names, steps, strict=True):
            Path(name).write_bytes(build(spec))
        (folder / "history.py").write_text(OPENER.format(steps=names))
        variables = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.preload is not None:
            (folder / "preload.so").write_bytes(build(self.preload))
            variables["LD_PRELOAD"] = str(folder / "preload.so")
        if self.tunables is not None:
            variables["GLIBC_TUNABLES"] = self.tunables
        if self.auditor is not None:
            variables["LD_AUDIT"] = str(self.auditor)
        return variables


def auditor(folder: Path) -> Path:
    """An auditing module that does nothing but be one: libc and all else then take room as late modules do."""
    (folder / "auditor.c").write_text("unsigned int la_version(unsigned int version) { return version; }\n")
    subprocess.run([require("gcc"), "-shared", "-fPIC", "-o", str(folder / "auditor.so"), str(folder / "auditor.c")], check=True)
    return folder / "auditor.so"


def _module(random: Random, machine: str, largest: int) -> Spec:
    align = random.choice((1, 1, 4, 8, 16, 16, 32, 64, 128))
    tls = Tls(random.randint(1, largest), align, random.randrange(align) if random.random() < 0.3 else 0)
    number = DESCRIPTOR[machine] if machine in DESCRIPTOR and random.random() < 0.35 else TPOFF[machine]
    return Spec(machine=machine, relocs=(Reloc(number),), tls=tls)


def random_history(random: Random, machine: str, auditor: Path | None = None) -> History:
    """A past, drawn from a seeded generator. ``auditor``: an auditing module of this machine, used now and then."""
    largest = random.choice((40, 300, 900))
    steps = tuple((_module(random, machine, largest), random.random() < 0.15) for _ in range(random.randint(1, 8)))
    audited = auditor if random.random() < 0.15 else None
    preload = None
    if random.random() < 0.25 and not audited:  # under an auditor a preloaded module may not find room, and then nothing starts
        preload = Spec(machine=machine, relocs=(Reloc(TPOFF[machine]),), tls=Tls(random.randint(1, 400), random.choice((1, 16, 64, 128, 256))))
    tunables = None
    if random.random() < 0.4:
        optional, spaces = (
            random.choice((0, 100, 512, 1000, 5000)),
            random.choice((1, 2, 4, 9, 9 if audited else 16)),
        )  # 16 leaves no auditor room

        tunables = f"glibc.rtld.optional_static_tls={optional}:glibc.rtld.nns={spaces}"
    return History(machine, steps, preload, tunables, audited)


def disagreements(python: Path, history: History, folder: Path) -> list[str]:
    """What the loader's own numbers and its answers to modules do not have in common; [] when they agree.

    Four processes with one past: read, asked by bisecting, and asked after one more module that takes all that is left for
    descriptors, or one byte more than that.
    """
    folder.mkdir(exist_ok=True)
    read = _live(python, history, folder / "read", "read")
    asked = _live(python, history, folder / "asked", "bisect")
    wrong = _compare(read, asked)
    if read.optional is not None and history.machine in DESCRIPTOR:
        assert read.room is not None
        for size in (read.optional, read.optional + 1):
            if 1 <= size <= read.room:
                extra = Spec(machine=history.machine, relocs=(Reloc(DESCRIPTOR[history.machine]),), tls=Tls(size))
                left = _live(python, history, folder / f"optional-{size}", "bisect", extra).room
                expected = read.room - size if size == read.optional else read.room
                wrong += [f"after a descriptor of {size} bytes: room {left}, not {expected}"] * (left != expected)
    return wrong


def _live(python: Path, history: History, folder: Path, method: str, extra: Spec | None = None) -> Live:
    return read_live(python, imports=("history",), method=method, timeout=600, environment=history.environment(folder, extra))


def _compare(read: Live, asked: Live) -> list[str]:
    assert read.used is not None
    assert asked.used is not None
    assert read.limit is not None
    assert asked.align is not None
    assert read.align is not None
    assert read.room is not None
    assert asked.method == "bisecting"
    wrong = [
        f"{name}: {getattr(read, name)} and {getattr(asked, name)}"
        for name in ("room", "machine", "libc_version")
        if getattr(read, name) != getattr(asked, name)
    ]
    if read.limit - read.used != read.room:
        wrong.append(f"room: {read.room} is not {read.limit} - {read.used}")
    if asked.align != read.align and not (asked.align < read.align and read.room < read.align):
        # With less room than the alignment itself a refusal may mean either.
        wrong.append(f"align: {read.align} and {asked.align}")
    if (read.used - asked.used) % asked.align:
        wrong.append(f"used: {read.used} and {asked.used} modulo {asked.align}")
    return wrong
