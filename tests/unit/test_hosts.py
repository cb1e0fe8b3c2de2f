"""Hosts that are not Linux, with their ways in place of this one's: paths, folders without inodes, encodings, processes, open files."""

from __future__ import annotations

import json
import ntpath
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elf_builder import Spec, build
from tests.support.inputs import tree_contents
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import Config
from tls_wheel_guard.commands import workers
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.mark import mark_input
from tls_wheel_guard.commands.workers import check_many
from tls_wheel_guard.config.model import Allow
from tls_wheel_guard.findings import Finding
from tls_wheel_guard.inputs.files import slashed
from tls_wheel_guard.inputs.opening import open_input


def finding(path: str) -> Finding:
    return Finding("initial-exec-tls", "error", path, ("",), ())


@pytest.mark.parametrize("path", [r"C:\\build\\pkg\\_core.pyd.so", r"c:/build/pkg/_core.pyd.so", r"\\\\server\\share\\build\\pkg\\_core.pyd.so"])
def test_patterns_know_the_paths_of_windows(path: str) -> None:
    path = path.replace("\\\\", "\\")
    for pattern in ("pkg/*.so", "build/pkg/_core.pyd.so", "*/_core.*", "*"):
        assert Allow(pattern, "initial-exec-tls").matches(finding(path)), pattern
    assert not Allow("kg/*.so", "initial-exec-tls").matches(finding(path))
    # On POSIX a backslash is a letter of a name.
    assert not Allow("b.so", "initial-exec-tls").matches(finding("a\\b.so"))


def test_a_bare_file_is_named_with_slashes() -> None:
    assert slashed(r"build\lib\m.so", ntpath.sep) == "build/lib/m.so"
    assert slashed("a\\b.so", "/") == "a\\b.so"


class WindowsEntry:
    """What os.scandir gives on Windows: its stat has no inode and no device, unless the file itself is asked."""

    def __init__(self, real: os.DirEntry[str]) -> None:
        self._real = real
        self.name, self.path = real.name, real.path

    def is_symlink(self) -> bool:
        return self._real.is_symlink()

    def stat(self) -> os.stat_result:
        return no_inode(self._real.stat())


def no_inode(status: os.stat_result) -> os.stat_result:
    return os.stat_result((status.st_mode, 0, 0, *status[3:]))


class WindowsFolder:
    def __init__(self, real: Iterator[os.DirEntry[str]]) -> None:
        self._real = real

    def __enter__(self) -> Iterator[WindowsEntry]:
        return (WindowsEntry(entry) for entry in self._real)

    def __exit__(self, *_: object) -> None:
        self._real.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("asked", ["has an inode", "has none"])
def test_a_tree_on_a_host_whose_folders_have_no_inodes(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.so", "b.so", "lib/c.so"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(build(Spec()))
    (tmp_path / "lib64").symlink_to("lib")
    (tmp_path / "lib" / "up").symlink_to("..")
    (tmp_path / "again.so").symlink_to("a.so")
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr("os.scandir", lambda path: WindowsFolder(scandir(path)))
    if asked == "has none":
        monkeypatch.setattr(
            "os.stat",
            lambda path, **more: no_inode(stat(path, **more)) if str(path).endswith((".so", "lib", "lib64", "up")) else stat(path, **more),
        )
    assert [module.name for module in tree_contents(tmp_path).modules] == ["a.so", "b.so", "lib/c.so"]


@pytest.mark.parametrize("words", ["check", "check -v", "show", "check --format json", "check --format github", "explain mimalloc", "simulate"])
def test_an_output_that_knows_few_letters(words: str, tmp_path: Path) -> None:
    """As a Windows console does; what it has no letter for is escaped."""
    wheel = make_wheel(tmp_path, {"pkg/größe/中文/😀.so": ie()}, name="größe")
    odd = tmp_path / ("中文-" + wheel.name)
    wheel.rename(odd)
    command = [sys.executable, "-m", "tls_wheel_guard", *words.split(), *([] if "explain" in words else [odd.name])]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert run.returncode in (0, 1), run.stderr
    assert b"bug in" not in run.stderr
    text = run.stdout.decode("cp1252")
    if "json" in words:
        assert json.loads(text)["wheels"][0]["modules"][0]["path"] == "pkg/größe/中文/😀.so"
    elif "explain" not in words and words != "simulate":
        assert "größe" in text


def test_workers_that_are_spawned_get_all_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and macOS know no fork; and where no signal can be blocked, it is ignored for the moment."""
    monkeypatch.setattr(workers, "WORKERS_PAY_FROM", 0)
    monkeypatch.delattr(signal, "pthread_sigmask")
    handler = signal.getsignal(signal.SIGINT)
    wheels = [make_wheel(tmp_path, {"m.so": ie(size)}, "cp312-cp312-win_amd64", name=f"p{size}") for size in (8, 16, 24)]
    asked = Asked(own_tags=False, sites=True)
    reports = list(check_many(wheels, Config(targets=("freebsd_14_2_amd64",)), 2, asked=asked))
    assert [report.wheel for report in reports] == [wheel.name for wheel in wheels]
    assert all([target.tag for target in report.targets] == ["freebsd_14_2_amd64"] for report in reports)
    assert all(report.modules[0].sites is not None for report in reports)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("kind", ["wheel", "bare"])
def test_a_file_is_closed_before_it_is_replaced(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows replaces no file that somebody has open."""
    path = make_wheel(tmp_path, {"m.so": ie(flags=0, spare=1)}) if kind == "wheel" else tmp_path / "m.so"
    if kind == "bare":
        path.write_bytes(ie(flags=0, spare=1))
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if any(link.samefile(target) for link in Path("/proc/self/fd").iterdir() if link.exists()):
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        return real(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux's /proc to see which files are open")
    monkeypatch.setattr(Path, "replace", replace)
    with open_input(path) as opened:
        assert mark_input(opened, path).marked


def test_nothing_of_posix_alone_is_imported(tmp_path: Path) -> None:
    """Modules that Windows has not got are needed by no command that has a use there."""
    wheel = make_wheel(tmp_path, {"m.so": ie()})
    code = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'grp', 'termios', 'resource', 'pty', 'tty', 'syslog', 'readline'): sys.modules[name] = None\n"
        "import os\n"
        "for name in ('killpg', 'statvfs', 'geteuid', 'getuid', 'fork', 'mkfifo', 'sched_getaffinity'): delattr(os, name)\n"
        "from tls_wheel_guard.__main__ import main\n"
        "from tls_wheel_guard import backend, setuptools_plugin\n"
        "import importlib, tls_wheel_guard.cli as cli\n"
        "for name in cli.COMMANDS: importlib.import_module(f'tls_wheel_guard.cli.{name}')\n"
        "codes = [main([*words.split(), sys.argv[1]]) for words in ('check --no-config', 'show --no-config', 'simulate', 'mark -w out')]\n"
        "print('codes', codes)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(wheel)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1] == "codes [1, 0, 0, 0]", run.stderr
