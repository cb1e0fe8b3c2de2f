"""The setuptools plugin in real builds: every front end, setuptools old and new."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import readelf
from tests.support.interpreters import OLD, pinned
from tests.support.modules import INITIAL_EXEC
from tests.support.projects import CROSS, FRONT_ENDS, ROOT, Built, add_table, build, copy_project, nothing_is_left, run
from tests.support.toolchain import require

pytestmark = pytest.mark.compiler


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_fail_stops_the_build_and_leaves_no_wheel(front_end: str, python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project)
    built = build(project, front_end, python=python)
    assert built.code == 1
    assert "warning: scratch._scratch imports on Linux with glibc only while there is room" in built.output
    assert 'is not released; hint: set action = "rewrite" in [tool.tls-wheel-guard], which builds it without; or accept it' in built.output
    # A build has no command line for the guard.
    assert "--allow" not in built.output
    assert nothing_is_left(project)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_warn_lets_the_build_go_on(front_end: str, python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "warn"')
    built = build(project, front_end, python=python)
    assert built.code == 0, built.output
    assert "initial-exec-tls" in built.output
    assert [path.parent.name for path in built.wheels] == ["out"]
    assert "warning: scratch_flag-1.0-" in built.output
    assert zipfile.ZipFile(built.wheels[0]).testzip() is None
    assert not list(project.rglob(".tls-wheel-guard-*"))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_clean_project_is_one_line(front_end: str, python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-clean", tmp_path)
    add_table(project)
    built = build(project, front_end, python=python)
    assert built.code == 0
    assert len(built.wheels) == 1
    (said,) = [line for line in built.output.splitlines() if "tls-wheel-guard:" in line]
    assert re.search(r"tls-wheel-guard: scratch_clean-1\.0-\S+\.whl: ok \(1 ELF module, for linux_\w+", said)


def test_without_a_table_the_plugin_does_nothing(python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    built = build(project, "setup.py", python=python)
    assert (built.code, len(built.wheels), "initial-exec" in built.output) == (0, 1, False)


def test_the_environment_beats_the_table(python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project)
    built = build(project, "setup.py", python=python, environment={"TLS_WHEEL_GUARD_ACTION": "warn"})
    assert (built.code, len(built.wheels)) == (0, 1)


def test_an_allowed_finding_is_released_with_its_reason_shown(python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    rules = ("initial-exec-tls", "static-tls-crowding")
    table = "".join(f'[[tool.tls-wheel-guard.allow]]\nmodule = "scratch/*"\nrule = "{rule}"\nreason = "only glibc"\n' for rule in rules)
    add_table(project, table)
    built = build(project, "setup.py", python=python)
    assert (built.code, len(built.wheels)) == (0, 1), built.output
    assert "allowed: initial-exec-tls in scratch/_scratch" in built.output
    assert ": only glibc" in " ".join(built.output.split())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('action = "warm"', "hint: did you mean 'warn'?"),
        ("acton = 1", "hint: did you mean 'action'?"),
        ("crowding = 7", "crowding"),
        ('action = "repair"', "capstone is not installed"),
        ("targets = [", "pyproject.toml"),
    ],
)
def test_a_wrong_table_ends_the_build_before_it_compiles(line: str, message: str, new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, line)
    built = build(project, "setup.py", python=new_python)
    ours = [text for text in built.output.splitlines() if text.startswith("tls-wheel-guard: ")]
    if line != "targets = [":  # setuptools itself stumbles over TOML that it can't parse
        assert (built.code, len(ours)) == (2, 1), built.output
    assert built.code != 0
    assert message in built.output
    assert nothing_is_left(project)
    assert not (project / "build").exists()


def test_an_output_folder_that_cannot_be_written_is_one_line(python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-clean", tmp_path)
    add_table(project)
    (project / "out").write_text("a file where a folder should be")
    built = build(project, "setup.py", python=python)
    assert built.code == 2
    assert built.output.splitlines()[-1].endswith("/out: it can't be written: File exists; hint: choose an output folder that can be written")
    assert (project / "out").read_text() == "a file where a folder should be"


def test_a_failed_build_does_not_take_the_wheel_of_an_earlier_one(python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    (wheel,) = build(project, "setup.py", python=python).wheels
    before = wheel.read_bytes()
    add_table(project)
    assert build(project, "setup.py", python=python).code == 1
    assert wheel.read_bytes() == before


# ---- editable

IMPORT = "import scratch; scratch.selftest()"


@pytest.mark.parametrize(("action", "code"), [("fail", 1), ("warn", 0)])
def test_an_editable_install_is_judged_in_place(action: str, code: int, python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, f'action = "{action}"')
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    ended, output = run([*pip, "install", "-v", "--no-build-isolation", "--no-deps", "-e", "."], project)
    try:
        assert ended == code, output
        assert "initial-exec-tls" in output
        # From elsewhere: the source tree must not be found by the current folder.
        imported = subprocess.run([python, "-c", IMPORT], cwd=tmp_path, capture_output=True, check=False).returncode
        assert (imported == 0) == (code == 0)
    finally:
        run([*pip, "uninstall", "-y", "scratch-flag"], project)


OTHER = """
import shutil
from setuptools.command.build_ext import build_ext

class Other(build_ext):
    def run(self):
        super().run()
        shutil.copy("ready.bin", "src/scratch/libother.so")

"""


def test_an_editable_install_is_judged_by_what_other_tools_compile_too(python: str, tmp_path: Path) -> None:
    """setuptools-rust, CMake in a build_ext of the project's own: the module is nobody's Extension."""
    project = copy_project("setuptools-clean", tmp_path)
    add_table(project)
    path = project / "setup.py"
    path.write_text(OTHER + path.read_text().replace("setup(", "setup(cmdclass={'build_ext': Other}, ", 1))
    (project / "ready.bin").write_bytes(INITIAL_EXEC)
    code, output = run([python, "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps", "-e", "."], project)
    assert code == 1, output
    assert "libother.so is not released" in output


def test_what_is_allowed_in_the_wheel_is_allowed_in_an_editable_install(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    rules = ("initial-exec-tls", "static-tls-crowding")
    add_table(project, "".join(f'[[tool.tls-wheel-guard.allow]]\nmodule = "scratch/*"\nrule = "{rule}"\nreason = "glibc"\n' for rule in rules))
    pip = [new_python, "-m", "pip", "--disable-pip-version-check"]
    code, output = run([*pip, "install", "-v", "--no-build-isolation", "--no-deps", "-e", "."], project)
    run([*pip, "uninstall", "-y", "scratch-flag"], project)
    assert code == 0, output


# ---- isolated, with what the front end itself installs


@pytest.mark.parametrize("front_end", ["pip", "build"])
@pytest.mark.parametrize("setuptools", [(pinned("setuptools", "new"),), OLD], ids=["newest", "65"])
def test_an_isolated_build_gets_the_guard_from_its_requirements(
    setuptools: tuple[str, ...], front_end: str, new_python: str, tmp_path: Path
) -> None:
    if setuptools == OLD and sys.version_info >= (3, 12):
        pytest.skip("setuptools 65 does not start on Python 3.12 and newer")
    project = copy_project("setuptools-flag", tmp_path)
    path = project / "pyproject.toml"
    requires = [f"tls-wheel-guard @ {ROOT.as_uri()}", *setuptools]
    path.write_text(path.read_text().replace('requires = ["setuptools >=65"]', f"requires = {requires}", 1))
    add_table(project)
    built = build(project, front_end, python=new_python, isolated=True)
    assert built.code == 1
    assert "is not released" in built.output
    assert nothing_is_left(project)


# ---- the flag, where the linker leaves it out: aarch64


def cross_built(tmp_path: Path, python: str, *table: str, **environment: str) -> Built:
    require(CROSS["CC"])
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "warn"', *table)
    built = build(project, "setup.py", python=python, environment={**CROSS, **environment})
    assert built.code == 0, built.output
    return built


def has_flag(wheel: Path, folder: Path) -> bool:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".so"))
        path = Path(archive.extract(name, folder))
    return readelf.read(path).static_tls


def test_warn_sets_the_flag_that_the_linker_left_out(python: str, tmp_path: Path) -> None:
    plain = copy_project("setuptools-flag", tmp_path / "plain")
    (without,) = build(plain, "setup.py", python=python, environment=CROSS).wheels
    assert not has_flag(without, tmp_path / "0")
    built = cross_built(tmp_path, python)
    assert "marked scratch/_scratch" in built.output
    assert has_flag(built.wheels[0], tmp_path / "1")


def test_set_flag_false_leaves_the_wheel_as_the_linker_made_it(new_python: str, tmp_path: Path) -> None:
    built = cross_built(tmp_path, new_python, "set-flag = false")
    assert "marked" not in built.output
    assert not has_flag(built.wheels[0], tmp_path / "1")


def test_a_marked_wheel_is_reproducible(new_python: str, tmp_path: Path) -> None:
    wheels = []
    for _ in range(2):  # in the same folder: its name is in the debug information
        built = cross_built(tmp_path, new_python, SOURCE_DATE_EPOCH="1700000000")
        wheels.append(built.wheels[0].read_bytes())
        shutil.rmtree(tmp_path / "setuptools-flag")
    assert wheels[0] == wheels[1]
