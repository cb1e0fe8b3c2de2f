"""The command ``fix`` as a user types it: what it prints and writes, mistakes, exit codes; nothing is ever half written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.modules import ie
from tests.support.projects import SAMPLES, copy_project
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import TlsWheelGuardError, fix_project
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.commands.fix import plan_fix, write_fix

GOLDEN = Path(__file__).parent.parent / "golden" / "fix"
Captured = pytest.CaptureFixture[str]
IE, GD = b"-ftls-model=initial-exec", b"-ftls-model=global-dynamic"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


def fix(*arguments: str | Path) -> int:
    """Run the command; its exit code."""
    return main(["fix", *map(str, arguments)])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of a project with one flag in its setup.py."""
    return copy_project("setuptools-flag", tmp_path)


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()))
def test_the_diff_of_each_sample_project(name: str, tmp_path: Path, capsys: Captured) -> None:
    """Golden: what the author of each would read. ``REGOLD=1`` writes them anew."""
    code = fix(copy_project(name, tmp_path))
    printed = capsys.readouterr().out
    golden = GOLDEN / f"{name}.diff"
    if os.environ.get("REGOLD"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(printed)
    assert printed == golden.read_text()
    assert code == 0


def test_write_changes_the_flag_and_nothing_else(project: Path, capsys: Captured) -> None:
    before = tree(project)
    assert fix(project, "--check") == 1
    assert tree(project) == before
    mode = (project / "setup.py").stat().st_mode
    assert fix(project, "--write") == 0
    assert "# written: setup.py" in capsys.readouterr().out
    assert tree(project) == {**before, "setup.py": before["setup.py"].replace(IE, GD)}
    assert (project / "setup.py").stat().st_mode == mode
    assert fix(project, "--check") == 0
    assert fix(project, "--write") == 0
    assert "nothing to fix" in capsys.readouterr().out


def test_unsafe_edits_want_a_word_of_their_own(tmp_path: Path, capsys: Captured) -> None:
    project = copy_project("setuptools-attribute", tmp_path)
    before = tree(project)
    assert fix(project, "--write") == 4
    assert tree(project) == before
    assert "--unsafe" in capsys.readouterr().err
    assert fix(project, "--write", "--unsafe") == 0
    assert b'tls_model("global-dynamic")' in (project / "counter_attribute.c").read_bytes()


def test_json(project: Path, capsys: Captured) -> None:
    assert fix(project, "--format", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    (edit,) = document["edits"]
    assert (edit["path"], edit["line"], edit["old"], edit["new"]) == ("setup.py", 6, IE.decode(), GD.decode())
    assert (edit["culprit"], edit["safe"], edit["written"]) == ("compiler-flag", True, False)
    assert fix(project, "--write", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["edits"][0]["written"] is True


def test_the_output_goes_into_a_file(project: Path, tmp_path: Path, capsys: Captured) -> None:
    assert fix(project, "-o", tmp_path / "x.diff") == 0
    assert (tmp_path / "x.diff").read_text() == (GOLDEN / "setuptools-flag.diff").read_text()
    assert not capsys.readouterr().out


def test_where_only_an_author_can_help(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "Makefile").write_bytes(b"CFLAGS += " + IE + b"\n")
    assert fix(tmp_path) == 4
    assert "# by hand: Makefile:1:" in capsys.readouterr().out


def _link_out(project: Path) -> None:
    outside = project.parent / "outside.py"
    (project / "setup.py").rename(outside)
    (project / "setup.py").symlink_to(outside)


def _no_build_file(project: Path) -> None:
    for path in project.iterdir():
        if path.is_file():
            path.unlink()


def _fifo(project: Path) -> None:
    (project / "setup.py").unlink()
    os.mkfifo(project / "setup.py")


def _bytes(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda project: (project / name).write_bytes(data)


MISTAKES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no folder": (shutil.rmtree, 2, "no such folder"),
    "no build file": (_no_build_file, 2, "no build file"),
    "no Python": (_bytes("setup.py", b"x = ['" + IE + b"'\n"), 3, "setup.py: line 1: it is not Python"),
    "no TOML": (_bytes("pyproject.toml", b"[x"), 3, "pyproject.toml: it is not TOML"),
    "no text": (_bytes("pyproject.toml", b"\xff"), 3, "pyproject.toml: it is not text in utf-8"),
    "a link out": (_link_out, 3, "leads out of the project"),
    "a fifo": (_fifo, 3, "not a regular file"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_and_change_nothing(name: str, project: Path, capsys: Captured) -> None:
    make, code, words = MISTAKES[name]
    make(project)
    before = tree(project) if project.exists() else {}
    assert fix(project, "--write") == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert "hint:" in captured.err
    assert not captured.out
    assert (tree(project) if project.exists() else {}) == before


WRONG = [(["--unsafe"], "--unsafe without"), (["--init", "--from", "x"], "--init with --from"), (["--from", "no.whl"], "no such file")]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_a_wrong_command_line(arguments: list[str], words: str, project: Path, capsys: Captured) -> None:
    assert fix(project, *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_wheel_chooses(project: Path, tmp_path: Path, capsys: Captured) -> None:
    wheel = make_wheel(tmp_path, {"scratch/_scratch.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name="scratch_flag")
    assert fix(project, "--from", wheel) == 0
    assert "+++ b/setup.py" in capsys.readouterr().out
    other = make_wheel(tmp_path, {"x.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name="other")
    assert fix(project, "--from", other) == 2
    assert "it is a wheel of other, and this project is scratch-flag" in capsys.readouterr().err
    main(["check", "--no-config", "--format", "json", "-o", str(tmp_path / "r.json"), str(wheel), str(other)])
    assert fix(project, "--from", tmp_path / "r.json") == 0
    assert "+++ b/setup.py" in capsys.readouterr().out
    clean = make_wheel(tmp_path, {"x.py": b""}, "py3-none-any", name="scratch_flag")
    assert fix(project, "--from", clean) == 0
    assert "nothing to fix" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"{}", b"[", b'{"wheels": [1]}', b"\x7fEL", b"[" * 10000])
def test_a_report_that_is_none(data: bytes, project: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "r.json").write_bytes(data)
    assert fix(project, "--from", tmp_path / "r.json") == 3
    assert capsys.readouterr().err.count("\n") == 1


def two_files(folder: Path) -> Path:
    """A project whose edits are in two files and a new one."""
    folder.mkdir()
    (folder / "setup.py").write_bytes(b"x = ['" + IE + b"']\n")
    (folder / "meson.build").write_bytes(b"x = ['" + IE.replace(b"-f", b"-f") + b"']\n")
    (folder / "Cargo.toml").write_text('[package]\nname = "x"\nversion = "1.0.0"\n[dependencies]\njemallocator = "0.1"\n')
    (folder / "Cargo.lock").write_text(
        '[[package]]\nname = "x"\nversion = "1.0.0"\ndependencies = [\n "jemallocator",\n]\n'
        '[[package]]\nname = "jemallocator"\nversion = "0.1.9"\n'
        'source = "r"\ndependencies = [\n "jemalloc-sys",\n]\n[[package]]\nname = "jemalloc-sys"\nversion = "0.1.8"\nsource = "r"\n'
    )
    return folder


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_several_files_are_written_all_or_none(fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    project = two_files(tmp_path / "p")
    before = tree(project)
    replace = Path.replace
    done: list[Path] = []

    def failing(self: Path, target: Path) -> Path:
        if len(done) == fails_at and not self.name.endswith(".back"):
            done.append(self)
            raise OSError(28, "No space left on device", str(target))
        done.append(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    assert fix(project, "--write") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert tree(project) == before
    assert not (project / ".cargo").exists()
    monkeypatch.undo()
    assert fix(project, "--write") == 0
    assert set(tree(project)) == {*before, ".cargo/config.toml"}


def test_a_file_that_changed_meanwhile_is_not_overwritten(project: Path) -> None:
    plan = plan_fix(project)
    (project / "setup.py").write_bytes(b"# mine\n")
    with pytest.raises(TlsWheelGuardError, match="it changed in the meantime"):
        write_fix(plan)
    assert (project / "setup.py").read_bytes() == b"# mine\n"


def test_links_inside_are_not_replaced_by_files(project: Path) -> None:
    (project / "setup.py").rename(project / "real.py")
    (project / "setup.py").symlink_to("real.py")
    assert fix(project, "--write") == 0
    assert (project / "setup.py").is_symlink()
    assert GD in (project / "real.py").read_bytes()


def test_a_crate_below_a_workspace_is_fixed_with_its_lock(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "Cargo.toml").write_text('[workspace]\nmembers = ["py", "core"]\n')
    for name in ("py", "core"):
        (tmp_path / name).mkdir()
    (tmp_path / "py" / "Cargo.toml").write_text(
        '[package]\nname = "py"\n[lib]\ncrate-type = ["cdylib"]\n[dependencies]\ncore = { path = "../core" }\n'
    )
    (tmp_path / "core" / "Cargo.toml").write_text('[package]\nname = "core"\n[dependencies]\nmimalloc = "0.1"\n')
    (tmp_path / "py" / "pyproject.toml").write_text('[build-system]\nrequires = ["maturin"]\nbuild-backend = "maturin"\n')
    assert fix(tmp_path / "py") == 0
    assert "+++ b/core/Cargo.toml" in capsys.readouterr().out


def test_the_library_does_what_the_command_does(project: Path) -> None:
    found = fix_project(project)
    assert found.diff + "" == (GOLDEN / "setuptools-flag.diff").read_text()
    assert not found.written
    assert fix_project(project, write=True).written
    assert not fix_project(project).edits


def test_check_ends_with_the_way_to_the_edit(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(project)
    (project / "dist").mkdir()
    wheel = make_wheel(project / "dist", {"scratch/_scratch.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name="scratch_flag")
    shown = f"`tls-wheel-guard fix --from dist/{wheel.name}` shows the edit"
    assert main(["check", "dist"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == shown
    assert main(["check", "-v", "dist"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == shown
    assert any("+++ b/setup.py" in line for line in lines)
    assert fix("--from", f"dist/{wheel.name}", "--write") == 0
    capsys.readouterr()
    assert main(["check", "dist"]) == 1
    assert "shows the edit" not in capsys.readouterr().out


def test_sarif_has_the_edit_as_a_fix(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    (project / ".git").mkdir()
    monkeypatch.chdir(project)
    make_wheel(project, {"scratch/_scratch.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name="scratch_flag")
    assert main(["check", ".", "--format", "sarif"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    (change,) = next(result for result in run["results"] if result["ruleId"] == "initial-exec-tls")["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"]["uri"] == "setup.py"
    (replacement,) = change["replacements"]
    region = replacement["deletedRegion"]
    line = (project / "setup.py").read_text().splitlines()[region["startLine"] - 1]
    assert line[region["startColumn"] - 1 : region["endColumn"] - 1] == IE.decode()
    assert replacement["insertedContent"]["text"] == GD.decode()


@pytest.mark.parametrize("where", ["elsewhere", "another project", "broken"])
def test_check_says_nothing_of_an_edit_where_there_is_none(
    where: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    name = "other" if where == "another project" else "scratch_flag"
    wheel = make_wheel(tmp_path, {"scratch/_scratch.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name=name)
    monkeypatch.chdir(tmp_path if where == "elsewhere" else project)
    if where == "broken":
        (project / "setup.py").write_bytes(b"x = ['" + IE + b"'")
    assert main(["check", str(wheel)]) == 1
    captured = capsys.readouterr()
    assert "shows the edit" not in captured.out
    assert not captured.err


@pytest.mark.parametrize("way", ["pipe", "file"])
def test_a_diff_keeps_carriage_returns_and_bytes_that_are_no_text(way: str, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_bytes(b"# caf\xe9\r\nadd_compile_options(" + IE + b")\r\n")
    (tmp_path / "setup.py").write_bytes(b"\r\n\r\nx = ['" + IE + b"']\r\n")
    command = [sys.executable, "-m", "tls_wheel_guard", "fix", *(["-o", "x.diff"] if way == "file" else [])]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    if way == "pipe":
        (tmp_path / "x.diff").write_bytes(done.stdout)
    subprocess.run(["git", "apply", "--check", "--whitespace=nowarn", "x.diff"], cwd=tmp_path, check=True)
    subprocess.run(["patch", "--binary", "-s", "-p1", "-i", "x.diff"], cwd=tmp_path, check=True)
    assert (tmp_path / "CMakeLists.txt").read_bytes() == b"# caf\xe9\r\nadd_compile_options(" + GD + b")\r\n"
    assert (tmp_path / "setup.py").read_bytes() == b"\r\n\r\nx = ['" + GD + b"']\r\n"
