"""``action = "rewrite"`` through the plugin, the backend and the command, in real builds."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.backends import RECORDED, call, calls, in_tree
from tests.support.projects import CROSS, FRONT_ENDS, REWRITE_COMMAND, add_table, build, copy_project, nothing_is_left, run, use_backend
from tests.support.readelf import initial_exec
from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel

pytestmark = pytest.mark.compiler

REWRITE = 'action = "rewrite"'
CLANG = {"CC": "clang-19", "CXX": "clang++-19", "LDSHARED": "clang-19 -shared"}


def in_wheel(wheel: Path, folder: Path) -> tuple[int, int]:
    """Initial-exec relocations, and dynamic ones, of the one module in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if ".so" in name)
        return initial_exec(Path(archive.extract(name, folder)))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_the_plugin_cures_a_flag(front_end: str, python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, REWRITE)
    built = build(project, front_end, python=python)
    assert built.code == 0, built.output
    (wheel,) = built.wheels
    assert in_wheel(wheel, tmp_path)[0] == 0
    assert "initial-exec-tls" not in built.output
    assert not list(project.rglob("*tls-wheel-guard*"))


@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
@pytest.mark.parametrize("sample", ["setuptools-attribute", "setuptools-cpp"])
def test_the_plugin_cures_attributes_and_classes(sample: str, compiler: str, new_python: str, tmp_path: Path) -> None:
    require(compiler)
    project = copy_project(sample, tmp_path)
    add_table(project, REWRITE)
    built = build(project, "build", python=new_python, environment=CLANG if compiler != "gcc" else {})
    assert built.code == 0, built.output
    assert in_wheel(built.wheels[0], tmp_path)[0] == 0


@pytest.mark.parametrize("command", [["bdist_wheel"], ["build", "bdist_wheel"], ["build", "-b", "elsewhere", "bdist_wheel"]])
def test_old_objects_do_not_count_and_ours_are_not_left(command: list[str], python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    setup = [python, "setup.py", "-q", *command, "-d", "out"]
    assert run(setup, project)[0] == 0
    objects = set(project.rglob("*.o"))
    assert objects
    add_table(project, REWRITE)
    code, output = run(setup, project)
    assert code == 0, output
    (wheel,) = (project / "out").glob("*.whl")
    assert in_wheel(wheel, tmp_path)[0] == 0
    # A plain build afterwards must not find the rewritten objects either.
    assert run(setup, project, {"TLS_WHEEL_GUARD_ACTION": "fail"})[0] == 1
    assert set(project.rglob("*.o")) == objects
    assert not list(project.rglob("*tls-wheel-guard*"))


def test_an_editable_install_is_rewritten_in_place(python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    assert run([python, "setup.py", "-q", "build_ext", "--inplace"], project)[0] == 0
    add_table(project, REWRITE)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    code, output = run([*pip, "install", "-v", "--no-build-isolation", "--no-deps", "-e", "."], project)
    try:
        assert code == 0, output
        assert [initial_exec(path)[0] for path in (project / "src").rglob("*.so")] == [0]
        subprocess.run([python, "-c", "import scratch; scratch.selftest()"], cwd=tmp_path, check=True)
    finally:
        run([*pip, "uninstall", "-y", "scratch-flag"], project)


def test_a_cross_build_is_rewritten(python: str, tmp_path: Path) -> None:
    require(CROSS["CC"])
    project = copy_project("setuptools-attribute", tmp_path)
    plain = build(project, "setup.py", python=python, environment=CROSS)
    assert in_wheel(plain.wheels[0], tmp_path)[0] == 1
    add_table(project, REWRITE)
    built = build(project, "setup.py", python=python, environment=CROSS)
    assert built.code == 0, built.output
    assert in_wheel(built.wheels[0], tmp_path)[0] == 0


def test_a_folder_with_blanks_and_quotes(new_python: str, tmp_path: Path) -> None:
    folder = tmp_path / """it's "my" project"""
    folder.mkdir()
    project = copy_project("setuptools-flag", folder)
    add_table(project, REWRITE)
    built = build(project, "build", python=new_python, environment={"TMPDIR": str(folder)})
    assert built.code == 0, built.output
    assert in_wheel(built.wheels[0], tmp_path)[0] == 0


# ---- the backend


@pytest.mark.parametrize("sample", ["setuptools-flag", "hatchling"])
def test_the_backend_rewrites(sample: str, new_python: str, tmp_path: Path) -> None:
    project = copy_project(sample, tmp_path)
    use_backend(project, REWRITE)
    built = build(project, "pip", python=new_python)
    assert built.code == 0, built.output
    assert in_wheel(built.wheels[0], tmp_path)[0] == 0


@pytest.mark.parametrize("through", ["backend", "command"])
def test_old_objects_of_setuptools_do_not_count_without_the_plugin_either(through: str, python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    assert run([python, "setup.py", "-q", "bdist_wheel"], project)[0] == 0
    shutil.rmtree(project / "dist")
    theirs = tmp_path / "theirs.cfg"
    theirs.write_text("[bdist_wheel]\nbuild_number = 7\n")
    environment = {"DIST_EXTRA_CONFIG": str(theirs)}
    if through == "backend":
        use_backend(project, REWRITE)
        built = build(project, "build", python=python, environment=environment)
        code, output = built.code, built.output
    else:
        code, output = run([*REWRITE_COMMAND, python, "setup.py", "-q", "bdist_wheel"], project, environment)
    assert code == 0, output
    (wheel,) = project.rglob("*.whl")
    assert in_wheel(wheel, tmp_path)[0] == 0
    assert "-1.0-7-" in wheel.name
    assert len(list(project.rglob("*.o"))) == 1


def test_the_backends_environment_is_put_back_and_old_build_folders_are_left_alone(new_python: str, tmp_path: Path) -> None:
    noted = RECORDED.replace('_note("build_wheel"', 'import os; _note("env", {k: os.environ.get(k) for k in NAMES}); _note("build_wheel"', 1)
    names = ["LIBRARY_PATH", "CCC_OVERRIDE_OPTIONS", "CFLAGS", "CC", "CARGO_TARGET_DIR"]
    project = in_tree(tmp_path, f"NAMES = {names}\n{noted}")
    settings = {"tls-wheel-guard.action": "rewrite", "build-dir": "cache", "other": "kept"}
    statement = (
        "import os; os.environ.update(LIBRARY_PATH='/opt/lib', CCC_OVERRIDE_OPTIONS='# x-O3', CFLAGS='-DGIVEN')\n"
        f"before = dict(os.environ); b.build_wheel('out', {settings}); print(dict(os.environ) == before)"
    )
    code, output = call(new_python, project, statement)
    assert (code, output.splitlines()[-1]) == (0, "True"), output
    (_, environment), (_, passed, _) = calls(project)
    assert isinstance(environment, dict)
    assert environment["LIBRARY_PATH"].endswith(":/opt/lib")
    assert environment["CCC_OVERRIDE_OPTIONS"].startswith("# x-O3 ")
    assert " +-ftls-model=global-dynamic " in environment["CCC_OVERRIDE_OPTIONS"]
    assert environment["CFLAGS"] == "-DGIVEN"
    assert environment["CC"] is None
    assert environment["CARGO_TARGET_DIR"].startswith(str(project))
    assert isinstance(passed, dict)
    assert passed["other"] == "kept"
    assert passed["build-dir"] != "cache"
    assert list((project / "out").iterdir())


def test_a_failed_build_puts_the_environment_back(new_python: str, tmp_path: Path) -> None:
    project = in_tree(tmp_path, "def build_wheel(d, s=None, m=None):\n    raise RuntimeError('no')\n")
    statement = (
        "import os; before = dict(os.environ)\ntry:\n    b.build_wheel('out', {'tls-wheel-guard.action': 'rewrite'})\n"
        "except RuntimeError:\n    print(dict(os.environ) == before)"
    )
    assert call(new_python, project, statement) == (0, "True\n")


# ---- the command


def test_wheels_in_cargos_own_folder_come_to_the_usual_one(tmp_path: Path) -> None:
    """As `maturin build` does it: the wheel is written below CARGO_TARGET_DIR."""
    script = (
        'mkdir -p "$CARGO_TARGET_DIR/wheels" && gcc -shared -fPIC -ftls-model=initial-exec -o _m.so x.c &&'
        ' python3 -m zipfile -c "$CARGO_TARGET_DIR/wheels/m-1.0-cp311-cp311-linux_x86_64.whl" _m.so && rm _m.so'
    )
    (tmp_path / "x.c").write_text("static __thread int x;\nint *f(void);\nint *f(void) { return &x; }\n")
    code, output = run([*REWRITE_COMMAND, "sh", "-ec", script], tmp_path)
    assert code == 0, output
    (wheel,) = tmp_path.rglob("*.whl")
    assert wheel.parent == tmp_path / "target" / "wheels"
    assert f"released {wheel}" in output
    assert in_wheel(wheel, tmp_path)[0] == 0
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["wheels"]


def test_a_member_of_a_workspace_has_its_wheels_in_the_workspaces_folder(tmp_path: Path) -> None:
    require("cargo")
    (tmp_path / "member").mkdir()
    (tmp_path / "Cargo.toml").write_text('[workspace]\nmembers = ["member"]\nresolver = "2"\n')
    (tmp_path / "member" / "Cargo.toml").write_text('[package]\nname = "m"\nversion = "1.0.0"\nedition = "2018"\n[lib]\npath = "lib.rs"\n')
    (tmp_path / "member" / "lib.rs").write_text("")
    wheel = make_wheel(tmp_path, {"m/__init__.py": b""}, "py3-none-any", name="m")
    code, output = run(
        [*REWRITE_COMMAND, "sh", "-ec", f'mkdir -p "$CARGO_TARGET_DIR/wheels" && mv {wheel} "$CARGO_TARGET_DIR/wheels"'], tmp_path / "member"
    )
    assert code == 0, output
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.whl")] == [Path("target/wheels", wheel.name)]
    assert not (tmp_path / "member" / "target").exists()


def test_a_plugin_inside_the_command_rewrites_once(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, REWRITE)
    setup = project / "setup.py"
    setup.write_text(setup.read_text() + "import json, os; json.dump(dict(os.environ), open('seen.json', 'w'))\n")
    code, output = run([*REWRITE_COMMAND, new_python, "-m", "build", "-w", "--no-isolation", "-o", "out", "."], project)
    assert code == 0, output
    assert in_wheel(next(project.rglob("*.whl")), tmp_path)[0] == 0
    seen = json.loads((project / "seen.json").read_text())
    assert seen["LIBRARY_PATH"].count("tls-wheel-guard-") == 1
    assert seen["CCC_OVERRIDE_OPTIONS"].count("global-dynamic") == 3


def test_nothing_is_left_after_a_refusal(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, REWRITE)
    built = build(project, "setup.py", python=new_python, environment={"CC": "no-such-compiler"})
    (line,) = built.output.splitlines()
    assert built.code == 2
    assert line == "tls-wheel-guard: CC=no-such-compiler: there is no such program; hint: correct CC, or install it"
    assert nothing_is_left(project)
    assert not (project / "build").exists()
