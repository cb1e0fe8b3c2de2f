#!/usr/bin/env python3
"""What the time of one check goes to, and what is inflated that no reader asks for.

usage: python -m benchmarks.parts [--no-isal] WHEEL...

One thread reads each wheel in this process, with a clock around each part; the least of five rounds counts. ``inflate`` and ``crc`` are calls of
isal or zlib, which no Python code can make shorter: the limit. ``start`` is a process that judges nothing, ``python -c pass`` in brackets.
``for the CRC alone``: bytes behind the last one that a reader of the member asks for, which are inflated so that a damaged member is known as
one. ``again``: bytes that are inflated a second time, because tables lie before the dynamic segment and beyond what is kept, or for a second
look at a module with initial-exec.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tls_wheel_guard.archive import compression, inflate, members
from tls_wheel_guard.commands import check
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.elf import reader
from tls_wheel_guard.inputs import wheel as wheels
from tls_wheel_guard.inputs.opening import open_input

ROUNDS = 5
PARTS = ("directory", "peek", "inflate", "crc", "parse", "judge")


class Clock:
    """Seconds of parts, less those of the parts inside them; bytes by what they are for."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._inside = [0.0]

    def around(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*words: Any, **more: Any) -> Any:
            self._inside.append(0.0)
            started = time.thread_time()
            try:
                return work(*words, **more)
            finally:
                taken = time.thread_time() - started
                self.seconds[part] += taken - self._inside.pop()  # type: ignore[assignment]
                self._inside[-1] += taken

        return timed


class TimedZlib:
    """zlib or isal with a clock."""

    def __init__(self, real: Any, clock: Clock) -> None:
        self._real, self._clock = real, clock
        self.error = real.error
        self.crc32 = clock.around("crc", real.crc32)

    def decompressobj(self, bits: int) -> Any:
        """An object whose decompress is timed and counted."""
        return _TimedInflater(self._real.decompressobj(bits), self._clock)


class _TimedInflater:
    def __init__(self, real: Any, clock: Clock) -> None:
        self._real, self._clock = real, clock
        self._decompress = clock.around("inflate", real.decompress)

    def decompress(self, data: bytes, most: int) -> bytes:
        piece: bytes = self._decompress(data, most)
        self._clock.bytes["inflated"] += len(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class CountedSource(inflate.MemberSource):
    """A member that notes the last byte that was asked for before it is run to its end."""

    clock: Clock
    _asked = 0

    def read(self, offset: int, length: int) -> bytes:
        """As the member does."""
        self._asked = max(self._asked, offset + length)
        return super().read(offset, length)

    def finish(self) -> None:
        """As the member does; a look back inside a read is no last look."""
        if sys._getframe(1).f_code.co_name == "_read":
            self.clock.bytes["for the CRC alone"] += self.size - self._asked
            self.clock.bytes["members"] += self.size
        super().finish()


def measured(path: Path, isal: bool) -> tuple[Clock, float]:
    """One round, and its CPU seconds."""
    clock = Clock()
    timed = TimedZlib(compression._fastest_zlib() if isal else zlib, clock)
    usual = TimedZlib(zlib, clock)
    CountedSource.clock = clock
    changes: list[tuple[Any, str, Any]] = [
        (compression, "_zlib", lambda fast: timed if fast else usual),
        (members, "MemberSource", CountedSource),
        (members.Archive, "peek", clock.around("peek", members.Archive.peek)),
        (wheels, "open_archive", clock.around("directory", members.open_archive)),
        (wheels, "read_shared_object", clock.around("parse", reader.read_shared_object)),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        before = time.thread_time()
        with open_input(path) as opened:
            clock.around("parse", lambda: opened.contents)()
            clock.around("judge", check.check_wheel)(opened, Config())
        total = time.thread_time() - before
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
    clock.bytes["again"] = clock.bytes["inflated"] - clock.bytes["members"]
    return clock, total


def start() -> tuple[float, float]:
    """Seconds of a process that imports what a check needs, and of one that does nothing; the least of eleven."""
    least = [1e9, 1e9]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    for _ in range(11):
        for place, code in enumerate(("import tls_wheel_guard.cli.check", "pass")):
            began = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True, env=environ)
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            least[place] = min(least[place], ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
    return least[0], least[1]


def rows(paths: list[Path], isal: bool) -> Iterator[str]:
    """The table, in Markdown."""
    began, nothing = start()
    yield f"{'isal' if isal else 'zlib'}; start {1000 * began:.0f} ms ({1000 * nothing:.0f} ms)\n"
    yield f"| milliseconds | {' | '.join(PARTS)} | all | all and start / inflate and crc | MB inflated | for the CRC alone | again |"
    yield f"|---|{'---|' * (len(PARTS) + 5)}"
    for path in paths:
        clock, total = min((measured(path, isal) for _ in range(ROUNDS)), key=lambda found: found[1])
        parts = " | ".join(f"{1000 * clock.seconds[part]:.0f}" for part in PARTS)
        inflated = clock.bytes["inflated"] or 1
        limit = (clock.seconds["inflate"] + clock.seconds["crc"]) or 1.0
        shares = " | ".join(f"{clock.bytes[name] / inflated:.1%}" for name in ("for the CRC alone", "again"))
        yield (
            f"| {path.name.split('-cp')[0]} | {parts} | {1000 * total:.0f} | {(total + began) / limit:.2f}"
            f" | {clock.bytes['inflated'] / 1e6:,.0f} | {shares} |"
        )


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--no-isal", action="store_true")
    parser.add_argument("wheels", nargs="+", type=Path)
    options = parser.parse_args()
    for line in rows(options.wheels, not options.no_isal):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
