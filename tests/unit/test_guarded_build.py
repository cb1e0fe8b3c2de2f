"""A build that the guard is around: folders of its own, full disks, odd files in the checkout, a warning that stops nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.elf_builder import Spec, build
from tests.support.installed import HOUR, TAG, put
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import Config
from tls_wheel_guard.build_guard import products
from tls_wheel_guard.build_guard.guard import guard
from tls_wheel_guard.build_guard.products import changed_modules, editable_modules, installed_modules, wheels_in
from tls_wheel_guard.build_guard.rewrite import remaining
from tls_wheel_guard.build_guard.rewrite.environment import rewritten
from tls_wheel_guard.build_guard.rewrite.own_folder import own_folder
from tls_wheel_guard.build_guard.rewrite.remaining import explain_leftovers
from tls_wheel_guard.build_guard.staging import guarded_build, source_date_epoch
from tls_wheel_guard.commands import mark
from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.errors import CheckFailed, InputReadError, UsageError

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


# Folders of their own.


def test_two_rewritten_builds_of_one_checkout_have_a_folder_each(tmp_path: Path) -> None:
    with own_folder(tmp_path / "target") as first:
        (first / "release").mkdir(parents=True)
        (first / "release" / "a.o").touch()
        with own_folder(tmp_path / "target") as second:
            assert second != first
            assert not second.exists()
            second.mkdir()
            assert (first / "release" / "a.o").exists()
        assert (first / "release" / "a.o").exists()
    assert not (tmp_path / "target").exists()


def test_what_a_killed_build_left_is_cleared_and_its_name_taken_again(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tls_wheel_guard.build_guard.rewrite.own_folder import own_folder\n"
        "with own_folder(Path(sys.argv[1])) as f: f.mkdir(); (f / 'old.o').touch(); print(f, flush=True); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(run.stdout.strip())
    assert (left / "old.o").exists()
    with own_folder(tmp_path) as again:
        assert again == left
        assert not again.exists()
    assert list(tmp_path.iterdir()) == []


BUILD = """
import os, sys, time
from pathlib import Path
target, mine = Path(os.environ["CARGO_TARGET_DIR"]), sys.argv[1]
target.mkdir(exist_ok=True)
(target / mine).touch()
Path(f"{mine}.begun").touch()
for _ in range(1000):
    if all(Path(f"{name}.begun").exists() for name in ("one", "two")): break
    time.sleep(0.01)
time.sleep(0.2)
assert sorted(os.listdir(target)) == [mine], os.listdir(target)
"""


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_of_two_builds_removes_the_folder_that_one_of_them_made(first: int, tmp_path: Path) -> None:
    folder = tmp_path / "target"
    builds = [own_folder(folder), own_folder(folder)]
    assert len({build.__enter__() for build in builds}) == 2
    builds[first].__exit__(None, None, None)
    assert folder.exists()
    builds[1 - first].__exit__(None, None, None)
    assert not folder.exists()


def test_parallel_rewritten_builds_do_not_see_each_other(tmp_path: Path) -> None:
    (tmp_path / "build.py").write_text(BUILD)
    command = [sys.executable, "-m", "tls_wheel_guard", "build", "--no-config", "--action", "rewrite", "--", sys.executable, "build.py"]
    running = [subprocess.Popen([*command, name], cwd=tmp_path, stderr=subprocess.PIPE, text=True) for name in ("one", "two")]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert "AssertionError" not in said, said
        assert "no wheel found" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build.py", "one.begun", "two.begun"]


# Odd files in a checkout.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """FIFOs that nobody writes to, links in a circle and to nowhere, under names that are looked at."""
    for name in ("pipe.o", "pipe.so", f"pipe{TAG}", "pipe.a"):
        os.mkfifo(tmp_path / name)
    for name in ("loop.o", "loop.so", f"loop{TAG}", "loop.whl", "loop"):
        (tmp_path / name).symlink_to(name)
    for name in ("gone.o", "gone.so", "gone.whl"):
        (tmp_path / name).symlink_to("nowhere")
    return tmp_path


def test_fifos_and_circles_in_a_build_folder(checkout: Path) -> None:
    wheel, module = put(checkout / "a.whl", b"1"), put(checkout / f"m{TAG}")
    assert list(wheels_in([checkout])) == [wheel]
    since = time.time_ns() - HOUR
    assert changed_modules(checkout, since) == editable_modules(checkout, since) == [module]
    assert installed_modules(checkout, {}, since) == []
    odd = put(checkout / "pkg" / "x.so", ie())
    report = check_wheel(odd)
    (leftover,) = explain_leftovers(report.modules, (checkout,), time.time() - 3600)
    assert leftover.module == str(odd)
    assert "no object file of this build has it" in leftover.why


def test_the_search_for_objects_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number:03}.o").write_bytes(b"")
    looked: list[Path] = []
    real = products.files_below

    def files_below(folder: Path) -> Iterator[Path]:
        for path in real(folder):
            looked.append(path)
            yield path

    monkeypatch.setattr(remaining, "files_below", files_below)
    monkeypatch.setattr(remaining, "MAX_FILES", 5)
    (tmp_path / "x.so").write_bytes(ie())
    explain_leftovers(check_wheel(tmp_path / "x.so").modules, (tmp_path,), 0)
    assert len(looked) <= 6


def test_one_policy_for_editable_builds(tmp_path: Path) -> None:
    new, old = put(tmp_path / "new.so"), put(tmp_path / f"old{TAG}", age_hours=2)
    since = time.time_ns() - HOUR
    assert editable_modules(tmp_path, since) == [new, old]
    assert editable_modules(tmp_path, since, all_new=True) == [new]


# Full disks.


def test_a_full_disk_where_a_rewritten_build_keeps_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    real = Path.write_text

    def write_text(path: Path, *words: object, **more: object) -> int:
        if path.name == "specs":
            raise NO_SPACE
        return real(path, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(UsageError, match="it can't be written: No space left on device"), rewritten(Config(action="rewrite"), dict(os.environ)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["tempfile.mkdtemp", "pathlib.Path.mkdir"])
def test_a_full_disk_where_wheels_are_staged(broken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise NO_SPACE

    monkeypatch.setattr(broken, full)
    with (
        pytest.raises(UsageError, match=r"dist: it can't be written: No space left on device"),
        guarded_build(tmp_path / "dist", Config(), print, dict(os.environ)),
    ):
        pass


def test_a_rejected_wheel_is_left_nowhere_and_an_accepted_one_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for data, accepted in ((build(Spec()), True), (ie(), False)):
        try:
            with guarded_build(tmp_path / "dist", Config(), lambda _: None, {}) as guarded:
                guarded.wheels = [make_wheel(guarded.folder, {"m.so": data}, name=str(accepted))]
        except CheckFailed:
            assert not accepted
    assert [path.name.partition("-")[0] for path in (tmp_path / "dist").iterdir()] == ["True"]


# A warning stops nothing.


def failing(error: Exception) -> SimpleNamespace:
    def fail(*_: object, **__: object) -> None:
        raise error

    return SimpleNamespace(fail=fail)


@pytest.mark.parametrize(
    "error", [NO_SPACE, InputReadError("it can't be read: Input/output error"), UsageError("no")], ids=["a full disk", "a broken disk", "usage"]
)
def test_warn_goes_on_whatever_stands_in_the_way_of_a_mark(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path, {"pkg/m.so": ie(flags=0, spare=1)})
    before, said = wheel.read_bytes(), list[str]()
    monkeypatch.setattr(mark, "written_whole", failing(error).fail)
    guard([wheel], Config(action="warn"), said.append)
    assert wheel.read_bytes() == before
    assert any("DF_STATIC_TLS could not be set" in line for line in said), said


@pytest.mark.parametrize("record", [b"", b"pkg/m.so,sha256=x,1\n".replace(b"m.so", b"m\xe2\x80\xa8.so")], ids=["none", "another"])
def test_a_record_without_a_line_for_what_changes(record: bytes, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"pkg/m.so": ie(flags=0, spare=1), "pkg-1.0.dist-info/RECORD": record}, metadata=False)
    before, said = wheel.read_bytes(), list[str]()
    guard([wheel], Config(action="warn"), said.append)
    assert wheel.read_bytes() == before
    assert any("RECORD has no line for pkg/m.so" in line for line in said), said


@pytest.mark.parametrize("text", ["²", "1" * 5000, "-1", "1.5", "١٢"])
def test_a_date_that_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of seconds"):
        source_date_epoch({"SOURCE_DATE_EPOCH": text})
