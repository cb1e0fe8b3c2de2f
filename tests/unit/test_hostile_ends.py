"""Hostile surroundings: streams that are closed, Ctrl-C at any time, text that looks like numbers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import check_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.elf.relocatable import initial_exec_objects
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.live.model import version_numbers
from tls_wheel_guard.targets import require_target

IE = Spec(relocs=(Reloc(18),), tls=Tls(64, 8))
WHEEL = "pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"

# The other end: who starts the guard may leave, or close what it would write to.


def test_closed_streams(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"x.so": build(IE)})
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&-"):
        command = f"{sys.executable} -m tls_wheel_guard check --no-config {path} {closed}"
        run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (1, ""), closed


def test_interrupted_while_it_starts() -> None:
    """Ctrl-C among the imports: one line, 130."""
    program = (
        "import builtins, signal, os; from tls_wheel_guard.__main__ import main; real = builtins.__import__\n"
        "def slow(name, *rest):\n"
        "    if name == 'argparse': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = slow; raise SystemExit(main(['check', 'x']))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (130, "tls-wheel-guard: interrupted\n")


def test_workers_say_nothing_when_interrupted(tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of a terminal at once."""
    noise = random.Random(1).randbytes(24 << 20)
    paths = [make_wheel(tmp_path, {"x.so": build(IE) + noise, "y.so": build(IE) + noise}, name=f"p{n}", method=0) for n in range(4)]
    command = [sys.executable, "-m", "tls_wheel_guard", "check", "--no-config", "-j", "2", *map(str, paths)]
    ends: list[tuple[int, str]] = []
    while (130, "tls-wheel-guard: interrupted\n") not in ends and len(ends) < 10:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None and len(children.read_text().split()) < 2:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        ends.append((process.returncode, errors))
    # On a busy machine the workers may be through before the signal comes.
    assert set(ends) <= {(130, "tls-wheel-guard: interrupted\n"), (1, "")}
    assert ends[-1][0] == 130


# Text that looks like numbers.

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "platform", [f"manylinux_{DIGITS}_28_x86_64", f"musllinux_1_{DIGITS}_x86_64", f"freebsd_{DIGITS}_amd64", "android_²_x86_64"]
)
def test_a_tag_that_is_no_number_promises_nothing(platform: str, tmp_path: Path) -> None:
    """In WHEEL a tag may be of any length; the module's own evidence decides."""
    path = tmp_path / "odd.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m.so", build(IE))
        archive.writestr("odd-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: cp312-cp312-{platform}\n")
    report = check_wheel(path)
    assert [(v.target.libc, v.target.oldest) for v in report.modules[0].verdicts] == [("glibc", None)]
    with pytest.raises(UsageError, match="unknown platform tag"):
        require_target(platform)


def test_numbers_of_no_use_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.so").write_bytes(build(IE))
    (tmp_path / "pyproject.toml").write_text(f"[tool.tls-wheel-guard]\nroom = {DIGITS}\n")
    (tmp_path / "start.json").write_text(f'{{"version": 1, "start": {{"used": {DIGITS}}}}}')
    for words in (
        ["check", "m.so"],
        ["check", "--no-config", "-j", DIGITS, "m.so"],
        ["check", "--no-config", "-j", "²", "m.so"],
        ["check", "--no-config", "--limit", f"members={DIGITS}", "m.so"],
        ["check", "--no-config", "--limit", "members=²", "m.so"],
        ["simulate", "--start", "start.json", "m.so"],
        ["simulate", "--loader", f"glibc-{DIGITS}", "m.so"],
        ["simulate", "--used", DIGITS, "m.so"],
    ):
        assert main(words) in (2, 3), words
        shown = capsys.readouterr()
        assert "bug in" not in shown.err, words
        assert shown.err.count("\n") == 1, words


def test_a_start_that_can_not_be_read_is_not_called_broken_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.so").write_bytes(build(IE))
    start = tmp_path / "start.json"
    start.symlink_to("/proc/self/mem")
    assert main(["simulate", "--start", str(start), str(tmp_path / "m.so")]) == 3
    assert capsys.readouterr().err.startswith(f"tls-wheel-guard: {start}: it can't be read: Input/output error")


def test_a_version_that_a_child_wrote() -> None:
    assert version_numbers("2.36") == (2, 36)
    assert version_numbers(f"2.²{DIGITS}.36") == (2, 36)
    assert version_numbers(f"{DIGITS}.²") == version_numbers(None) == ()


@pytest.mark.parametrize("name", ["/²", "/" + "9" * 15, "/\N{ARABIC-INDIC DIGIT ONE}"])
def test_names_in_an_archive_of_objects_that_are_no_numbers(name: str) -> None:
    member = name.encode()[:16].ljust(16) + b"0".ljust(32) + b"4".ljust(10) + b"`\n" + b"\x7fELF"
    assert list(initial_exec_objects(b"!<arch>\n" + member)) == []
