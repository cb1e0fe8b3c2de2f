"""The front door for Python code: values in, values out, and only errors that are documented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tls_wheel_guard
from tests.support.elf_builder import Spec, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import Config, TlsWheelGuardError, check_path, check_wheel, load_config, simulate
from tls_wheel_guard.errors import ConfigError, UnreadableInput, UsageError

MUSL = "cp312-cp312-musllinux_1_2_x86_64"


def test_every_public_name_is_there_and_documented() -> None:
    for name in tls_wheel_guard.__all__:
        found = getattr(tls_wheel_guard, name)
        assert name.startswith("__") or found.__doc__, name
    for function in (check_wheel, check_path, simulate, load_config):
        assert "Raises:" in (function.__doc__ or "")
    with pytest.raises(AttributeError):
        tls_wheel_guard.nothing_of_the_kind  # noqa: B018


def test_check_wheel(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"pkg/m.so": ie()}, MUSL)
    report = check_wheel(wheel)
    assert report.worst == "error"
    assert report.to_dict()["findings"][0]["rule"] == "initial-exec-tls"
    assert check_wheel(str(wheel), Config(ignore=("initial-exec-tls",))).worst is None


def test_check_path_hides_nothing(tmp_path: Path) -> None:
    make_wheel(tmp_path, {"pkg/m.so": ie()}, MUSL, name="b")
    make_wheel(tmp_path, {"pkg/m.so": build(Spec())}, MUSL, name="c")
    (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"no zip")
    reports = check_path(tmp_path)
    assert [(r.wheel[0], r.worst, r.error is None) for r in reports] == [("a", None, False), ("b", "error", True), ("c", None, True)]
    assert [r.wheel[0] for r in check_path(tmp_path / "[bc]*.whl")] == ["b", "c"]
    assert [r.wheel[0] for r in check_path(tmp_path, Config(exclude=("a-*", "b-*")))] == ["c"]
    (tmp_path / "m.so").write_bytes(ie())
    (tree,) = check_path(tmp_path, tree=True)
    assert (tree.is_tree, [m.path for m in tree.modules]) == (True, ["m.so"])


def test_simulate_takes_the_loaders_of_the_tags(tmp_path: Path) -> None:
    both = make_wheel(tmp_path, {"pkg/m.so": ie()}, "cp312-cp312-manylinux_2_28_x86_64.musllinux_1_2_x86_64")
    assert [(s.loader.name, s.fails) for s in simulate([both])] == [("glibc", False), ("musl", True)]
    (one,) = simulate([both, "@close", both], loader="glibc-2.36", start={"used": 144, "limit": 1856, "align": 64})
    assert [(each.deed, each.step.loads, each.room) for each in one.steps] == [("open", True, 1648), ("close", True, 1712)]
    with pytest.raises(UsageError, match="several loaders"):
        simulate([both], start={"used": 1})


def test_load_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.tls-wheel-guard]\nfail-on = "error"\nroom = 100\n')
    (tmp_path / "below").mkdir()
    monkeypatch.setenv("TLS_WHEEL_GUARD_ROOM", "200")
    config = load_config(tmp_path / "below", strict=True)
    assert (config.fail_on, config.room, config.strict, config.source) == ("error", 200, True, str(tmp_path / "pyproject.toml"))


def test_what_is_raised_is_ours(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"no zip")
    (tmp_path / "x.txt").write_text("text")
    wheel = make_wheel(tmp_path, {"m.so": ie()}, MUSL)
    cases: list[tuple[type[TlsWheelGuardError], object]] = [
        (UnreadableInput, lambda: check_wheel(tmp_path / "x.whl")),
        (UnreadableInput, lambda: check_wheel(tmp_path / "x.txt")),
        (UnreadableInput, lambda: check_wheel(tmp_path / "missing.whl")),
        (UsageError, lambda: check_path(tmp_path / "missing")),
        (ConfigError, lambda: check_wheel(wheel, Config(baseline=str(tmp_path / "missing")))),
        (UsageError, lambda: simulate([wheel], loader="glibc-x")),
        (UsageError, lambda: simulate([])),
        (UnreadableInput, lambda: simulate([tmp_path / "x.txt"])),
    ]
    for kind, call in cases:
        with pytest.raises(kind):
            call()  # type: ignore[operator]


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, tls_wheel_guard; print([m for m in sys.modules if m.startswith('tls_wheel_guard.')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "['tls_wheel_guard.version']\n"
