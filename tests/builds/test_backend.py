"""The PEP 517 backend around real and recorded backends, called as front ends call it."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tests.support.backends import OPTIONAL, RECORDED, call, calls, in_tree
from tests.support.modules import INITIAL_EXEC
from tests.support.projects import build, copy_project, run, use_backend

# ---- hooks


def test_hooks_that_the_inner_backend_lacks_are_absent(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED)
    code, output = call(new_python, project, "print([h for h in b.HOOKS if hasattr(b, h)])")
    assert (code, output) == (0, "['build_sdist', 'build_wheel']\n")


def test_optional_hooks_are_there_when_the_inner_backend_has_them(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED + OPTIONAL)
    code, output = call(new_python, project, "print(len([h for h in b.HOOKS if hasattr(b, h)]), b.get_requires_for_build_wheel())")
    assert (code, output) == (0, "4 ['six >=1.16']\n")


def test_settings_reach_the_inner_backend_without_ours(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED + OPTIONAL)
    settings = "{'tls-wheel-guard.action': 'warn', '--opt': ['a', 'b'], 'x': ''}"
    statement = f"""
        s = {settings}
        b.get_requires_for_build_wheel(s)
        b.prepare_metadata_for_build_wheel('meta', s)
        b.build_wheel('out', s, 'meta')
        b.build_wheel('out', None)
        b.build_wheel('out', {{}}, None)
        b.build_sdist('out', s)
        print(s)
        """
    code, output = call(new_python, project, textwrap.dedent(statement))
    assert (code, output.splitlines()[-1]) == (0, settings), output
    rest = {"--opt": ["a", "b"], "x": ""}
    assert calls(project) == [
        ["get_requires_for_build_wheel", rest],
        ["prepare_metadata_for_build_wheel", "meta", rest],
        ["build_wheel", rest, "meta"],
        ["build_wheel", None, None],
        ["build_wheel", {}, None],
        ["build_sdist", rest],
    ]


def test_fail_and_warn_by_setting(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED, module=INITIAL_EXEC)
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert code == 1
    assert output.splitlines()[-1].startswith("tls-wheel-guard: pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl is not released; hint:")
    assert list((project / "out").iterdir()) == []
    code, output = call(new_python, project, "print(b.build_wheel('out', {'tls-wheel-guard.action': 'warn'}))")
    assert code == 0
    assert [path.name for path in (project / "out").iterdir()] == ["pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"]


def test_an_editable_build_that_compiles_nothing_anew_is_judged_all_the_same(new_python: str, tmp_path: Path) -> None:
    """As with meson: the second build finds the module up to date."""
    editable = "def build_editable(d, s=None, m=None):\n    build_wheel(d)\n    return next(pathlib.Path('made').glob('*.whl')).name\n"
    project = in_tree(tmp_path, RECORDED + editable)
    module = project / "pkg" / f"_m{EXTENSION_SUFFIXES[0]}"
    module.parent.mkdir()
    module.write_bytes(INITIAL_EXEC)
    os.utime(module, (1, 1))
    code, output = call(new_python, project, "b.build_editable('out')")
    assert (code, module.name in output.splitlines()[-1]) == (1, True), output
    assert list((project / "out").iterdir()) == []


def test_a_folder_where_the_wheel_should_go_is_one_line(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED)
    (wheel,) = (project / "made").glob("*.whl")
    (project / "out" / wheel.name / "full").mkdir(parents=True)
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert code == 2, output
    assert "it can't be written: Is a directory; hint:" in output.splitlines()[-1]
    assert "Traceback" not in output


def test_errors_of_the_inner_backend_come_through_unchanged(new_python: str, tmp_path: Path) -> None:
    raising = "class Odd(Exception): pass\ndef build_wheel(d, s=None, m=None):\n    raise Odd('no compiler: cc9')\n"
    project = in_tree(tmp_path, raising)
    statement = "try:\n    b.build_wheel('out')\nexcept Exception as e:\n    print(type(e).__module__, type(e).__name__, e)"
    assert call(new_python, project, statement) == (0, "recorded Odd no compiler: cc9\n")
    assert list((project / "out").iterdir()) == []
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert code == 1
    assert output.splitlines()[-1] == "recorded.Odd: no compiler: cc9"


# ---- bad input: one line each, the right code, no wheel


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (['action = "fail"'], 'names no build-backend; hint: name the real one, such as build-backend = "maturin"'),
        (['build-backend = "tls_wheel_guard.backend"'], "is this backend itself; hint: name the real one"),
        (
            ['build-backend = "no_such_backend"'],
            "'no_such_backend' can't be imported: ModuleNotFoundError: No module named 'no_such_backend'; hint:",
        ),
        (['build-backend = "recorded:missing.thing"', 'backend-path = ["backends"]'], "can't be imported: AttributeError:"),
        (['build-backend = "recorded"', 'backend-path = ["../elsewhere"]'], "is outside the project; hint: see PEP 517"),
        (['build-backend = "recorded"', 'backend-path = ["backend"]'], "backend-path: 'backend' is not a folder; hint:"),
        (['build-backend = "os.path"'], "'os.path' is no build backend: it has no build_wheel; hint:"),
        (['build-backend = "recorded"', 'backend-path = "backends"'], "backend-path"),
        (["build-backend = 5"], "build-backend"),
        (['build-backend = "recorded"', 'backend-path = ["backends"]', 'action = "repair"'], "capstone is not installed"),
    ],
)
def test_a_wrong_table_is_one_line(table: list[str], message: str, new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path / "project", RECORDED, *table)
    code, output = call(new_python, project, "b.build_wheel('out')")
    (line,) = output.splitlines()
    assert code == 2
    assert line.startswith("tls-wheel-guard: ")
    assert message in line
    assert not list((project).rglob("out/*"))


@pytest.mark.parametrize(
    ("folder", "why"), [("taken", "File exists"), ("taken/below", "Not a directory"), ("/proc/out", "No such file or directory")]
)
def test_an_output_folder_that_cannot_be_written_is_one_line(folder: str, why: str, new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED)
    (project / "taken").write_text("a file")
    code, output = call(new_python, project, f"b.build_wheel({folder!r})")
    assert (code, len(output.splitlines())) == (2, 1), output
    assert f"{folder}: it can't be written: {why}; hint:" in output
    assert not (project / "calls.jsonl").exists()


@pytest.mark.parametrize(
    ("statement", "why"), [("raise RuntimeError('no licence\\nfile')", "RuntimeError: no licence"), ("raise SystemExit('no')", "SystemExit: no")]
)
def test_a_backend_that_raises_when_imported_is_one_line(statement: str, why: str, new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, f"{statement}\n")
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert (code, len(output.splitlines())) == (2, 1)
    assert f"'recorded' can't be imported: {why}; hint:" in output


def test_a_project_without_a_table_is_one_line(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED)
    (project / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "tls_wheel_guard.backend"\n')
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert (code, len(output.splitlines())) == (2, 1)
    assert "no [tool.tls-wheel-guard] table; hint: add one with build-backend" in output


def test_an_unknown_setting_of_ours_is_one_line(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED)
    code, output = call(new_python, project, "b.build_wheel('out', {'tls-wheel-guard.acton': 'warn'})")
    assert (code, len(output.splitlines())) == (2, 1)
    assert "hint: did you mean 'action'?" in output


def test_a_hook_that_names_a_file_it_did_not_make(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, "def build_wheel(d, s=None, m=None):\n    return 'ghost-1.0-py3-none-any.whl'\n")
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert code == 3
    assert output.splitlines()[-1].startswith("tls-wheel-guard: ")
    assert "ghost-1.0-py3-none-any.whl" in output


def test_a_wheel_that_cannot_be_read_is_not_released(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, RECORDED)
    (wheel,) = (project / "made").glob("*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-30])
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert (code, len(output.splitlines())) == (3, 1)
    assert list((project / "out").iterdir()) == []


# ---- real inner backends under real front ends


@pytest.mark.compiler
@pytest.mark.parametrize("front_end", ["pip", "build"])
@pytest.mark.parametrize("sample", ["setuptools-flag", "hatchling", "poetry-core", "pdm-backend", "meson-python"])
def test_real_backends(sample: str, front_end: str, new_python: str, tmp_path: Path) -> None:
    project = copy_project(sample, tmp_path)
    use_backend(project)
    path = {"PATH": f"{Path(new_python).parent}{os.pathsep}{os.environ['PATH']}"}  # where meson and ninja are
    built = build(project, front_end, python=new_python, environment=path)
    assert built.code == 1, built.output
    # The plugin steps aside, so that the report is printed once.
    assert built.output.count("is not released") == 1, built.output
    assert not list(project.rglob("*.whl"))
    setting = ["--config-settings=tls-wheel-guard.action=warn"] if front_end == "pip" else ["-C", "tls-wheel-guard.action=warn"]
    command = {"pip": ["pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "out"], "build": ["build", "-w", "--no-isolation", "-o", "out"]}
    code, output = run([new_python, "-m", *command[front_end], *setting, "."], project, path)
    assert code == 0, output
    (wheel,) = (project / "out").glob("*.whl")
    assert zipfile.ZipFile(wheel).testzip() is None


def test_an_sdist_and_a_wheel_from_it(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-clean", tmp_path)
    use_backend(project)
    code, output = run([new_python, "-m", "build", "--no-isolation", "-o", "out", "."], project)
    assert code == 0, output
    assert sorted(path.suffix for path in (project / "out").iterdir()) == [".gz", ".whl"]


@pytest.mark.compiler
@pytest.mark.parametrize(("action", "code"), [("fail", 1), ("warn", 0)])
def test_an_editable_install_through_the_backend(action: str, code: int, new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    use_backend(project, f'action = "{action}"')
    pip = [new_python, "-m", "pip", "--disable-pip-version-check"]
    ended, output = run([*pip, "install", "-v", "--no-build-isolation", "--no-deps", "-e", "."], project)
    try:
        assert ended == code, output
        assert "initial-exec-tls" in output
        imported = subprocess.run([new_python, "-c", "import scratch; scratch.selftest()"], cwd=tmp_path, capture_output=True, check=False)
        assert (imported.returncode == 0) == (code == 0)
    finally:
        run([*pip, "uninstall", "-y", "scratch-flag"], project)


# ---- what the inner backend keeps

AS_MATURIN = """
import pathlib, shutil

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    (wheel,) = pathlib.Path("made").glob("*.whl")
    kept = pathlib.Path("target", "wheels", wheel.name)
    kept.parent.mkdir(parents=True)
    (kept.parent / ("other-" + wheel.name)).write_bytes(wheel.read_bytes())
    shutil.copy2(wheel, kept)
    shutil.copy2(kept, wheel_directory)
    return wheel.name
"""


def test_a_rejected_wheel_is_not_left_in_cargos_folder(new_python: str, tmp_path: Path) -> None:
    """maturin builds in target/wheels and copies from there."""
    project = in_tree(tmp_path, AS_MATURIN, module=INITIAL_EXEC)
    code, output = call(new_python, project, "b.build_wheel('out')")
    assert code == 1
    kept = project / "target" / "wheels"
    assert [path.name.split("-")[0] for path in kept.iterdir()] == ["other"]
    assert re.search(r"tls-wheel-guard: removed .*target/wheels/pkg-1\.0-\S+\.whl: it is the wheel that is not released", output), output


def test_a_released_wheel_stays_there(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, AS_MATURIN)
    assert call(new_python, project, "b.build_wheel('out')")[0] == 0
    assert len(list((project / "target" / "wheels").iterdir())) == 2
