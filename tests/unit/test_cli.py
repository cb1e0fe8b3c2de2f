"""The command line as a user types it: output, exit codes, mistakes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli import COMMANDS, build_parser
from tls_wheel_guard.rules import RULES
from tls_wheel_guard.version import __version__

GUARD = [sys.executable, "-m", "tls_wheel_guard"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def wheel(folder: Path, data: bytes, tag: str = "musllinux_1_2_x86_64", name: str = "pkg") -> str:
    return make_wheel(folder, {"pkg/m.so": data}, f"cp312-cp312-{tag}", name=name).name


Captured = pytest.CaptureFixture[str]


def test_exit_codes_of_check(tmp_path: Path, capsys: Captured) -> None:
    bad, warned = wheel(tmp_path, ie()), wheel(tmp_path, ie(), "manylinux_2_28_x86_64")
    good = wheel(tmp_path, build(Spec()), "musllinux_1_1_x86_64")
    assert main(["check", good]) == 0
    assert main(["check", warned]) == 1
    assert main(["check", warned, "--fail-on", "error"]) == 0
    assert main(["check", good, bad]) == 1
    assert main(["check", bad, "--fail-on", "never"]) == 0
    assert main(["check", bad, "--allow", "pkg/*:initial-exec-tls:known"]) == 0
    assert main(["check", bad, "--ignore", "initial-exec-tls"]) == 0
    assert main(["check", bad, "--select", "unknown-machine"]) == 0
    assert "allowed: initial-exec-tls in pkg/m.so: known" in capsys.readouterr().out


def test_unreadable_wins_over_findings_and_hides_nothing(tmp_path: Path, capsys: Captured) -> None:
    bad = wheel(tmp_path, ie())
    (tmp_path / "broken-1.0-py3-none-any.whl").write_bytes(b"no zip")
    assert main(["check", "broken-1.0-py3-none-any.whl", bad]) == 3
    shown = capsys.readouterr()
    assert "error: pkg.m will not import on Alpine (musl)" in shown.out
    assert shown.out.endswith("; 1 file could not be read\n")
    assert shown.err.startswith("tls-wheel-guard: broken-1.0-py3-none-any.whl: it is not a zip archive or is cut short: ")
    assert shown.err.count("\n") == 1
    assert "hint: " in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["check"], "no PATH was given; hint: name wheels"),
        (["check", "missing.whl"], "missing.whl: no such file or folder; hint: "),
        (["check", "x", "--formt", "json"], "hint: did you mean --format?"),
        (["check", "x", "--colour", "always"], "hint: did you mean --color?"),
        (["check", "x", "--foo"], "unrecognized arguments: --foo; hint: see tls-wheel-guard check --help"),
        (["check", "x", "--format", "yaml"], "invalid choice: 'yaml'"),
        (["check", "x", "--format", "jsn"], "hint: did you mean json?"),
        (["check", "x", "--color=pink"], "hint: see tls-wheel-guard check --help"),
        (["chek", "x"], "hint: did you mean check?"),
        (["check", "x", "-j", "0"], "argument -j/--jobs: '0' is not a count of 1 or more"),
        (["check", "x", "-j", "-1"], "argument -j/--jobs: "),
        (["check", "x" * 5000], "no such file or folder: File name too long; hint: "),
        (["check", "a\x1b]0;b.whl"], "a\\x1b]0;b.whl: no such file or folder"),
        (["check", "x", "--target", "freebsd"], "unknown platform tag 'freebsd'; hint: tags look like"),
        (["check", "x", "--allow", "x"], "--allow 'x' is not MODULE-GLOB:RULE"),
        (["check", "x", "--config", "none.toml"], "none.toml: it can't be read"),
        (["check", "--files-from", "none.txt"], "--files-from none.txt"),
        (["explain", "initial-exec"], "no rule and no culprit is called 'initial-exec'; hint: did you mean 'initial-exec-tls'?"),
        (["explain", "xyz"], "hint: rules: initial-exec-tls"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], words: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_missing_path_does_not_stop_the_rest(tmp_path: Path, capsys: Captured) -> None:
    assert main(["check", "missing.whl", wheel(tmp_path, ie())]) == 2
    assert "error: pkg.m will not import on Alpine (musl)" in capsys.readouterr().out


def test_folders_stand_for_their_wheels(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "dist.whl"
    folder.mkdir()
    assert main(["check", "dist.whl"]) == 2
    assert "no wheel in this folder" in capsys.readouterr().err
    wheel(folder, ie())
    wheel(folder, build(Spec()), name="other")
    assert main(["check", "dist.whl"]) == 1
    assert "2 files, 2 ELF modules" in capsys.readouterr().out


def test_files_from(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text(wheel(tmp_path, build(Spec())) + "\n\n")
    assert main(["check", "--files-from", "list.txt"]) == 0
    assert "1 file" in capsys.readouterr().out
    odd = os.fsencode(tmp_path) + b"/\xff-1.0-py3-none-any.whl"
    Path(os.fsdecode(odd)).write_bytes((tmp_path / wheel(tmp_path, ie())).read_bytes())
    (tmp_path / "list.txt").write_bytes(odd + b"\r\n")
    assert main(["check", "--files-from", "list.txt", "--fail-on", "never"]) == 0
    assert "1 file, 1 ELF module" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO(wheel(tmp_path, ie()) + "\n"))
    assert main(["check", "--files-from", "-"]) == 1


def test_json_on_stdout_is_only_the_document(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "broken.whl").write_bytes(b"")
    assert main(["check", "--format", "json", "broken.whl", wheel(tmp_path, ie())]) == 3
    document = json.loads(capsys.readouterr().out)
    assert [("error" in w, "modules" in w) for w in document["wheels"]] == [(True, False), (False, True)]


def test_output_file(tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, ie())
    assert main(["check", name, "-o", "report.json", "--format", "json"]) == 1
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["error"] == 1
    assert main(["check", name, "-o", "no/such/folder.json"]) == 2
    (tmp_path / "folder.json").mkdir()
    assert main(["check", name, "-o", "folder.json"]) == 2
    (tmp_path / "folder.json").rmdir()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "can't be written" in shown.err
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "report.json"])


def test_settings_from_pyproject_and_environment(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    name = wheel(tmp_path, ie(), "manylinux_2_28_x86_64")
    (tmp_path / "pyproject.toml").write_text('[tool.tls-wheel-guard]\nfail-on = "error"\n')
    (tmp_path / "below").mkdir()
    assert main(["check", name]) == 0
    assert main(["check", name, "--no-config"]) == 1
    monkeypatch.chdir(tmp_path / "below")
    assert main(["check", f"../{name}"]) == 0
    monkeypatch.setenv("TLS_WHEEL_GUARD_FAIL_ON", "warning")
    assert main(["check", f"../{name}"]) == 1
    assert main(["check", f"../{name}", "--fail-on", "error"]) == 0
    (tmp_path / "pyproject.toml").write_text('[tool.tls-wheel-guard]\naction = "warn"\n')
    assert main(["check", f"../{name}"]) == 0
    monkeypatch.setenv("TLS_WHEEL_GUARD_ROM", "1")
    assert main(["check", f"../{name}"]) == 2
    assert "did you mean 'TLS_WHEEL_GUARD_ROOM'?" in capsys.readouterr().err


def test_show(tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, ie())
    assert main(["show", name]) == 0
    shown = capsys.readouterr().out
    assert "initial-exec: 1 x R_X86_64_TPOFF64 (1 own, 0 foreign); dynamic: 0 DTPMOD, 0 TLSDESC" in shown
    assert "musllinux_1_2_x86_64: never, takes 64" in shown
    assert "error" not in shown.split("1 file")[0]
    cut = make_wheel(tmp_path, {"cut.so": ie()[:300]}, name="cut")
    assert main(["show", cut.name]) == 3
    assert "cut.so: it can't be judged" in capsys.readouterr().err


@pytest.mark.parametrize("rule", RULES)
def test_explain(rule: str, capsys: Captured) -> None:
    assert main(["explain", rule]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{rule}: ")
    assert len(shown.splitlines()) >= 8


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]])
def test_help_is_one_screen_with_an_example(command: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as raised:
        build_parser().parse_args([*command, "--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert "example: tls-wheel-guard " in shown
    assert len(shown.splitlines()) <= 48


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_the_version(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as raised:
        main([command, "--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"tls-wheel-guard {__version__}\n"


def test_version_imports_next_to_nothing() -> None:
    code = """
import sys
from tls_wheel_guard.__main__ import main
main(["--version"])
print(sorted(m for m in sys.modules if "tls_wheel" in m or m in ("argparse", "elftools", "tomllib", "zipfile")))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        f"tls-wheel-guard {__version__}",
        "['tls_wheel_guard', 'tls_wheel_guard.__main__', 'tls_wheel_guard.version']",
    ]


def test_help_and_check_import_no_extra(tmp_path: Path) -> None:
    code = """
import sys
from tls_wheel_guard.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
# A check inflates with isal where it is installed; nothing else does.
extras = ("capstone", "auditwheel", "elftools", "setuptools", *(("isal",) if "--help" in sys.argv else ()))
print([m for m in extras if m in sys.modules])
"""
    for arguments in (["--help"], *([name, "--help"] for name in COMMANDS), ["check", wheel(tmp_path, ie())]):
        run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    name = wheel(tmp_path, build(Spec(relocs=tuple(Reloc(18) for _ in range(10)), tls=Tls(8))))
    command = " ".join([*GUARD, "check", "-v", *[name] * 300])
    script = f'{command} | head -n 1; echo "code ${{PIPESTATUS[0]}}"'
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    # The reader has gone, the verdict has not.
    assert run.stdout.splitlines()[1:] == ["code 1"]


def test_interrupted(tmp_path: Path) -> None:
    fifo = tmp_path / "paths"
    os.mkfifo(fifo)
    command = [*GUARD, "check", "--files-from", str(fifo)]
    # Opening the FIFO waits for its reader, so the command is at work when it is interrupted.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "tls-wheel-guard: interrupted\n")


def test_a_bug_is_one_line_and_exit_5(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("tls_wheel_guard.cli.check.check_many", broken)
    assert main(["check", wheel(tmp_path, ie())]) == 5
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ZeroDivisionError: division by zero" in said
