"""Members of one wheel read side by side: the same report, the same errors, no thread that stays."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.commands.check import Asked, check_path, check_wheel
from tls_wheel_guard.errors import InputReadError
from tls_wheel_guard.inputs import wheel as wheels
from tls_wheel_guard.inputs.side_by_side import side_by_side
from tls_wheel_guard.inputs.wheel import OpenWheel


@pytest.fixture(autouse=True)
def all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of a few kilobytes are read as large ones are."""
    monkeypatch.setattr(wheels, "SIDE_BY_SIDE_FROM", 0)
    monkeypatch.setattr(wheels, "THREADS_PAY_FROM", 0)


def many(folder: Path) -> Path:
    """A wheel of twelve modules, with one that is cut short, one that is damaged, and files that are no modules."""
    chance = random.Random(1)
    modules = {f"p/m{n}.so": ie(8 + n, padding=chance.randrange(400_000)) for n in range(12)}
    return make_wheel(folder, {**modules, "p/short.so": ie()[:200], "p/x.py": b"x = 1", "p/in.zip": b"PK\x03\x04" + bytes(30)})


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_a_report_does_not_depend_on_threads(threads: int, tmp_path: Path) -> None:
    path = many(tmp_path)
    data = bytearray(path.read_bytes())
    # One member's compressed bytes are damaged.
    at = data.index(b"p/m4.so") + 60
    data[at : at + 20] = bytes(20)
    path.write_bytes(data)
    one, several = check_wheel(path), check_wheel(path, asked=Asked(threads=threads))
    assert one.to_dict() == several.to_dict()
    assert len(one.modules) == 11
    assert sum(f.rule == "unreadable-module" for f in one.findings) == 2
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name.startswith("reading")]


class Failing(io.BytesIO):
    """A file that can't be read behind a place, as on a bad disk."""

    bad = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if self.bad and self.tell() >= self.bad:
            raise InputReadError("it can't be read: Input/output error")
        return super().read(size)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_disk_that_fails_ends_the_run(threads: int, tmp_path: Path) -> None:
    path = many(tmp_path)
    opened = OpenWheel(file := Failing(path.read_bytes()), str(path), path.name, threads=threads)
    file.bad = path.stat().st_size // 2
    with pytest.raises(InputReadError, match="Input/output error"):
        assert opened.contents
    for thread in threading.enumerate():
        if thread.name.startswith("reading"):
            thread.join(5)  # what it had begun
            assert not thread.is_alive()


def test_the_first_place_that_fails_is_the_one_that_is_raised() -> None:
    def work(place: int) -> int:
        time.sleep(0.01 * (9 - place))
        if place in (3, 5, 8):
            raise ValueError(place)
        return place

    for _ in range(3):
        with pytest.raises(ValueError, match=r"^3$"):
            side_by_side(work, range(10), (), 4)
        with pytest.raises(ValueError, match=r"^3$"):
            side_by_side(work, reversed(range(10)), (), 4)
    assert side_by_side(lambda place: place * 2, [3, 1], [2, 4], 2) == {1: 2, 2: 4, 3: 6, 4: 8}


SLOW = """
import os, sys, time
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.archive import compression
from tls_wheel_guard.inputs import wheel
wheel.SIDE_BY_SIDE_FROM = wheel.THREADS_PAY_FROM = 0
usual = compression._stored
def slow(*words):
    for piece in usual(*words):
        os.write(2, b"reading\\n")
        time.sleep(0.2)
        yield piece
compression._stored = slow
sys.exit(main())
"""


def test_an_interruption_ends_all_threads_at_once(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {f"m{n}.so": ie(padding=20 << 20) for n in range(3)}, method=0)
    command = [sys.executable, "-c", SLOW, "check", "--no-config", "-j", "3", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for _ in range(8):
        process.stderr.readline()
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - started < 3
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line != "reading"] == ["tls-wheel-guard: interrupted"]
    assert out == ""


def test_one_wheel_is_read_by_threads_and_not_by_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    usual = side_by_side

    def counted(work: Any, large: Any, small: Any, threads: int) -> Any:
        seen.append(threads)
        return usual(work, large, small, threads)

    monkeypatch.setattr("tls_wheel_guard.inputs.side_by_side.side_by_side", counted)
    path = many(tmp_path)
    from tls_wheel_guard.commands.workers import check_many  # noqa: PLC0415
    from tls_wheel_guard.config.model import Config  # noqa: PLC0415

    other = make_wheel(tmp_path, {"x.so": ie()}, name="small")
    monkeypatch.setattr("tls_wheel_guard.commands.workers.WORKERS_PAY_FROM", 0)
    # One of them has nearly all of the bytes.
    assert [report.error for report in check_many([path, other], Config(), 2)] == [None, None]
    assert check_path(path, Config()).error is None
    assert seen == [2, 2]
