"""What people stumbled over: mistyped, empty and contradictory command lines, pipes, full words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.config.sources import from_toml
from tls_wheel_guard.culprits.clues import ReachedVariable
from tls_wheel_guard.report.facts import reached_line
from tls_wheel_guard.version import __version__

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def wheel(folder: Path, data: bytes, tag: str = "musllinux_1_2_x86_64", name: str = "pkg") -> str:
    return make_wheel(folder, {"pkg/m.so": data}, f"cp312-cp312-{tag}", name=name).name


TABLE = "[tool.tls-wheel-guard]\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "x", "--frmt"], "unrecognized arguments: --frmt; hint: did you mean --format?"),
        (["check", "x", "--foo"], "unrecognized arguments: --foo; hint: see tls-wheel-guard check --help"),
        (["help", "chek"], "hint: did you mean check?"),
        (["doctor", "app.py", "--fast"], "options of a script go after --, as in: doctor app.py -- --fast"),
        (["check", ""], "argument PATH: an empty path; is a variable of the shell not set?"),
        (["mark", ""], "argument WHEEL: an empty path"),
        (["check", "x", "--select", "initial-exec-tls", "--ignore", "initial-exec-tls"], "no rule is left to run: selected are initial-exec-tls"),
        (["check", "x", "--config", "missing", "--no-config"], "--config missing and --no-config contradict each other; hint: leave one out"),
        (["check", "*.whl"], "*.whl: no such file or folder; hint: check the path; a pattern that matches nothing stays as it is"),
        (["show", "x", "--format", "github"], "invalid choice: 'github'"),
    ],
)
def test_mistakes_are_usage_errors(arguments: list[str], words: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1


def test_an_allow_without_a_module_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "pyproject.toml").write_text('[[tool.tls-wheel-guard.allow]]\nrule = "initial-exec-tls"\nreason = "x"\n')
    assert main(["check", wheel(tmp_path, ie())]) == 2
    assert "tool.tls-wheel-guard.allow[0]: no module; hint: name a member" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-V"], ["check", "-V"]])
def test_the_short_option_for_the_version(arguments: list[str], capsys: Captured) -> None:
    with contextlib.suppress(SystemExit):
        main(arguments)
    assert capsys.readouterr().out == f"tls-wheel-guard {__version__}\n"


def test_help_of_a_command(capsys: Captured) -> None:
    shown = []
    for arguments in (["help", "check"], ["check", "--help"], ["help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "tls-wheel-guard check" in shown[0]
    assert "doctor" in shown[2]


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_report_never_overwrites_an_input(command: str, tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, ie())
    before = (tmp_path / name).read_bytes()
    (tmp_path / "link.json").hardlink_to(name)
    for output in (name, f"./{name}", "link.json"):
        assert main([command, ".", "-o", output]) == 2
        assert "the output is one of the inputs; hint: name another file" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == before


def test_a_simulation_never_overwrites_an_input(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "a.so").write_bytes(ie())
    (tmp_path / "start.json").write_text("{}")
    assert main(["simulate", "a.so", "-o", "a.so"]) == 2
    assert main(["simulate", "a.so", "--start", "start.json", "-o", "start.json"]) == 2
    (tmp_path / "app.py").write_text("x = 1\n")
    assert main(["doctor", "app.py", "-o", "app.py"]) == 2
    assert capsys.readouterr().err.count("the output is one of the inputs") == 3
    assert (tmp_path / "a.so").read_bytes() == ie()


def test_stdin_that_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["check", "--files-from", "-"]) == 2
    assert "--files-from -: stdin is closed; hint: " in capsys.readouterr().err
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    assert main(["check", "--files-from", "-"]) == 2


def test_a_quoted_pattern_is_expanded(tmp_path: Path, capsys: Captured) -> None:
    first, second = wheel(tmp_path, build(Spec())), wheel(tmp_path, build(Spec()), name="other")
    assert main(["check", "*.whl"]) == 0
    shown = capsys.readouterr().out
    assert shown.index(second) < shown.index(first)
    odd = make_wheel(tmp_path, {"pkg/m.so": build(Spec())}, name="[x]")
    assert main(["check", odd.name]) == 0
    assert "1 file," in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["dist"], ["dist/*.whl"], ["empty"], []])
def test_nothing_to_check_is_no_failure_where_that_is_said(arguments: list[str], tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["check", "--if-any", *arguments]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("nothing to check there") == len(arguments)
    assert shown.out == "0 files, 0 ELF modules: 0 errors, 0 warnings, 0 notes\n"
    assert main(["check", "--if-any", "dist", wheel(tmp_path, ie())]) == 1
    assert main(["check", *arguments]) == 2 or arguments == []


def test_columns_and_colour_of_a_pipe(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    name = wheel(tmp_path, ie())
    monkeypatch.setenv("COLUMNS", "60")
    main(["check", name])
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not re.search(r"\[|\S{50}", line)) in range(50, 61)
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["check", name])
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main(["check", name])
    assert "\x1b[" not in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "wide")
    assert main(["check", name]) == 1


def test_success_says_for_which_systems(tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, build(Spec()))
    assert main(["check", name]) == 0
    assert f"{name}: ok (1 ELF module, for musllinux_1_2_x86_64 (musl 1.2 and newer))" in capsys.readouterr().out


def test_hints_are_a_list_too(tmp_path: Path, capsys: Captured) -> None:
    main(["check", "--format", "json", wheel(tmp_path, ie())])
    (finding,) = json.loads(capsys.readouterr().out)["wheels"][0]["findings"]
    assert len(finding["hints"]) > 1
    assert finding["hint"] == "; ".join(finding["hints"])


def test_words_fit_a_folder(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.so").write_bytes(build(Spec()))
    (tmp_path / "site" / "b.so").write_bytes(ie()[:100])
    main(["check", "--tree", "site"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 folder, 1 ELF module" in shown
    assert "check that you may read it, and install again what is damaged" in shown
    assert "build the wheel again" not in shown


def test_one_step_is_one_step(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "a.so").write_bytes(build(Spec()))
    main(["simulate", "a.so"])
    assert capsys.readouterr().out.endswith("\n1 step, 0 failed\n")


def test_the_nearest_file_with_the_table_counts(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    name = wheel(tmp_path, ie(), "manylinux_2_28_x86_64")
    (tmp_path / "pyproject.toml").write_text(TABLE + 'fail-on = "error"\n')
    below = tmp_path / "packages" / "a"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    monkeypatch.chdir(below)
    assert main(["check", "-v", f"../../{name}"]) == 0
    assert f"settings: {tmp_path / 'pyproject.toml'}" in capsys.readouterr().err
    assert main(["check", "--format", "json", f"../../{name}"]) == 0
    assert json.loads(capsys.readouterr().out)["wheels"][0]["settings_file"] == str(tmp_path / "pyproject.toml")
    assert main(["check", "--format", "json", "--no-config", f"../../{name}"]) == 1
    assert json.loads(capsys.readouterr().out)["wheels"][0]["settings_file"] is None


@pytest.mark.parametrize("table", ["tls_wheel_guard", "tls-wheelguard", "tls-wheel-gaurd", "TLS-Wheel-Guard"])
def test_a_misspelt_table_is_an_error(table: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.{table}]\nfail-on = "never" # the guard\n')
    assert main(["check", wheel(tmp_path, ie())]) == 2
    assert f"[tool.{table}] is read by nobody; hint: did you mean [tool.tls-wheel-guard]?" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["wheel-check", "guard", "auditwheel", "check-wheel-contents"])
def test_others_tables_are_theirs(table: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.{table}]\nx = 1 # the guard\n")
    assert main(["check", wheel(tmp_path, build(Spec()))]) == 0


def test_settings_are_shown_with_who_says_them(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    allow = '[[tool.tls-wheel-guard.allow]]\nmodule = "a\\"b"\nrule = "initial-exec-tls"\nreason = "x"\n'
    (tmp_path / "pyproject.toml").write_text(f'{TABLE}fail-on = "error"\nstrict = false\ntargets = ["freebsd_14_2_amd64"]\n{allow}')
    monkeypatch.setenv("TLS_WHEEL_GUARD_ROOM", "100")
    with pytest.raises(SystemExit) as ended:
        main(["check", "--show-settings", "--target", "musllinux_1_2_x86_64"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    path = tmp_path / "pyproject.toml"
    said = {line.split(" = ")[0]: line.partition("  # ")[2] for line in shown.splitlines() if " = " in line}
    assert {key: said[key] for key in ("action", "fail-on", "strict", "room", "targets")} == {
        "action": "default", "fail-on": str(path), "strict": str(path), "room": "the environment", "targets": f"{path}, the command line",
    }  # fmt: skip
    # What is shown can be pasted, and means the same.
    assert from_toml(shown, "shown")["allow"] == from_toml(path.read_text(), "written")["allow"]
    assert from_toml(shown, "shown")["targets"] == ("freebsd_14_2_amd64", "musllinux_1_2_x86_64")


@pytest.mark.parametrize(
    ("tag", "loaders", "code"),
    [
        ("musllinux_1_2_x86_64", ["musl"], 1),
        ("manylinux_2_28_x86_64", ["glibc"], 0),
        ("manylinux_2_28_x86_64.musllinux_1_2_x86_64", ["glibc", "musl"], 1),
        ("freebsd_13_2_amd64", ["freebsd"], 0),
        ("android_24_x86_64", ["bionic"], 1),
    ],
)
def test_a_simulation_is_for_the_loaders_of_the_tag(tag: str, loaders: list[str], code: int, tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, ie(), tag)
    assert main(["simulate", name]) == code
    shown = [line.split()[0].rstrip(",") for line in capsys.readouterr().out.splitlines() if ", x86_64" in line]
    assert shown == loaders
    main(["simulate", "--format", "json", name])
    found = json.loads(capsys.readouterr().out)
    assert [each["loader"]["name"] for each in found.get("simulations", [found])] == loaders
    assert main(["simulate", "--loader", "glibc", name]) == 0


def test_a_bare_module_says_its_loader_itself(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "m.so").write_bytes(ie(needed=("libc.musl-x86_64.so.1",)))
    assert main(["simulate", "m.so"]) == 1
    assert capsys.readouterr().out.startswith("musl, x86_64")


def test_numbers_are_those_of_one_loader(tmp_path: Path, capsys: Captured) -> None:
    name = wheel(tmp_path, ie(), "manylinux_2_28_x86_64.musllinux_1_2_x86_64")
    assert main(["simulate", "--used", "100", name]) == 2
    assert "these files are for several loaders (glibc, musl), and the numbers are those of one; hint: --loader glibc" in capsys.readouterr().err
    (tmp_path / "r.json").write_text("{}")
    assert main(["check", name, "--report", f"json={name}"]) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    "command",
    [["check", "NAME"], ["check", "NAME", "--format", "json"], ["show", "NAME"], ["explain", "mimalloc"], ["mark", "NAME"], ["--help"], ["-V"]],
)
def test_a_full_disk_is_one_line(command: list[str], tmp_path: Path) -> None:
    name = wheel(tmp_path, ie())
    words = [name if word == "NAME" else word for word in command]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([sys.executable, "-m", "tls_wheel_guard", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert "stdout: it can't be written: No space left on device; hint: see where it goes" in run.stderr
    assert run.stderr.count("\n") == 1


def test_an_sdist_is_recognised(tmp_path: Path, capsys: Captured) -> None:
    with tarfile.open(tmp_path / "pkg-1.0.tar.gz", "w:gz"):
        pass
    assert main(["check", "pkg-1.0.tar.gz"]) == 3
    assert "pkg-1.0.tar.gz: an sdist has no binaries to judge; hint: build it first: python -m build" in capsys.readouterr().err


def test_an_empty_archive_is_no_wheel(tmp_path: Path, capsys: Captured) -> None:
    zipfile.ZipFile(tmp_path / "empty-1.0-py3-none-any.whl", "w").close()
    assert main(["check", "empty-1.0-py3-none-any.whl"]) == 3
    assert "it is an empty zip archive, and no wheel; hint: build the wheel again" in capsys.readouterr().err


def test_progress_counts_the_files_of_a_folder(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for number in range(250):
        (site / f"m{number:03}.so").write_bytes(build(Spec()))
    code = "from tls_wheel_guard.cli import progress; progress.PATIENCE = 0\nfrom tls_wheel_guard.__main__ import main; "
    code += "main(['check', '--tree', 'site'])"
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=follower, stdout=subprocess.DEVNULL, check=True, cwd=tmp_path)
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):
        while True:
            seen += os.read(leader, 4096)
    os.close(leader)
    assert b"200 files  m199.so" in seen
    assert b"0/1 files" not in seen.split(b"files  ")[-1]


def test_words_fit_what_they_are_about(tmp_path: Path, capsys: Captured) -> None:
    assert main(["explain", "mimalloc"]) == 0
    assert capsys.readouterr().out.startswith("mimalloc\n")
    assert main(["explain", "go"]) == 0
    assert capsys.readouterr().out.startswith("go: Go's runtime")
    assert "read 1 time," in reached_line(ReachedVariable(0, "x", 4, reads=1, readers=("f",)))
    assert "read 2 times" in reached_line(ReachedVariable(0, "x", 4, reads=2))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "owner.so").write_bytes(build(Spec(symbols=(Sym("theirs", defined=True),), tls=Tls(4), soname="owner.so")))
    (tmp_path / "site" / "user.so").write_bytes(build(Spec(relocs=(Reloc(18, "theirs"),), symbols=(Sym("theirs"),), flags=0x10)))
    main(["check", "--tree", "site", "-v"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "defined in this folder" in shown
    assert "this wheel" not in shown


ROOT = Path(__file__).resolve().parents[2]
SAID_BETTER = (
    "behind all that the project says", "reads one file elsewhere", "so do its errors reach you", "is said (exit 3)", "and that is all.",
    "judged is what it put in place", "no matter of static TLS",
)  # fmt: skip


@pytest.mark.parametrize("words", SAID_BETTER)
def test_sentences_that_were_riddles_are_gone(words: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "tls_wheel_guard").rglob("*.py")]
    assert [path.name for path in pages if words in " ".join(path.read_text(encoding="utf-8").split())] == []


def test_the_readme_says_which_python_first() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert readme.index("Needs Python 3.10 or newer") < readme.index("##")
    assert "\"tls-wheel-guard; python_version >= '3.10'\"" in readme
