"""Many wheels at once: order, workers that die, bugs of ours on one of them, progress."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.elf_builder import Spec, build
from tests.support.modules import ie
from tests.support.wheel_builder import STORED, make_wheel
from tls_wheel_guard import Config, Report
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli import progress
from tls_wheel_guard.commands import check, workers
from tls_wheel_guard.commands.check import Asked, check_path
from tls_wheel_guard.commands.workers import check_many

_ALWAYS = "from tls_wheel_guard import __main__; from tls_wheel_guard.commands import workers; workers.WORKERS_PAY_FROM = 0"
GUARD = [sys.executable, "-c", f"{_ALWAYS}; raise SystemExit(__main__.main())"]
"""The guard, for which workers always pay: large wheels would make the tests slow."""
Captured = pytest.CaptureFixture[str]


def wheels(folder: Path, count: int) -> list[Path]:
    """Wheels whose TLS segments have 8, 9, 10 ... bytes, the largest file first."""
    sizes = [(8 + number, (count - number) << 20) for number in range(count)]
    return [make_wheel(folder, {"m.so": ie(size, padding=pad)}, name=f"p{size}", method=STORED) for size, pad in sizes]


def test_reports_keep_the_order_of_the_arguments(tmp_path: Path) -> None:
    """In worker processes that are spawned, as on Windows and macOS."""
    names = [path.name for path in wheels(tmp_path, 7)]
    names.insert(3, "missing-member.whl")
    (tmp_path / "missing-member.whl").write_bytes(b"broken")
    command = [*GUARD, "check", "-j", "2", "--format", "json", *names]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 3, run.stderr
    found = json.loads(run.stdout)["wheels"]
    assert [w["wheel"] for w in found] == names
    assert [w["modules"][0]["tls_segment"]["memsz"] for w in found if "modules" in w] == list(range(8, 15))


def deadly(path: Path, config: Config, asked: Asked) -> Report:
    """A check that one of the wheels ends, as the system does when memory is short."""
    if path.name.startswith("p10-"):
        os.kill(os.getpid(), signal.SIGKILL)
    return check_path(path, config, asked)


def test_a_wheel_that_kills_its_worker_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = wheels(tmp_path, 7)
    monkeypatch.setattr(workers, "check_path", deadly)
    monkeypatch.setattr(workers, "WORKERS_PAY_FROM", 0)
    done: list[Path] = []
    reports = list(check_many(paths, Config(), 2, done.append))
    assert [report.wheel for report in reports] == [path.name for path in paths]
    assert [report.error is None for report in reports] == [not path.name.startswith("p10-") for path in paths]
    assert "was killed" in str(reports[2].error)
    assert all(report.findings for report in reports if report.error is None)
    assert sorted(done) == sorted(paths)


def test_a_bug_on_one_wheel_hides_no_other(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(make_wheel(tmp_path, {"m.so": ie()}, name=name)) for name in ("good", "odd", "last")]
    judged = check.check_wheel

    def check_wheel(path: Path, config: Config, asked: Asked) -> Report:
        if "odd" in path.name:
            raise ZeroDivisionError("division\nby zero")
        return judged(path, config, asked)

    monkeypatch.setattr(check, "check_wheel", check_wheel)
    assert main(["check", "--no-config", *paths]) == 5
    shown = capsys.readouterr()
    assert shown.out.count("warning: m imports on Linux with glibc only while there is room") == 2
    assert shown.err.count("\n") == 1
    assert f"{paths[1]}: a bug in tls-wheel-guard" in shown.err
    assert "ZeroDivisionError: division by zero; hint: please report" in shown.err
    monkeypatch.setenv("TLS_WHEEL_GUARD_TRACEBACK", "1")
    assert main(["check", "--no-config", *paths]) == 5
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(("patience", "quiet", "shown"), [("0.05", False, True), ("60", False, False), ("0.05", True, False)])
def test_progress_is_for_people_who_wait(patience: str, quiet: bool, shown: bool, tmp_path: Path) -> None:
    """On a terminal, after some time, files and bytes; wiped at the end."""
    make_wheel(tmp_path, {"m.so": build(Spec(padding=1 << 20))}, name="a", method=STORED)
    make_wheel(tmp_path, {"m.so": build(Spec(padding=1 << 20))}, name="b", method=STORED)
    code = f"""
import sys, time
from pathlib import Path
from tls_wheel_guard.cli import progress
progress.PATIENCE = {patience}
paths = sorted(Path(sys.argv[1]).glob("*.whl"))
with progress.Progress(paths, {quiet}) as said:
    for path in paths:
        time.sleep(0.3)
        said(path)
"""
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], stderr=follower, check=True)
    os.close(follower)
    text = ""
    while True:
        try:
            text += os.read(leader, 4096).decode()
        except OSError:
            break
    os.close(leader)
    if shown:
        assert [line.split(" MB")[0] for line in text.split("\r\x1b[K")] == ["", "0/2 files, 0/2", "1/2 files, 1/2", "2/2 files, 2/2", ""]
    else:
        assert text == ""


def test_no_progress_into_a_file(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0)
    assert main(["check", "--no-config", str(make_wheel(tmp_path, {"m.so": build(Spec())}))]) == 0
    assert capsys.readouterr().err == ""
