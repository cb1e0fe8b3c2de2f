"""One opener: an input is opened once, its members are known by index, its limits go with it, and what the system refuses is a read error."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import Config
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.commands.check import Asked, check_wheel
from tls_wheel_guard.commands.simulate import read_modules
from tls_wheel_guard.doctor.observed import Files
from tls_wheel_guard.errors import MalformedElf, UnreadableInput
from tls_wheel_guard.inputs import files
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.inputs.wheel import OpenWheel
from tls_wheel_guard.limits import Limits

Captured = pytest.CaptureFixture[str]

COUNTING = """
import os, sys
counted, wanted = [], sys.argv.pop(1)
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and os.fsdecode(arguments[0]).endswith(wanted):
        counted.append(arguments[0])
sys.addaudithook(hook)
"""
"""Counts in the interpreter itself how often a file of some name is opened, by whatever means."""


def opened_by(folder: Path, name: str, code: str, *words: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-c", f"{COUNTING}\n{code}\nprint('opened', len(counted), file=sys.stderr)", name, *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    *said, last = run.stderr.splitlines()
    assert last.startswith("opened "), run.stderr
    return int(last.split()[1]), "\n".join(said) + run.stdout


COMMAND = "from tls_wheel_guard.__main__ import main\nmain(sys.argv[1:])"
FOREIGN = Spec(symbols=(Sym("v"),), relocs=(Reloc(18, "v"),), needed=("libd.so",), flags=0x10)


def wheel_of_everything(folder: Path) -> Path:
    """Own initial-exec without the flag, foreign initial-exec with its definer: every reason to look twice."""
    members = {
        "pkg/m.so": ie(flags=0, spare=1),
        "pkg/f.so": build(FOREIGN),
        "pkg/libd.so": build(Spec(symbols=(Sym("v", defined=True),), tls=Tls(8))),
    }
    return make_wheel(folder, members)


@pytest.mark.parametrize("command", ["check", "show", "show --sites", "simulate", "mark -w out", "mark --in-place"])
def test_a_command_opens_a_wheel_once(command: str, tmp_path: Path) -> None:
    words = command.split()
    wheel = wheel_of_everything(tmp_path)
    more = ["--no-config"] if words[0] in ("check", "show") else []
    count, said = opened_by(tmp_path, wheel.name, COMMAND, *words, *more, wheel.name)
    assert count == 1, said


GUARD = """
from pathlib import Path
from tls_wheel_guard.build_guard.guard import guard
from tls_wheel_guard.config.model import Config
guard([Path(sys.argv[1])], Config(action="warn", fail_on="never"), print)
"""


def test_a_build_opens_its_wheel_once_to_judge_and_to_mark_it(tmp_path: Path) -> None:
    wheel = wheel_of_everything(tmp_path)
    count, said = opened_by(tmp_path, wheel.name, GUARD, wheel.name)
    assert count == 1, said
    assert "marked pkg/m.so" in said


def test_members_of_one_name_are_each_looked_at_in_their_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    first, second = build(Spec(tls=Tls(8))), ie(80)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.so", first)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.so", second)
    with open_input(path) as opened:
        read = []
        for module in opened.contents.modules:
            with opened.open_module(module) as source:
                read.append(source.read(0, source.size))
    assert read == [first, second]
    report = check_wheel(path, Config())
    assert [[variable.room for variable in module.traced.reached] for module in report.modules] == [[], [80]]


def test_a_wheel_that_is_no_file_on_disk(tmp_path: Path) -> None:
    """Whoever has a wheel's bytes by other means opens it himself; the verdict is the same."""
    wheel = wheel_of_everything(tmp_path)
    with OpenWheel(io.BytesIO(wheel.read_bytes()), str(wheel), wheel.name) as opened:
        assert check_wheel(opened).to_dict() == check_wheel(wheel).to_dict()


COUNTED = """
import sys
from tls_wheel_guard.config import sources
def counted():
    print("read", sources._read.cache_info().misses, "parsed", sources._document.cache_info().misses)
"""


def test_settings_are_read_and_parsed_once(tmp_path: Path) -> None:
    """By `check`, and by a front end that asks the backend for a hook and then calls it."""
    (tmp_path / "pyproject.toml").write_text('[tool.tls-wheel-guard]\nbuild-backend = "inner"\nbackend-path = ["."]\nfail-on = "never"\n')
    wheel = wheel_of_everything(tmp_path)
    (tmp_path / "inner.py").write_text(
        "import shutil\ndef build_wheel(folder, settings=None, metadata=None):\n"
        f"    shutil.copy({wheel.name!r}, folder)\n    return {wheel.name!r}\n"
    )
    for code in (COMMAND, "from tls_wheel_guard import backend\nbackend.build_wheel('dist')"):
        command = [sys.executable, "-c", f"{COUNTED}\n{code}\ncounted()", "check", wheel.name]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.stdout.splitlines()[-1:] == ["read 1 parsed 1"], run.stdout + run.stderr


# Limits go with the input.


@pytest.mark.parametrize(
    "words",
    [["check", "--no-config"], ["show", "--no-config"], ["mark", "-w", "out"], ["simulate"], ["simulate", "--limit", "4096"]],
    ids=" ".join,
)
def test_every_command_that_reads_inputs_has_the_limits(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    wheel = make_wheel(tmp_path, {"m.so": ie()})
    assert main([*words, "--limit", "members=2", wheel.name]) == 3
    assert "limit members; --limit members=N moves it" in capsys.readouterr().err
    assert main([*words, "--limit", "members=20", wheel.name]) in (0, 1, 4)


def test_the_limits_hold_in_the_second_look_too(tmp_path: Path) -> None:
    wheel = wheel_of_everything(tmp_path)
    with pytest.raises(UnreadableInput, match="limit chain"):
        read_modules([wheel], Limits(chain=1))
    (tmp_path / "x.so").write_bytes(ie())
    with Files(Limits(segments=1)) as read:
        read.read([str(tmp_path / "x.so")])
        assert read.facts(str(tmp_path / "x.so")) is None


def test_settings_hold_settings_only() -> None:
    assert not {"tree", "own_tags", "live"} & set(Config.__slots__)
    assert Asked().own_tags


# What the system refuses.

NO_PROC = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc/self/mem, whose first bytes can't be read")


@NO_PROC
def test_a_file_that_the_system_can_not_read_is_a_read_error(tmp_path: Path, capsys: Captured) -> None:
    """/proc/self/mem is a regular file by its mode, and a read of its first bytes gives EIO."""
    good, bad = make_wheel(tmp_path, {"m.so": build(Spec())}), tmp_path / "bad-1.0-py3-none-any.whl"
    bad.symlink_to("/proc/self/mem")
    for command in (["check", "--no-config"], ["show", "--no-config"], ["mark", "-w", str(tmp_path / "out")]):
        assert main([*command, str(bad), str(good)]) == 3
        shown = capsys.readouterr()
        assert shown.err == f"tls-wheel-guard: {bad}: it can't be read: Input/output error; hint: check the path, its permissions and its disk\n"
        assert good.name in shown.out
    assert main(["simulate", str(bad)]) == 3
    assert f"{bad}: it can't be read: Input/output error" in capsys.readouterr().err


class Disk:
    """Reads an input as it is, up to the moment at which the system itself answers EIO. Libraries of this machine are read too."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken_from: int | None = None
        self.reads = 0
        real = files._InputFile.readinto
        inode = path.stat().st_ino

        def readinto(file: files._InputFile, buffer: bytearray) -> int:
            if os.fstat(file.fileno()).st_ino != inode:
                return real(file, buffer)
            self.reads += 1
            if self.broken_from is not None and self.reads > self.broken_from:
                with Path("/proc/self/mem").open("rb", buffering=0) as broken:
                    os.dup2(broken.fileno(), file.fileno())
            return real(file, buffer)

        monkeypatch.setattr(files._InputFile, "readinto", readinto)


@NO_PROC
@pytest.mark.parametrize("kind", ["wheel", "bare"])
def test_a_disk_that_breaks_at_any_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """First pass, second pass, definers: whichever read fails, the line names the file, and the code is 3."""
    path = wheel_of_everything(tmp_path) if kind == "wheel" else tmp_path / "m.so"
    if kind == "bare":
        path.write_bytes(ie(padding=1 << 20))
    disk = Disk(path, monkeypatch)
    main(["check", "--no-config", str(path)])
    capsys.readouterr()
    for number in range(disk.reads):
        disk.reads, disk.broken_from = 0, number
        assert main(["check", "--no-config", str(path)]) == 3
        shown = capsys.readouterr().err
        assert f"{path}: it can't be read: Input/output error" in shown
        assert shown.count("\n") == 1
    assert disk.reads > 1


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.so"
    path.write_bytes(ie(padding=1 << 20))
    with open_input(path) as opened:
        (module,) = opened.contents.modules
        os.truncate(path, 100)
        with opened.open_module(module) as source, pytest.raises(MalformedElf):
            source.read(0, 1 << 20)


def test_what_can_not_be_opened_or_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    wheel = make_wheel(tmp_path, {"m.so": ie()})

    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.open", refused)
    assert main(["check", "--no-config", str(wheel)]) == 3
    assert "it can't be opened: Permission denied; hint: check the path" in capsys.readouterr().err
    monkeypatch.setattr(Path, "iterdir", refused)
    assert main(["check", "--no-config", str(tmp_path)]) == 3
    assert f"{tmp_path}: it can't be listed: Permission denied; hint: check the path" in capsys.readouterr().err


def test_a_file_of_a_folder_that_goes_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The others are judged; what is gone is judged by what was read of it."""
    root = tmp_path / "site"
    root.mkdir()
    for name in ("a.so", "b.so"):
        (root / name).write_bytes(ie())
    with open_input(root, tree=True) as opened:
        assert len(opened.contents.modules) == 2
        (root / "a.so").unlink()
        report = check_wheel(opened)
    assert [bool(module.traced.reached) for module in report.modules] == [False, True]
    assert json.dumps(report.to_dict())
