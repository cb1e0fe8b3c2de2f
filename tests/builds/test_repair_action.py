"""``action = "repair"``: the wheel that a build made is repaired before it is released, by plugin, backend and command."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import capstone
import pytest

from tests.support.projects import Built, add_table, build, copy_project, nothing_is_left, run, use_backend
from tls_wheel_guard import check_wheel
from tls_wheel_guard.archive.record import digest_field
from tls_wheel_guard.commands.repair import NOTE

pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which an interpreter finds capstone, the extra [repair]."""
    folder = tmp_path_factory.mktemp("decoder")
    (folder / "capstone").symlink_to(Path(capstone.__file__).parent)
    return {"PYTHONPATH": str(folder)}


def assert_released(built: Built, python: str, project: Path) -> None:
    assert built.code == 0, built.output
    (wheel,) = built.wheels
    assert "go through descriptors" in built.output
    report = check_wheel(wheel)
    assert [module.shared_object.initial_exec.count for module in report.modules] == [0]
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert any(name.endswith(f".dist-info/{NOTE}") for name in archive.namelist())
        archive.extractall(project / "unpacked")
    code = "import scratch, threading; from scratch import _scratch; print(_scratch.digest(b'abc'))"
    run = subprocess.run([python, "-c", code], env={"PYTHONPATH": str(project / "unpacked")}, capture_output=True, text=True, check=False)
    assert run.stdout.startswith("("), run.stderr


@pytest.mark.parametrize("front_end", ["pip", "setup.py"])
def test_the_plugin_repairs(front_end: str, python: str, decoder: dict[str, str], tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "repair"')
    assert_released(build(project, front_end, python=python, environment=decoder), python, project)


def test_the_backend_repairs(new_python: str, decoder: dict[str, str], tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    use_backend(project, 'action = "repair"')
    assert_released(build(project, "pip", python=new_python, environment=decoder), new_python, project)


def test_the_command_repairs(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    command = [
        sys.executable,
        "-m",
        "tls_wheel_guard",
        "build",
        "--action",
        "repair",
        "--",
        new_python,
        "setup.py",
        "-q",
        "bdist_wheel",
        "-d",
        "out",
    ]
    code, output = run(command, project)
    assert_released(Built(code, output, tuple(sorted((project / "out").glob("*.whl")))), new_python, project)


def test_what_can_not_be_repaired_is_not_released(python: str, decoder: dict[str, str], tmp_path: Path) -> None:
    """The reason, the rule and what else helps in one line, exit code 4, and no wheel."""
    project = copy_project("setuptools-flag", tmp_path)
    source = project / "src" / "scratch" / "_scratch.c"
    source.write_text(source.read_text() + "void *malloc(unsigned long n) { return (void *)n; } void free(void *p) { (void)p; }\n")
    add_table(project, 'action = "repair"')
    built = build(project, "setup.py", python=python, environment=decoder)
    assert built.code == 4
    line = built.output.splitlines()[-1]
    assert line.startswith("tls-wheel-guard: scratch_flag-1.0-")
    assert "it exports malloc and free" in line
    assert "[interposer]; hint:" in line
    assert nothing_is_left(project)


def test_an_allowed_module_is_left_alone(python: str, decoder: dict[str, str], tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    rules = ("initial-exec-tls", "static-tls-crowding")
    table = "".join(f'[[tool.tls-wheel-guard.allow]]\nmodule = "scratch/*"\nrule = "{rule}"\nreason = "only glibc"\n' for rule in rules)
    add_table(project, 'action = "repair"', table)
    built = build(project, "setup.py", python=python, environment=decoder)
    assert (built.code, len(built.wheels)) == (0, 1), built.output
    (module,) = check_wheel(built.wheels[0]).modules
    assert module.shared_object.initial_exec.count > 0


def test_record_is_right(new_python: str, decoder: dict[str, str], tmp_path: Path) -> None:
    """Every line of RECORD has the hash of what is in the wheel: an installer would refuse it otherwise."""
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, 'action = "repair"')
    (wheel,) = build(project, "setup.py", python=new_python, environment=decoder).wheels
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/RECORD"))
        rows = list(csv.reader(archive.read(name).decode().splitlines()))
        assert sorted(row[0] for row in rows) == sorted(archive.namelist())
        for path, digest, size in rows:
            if path != name:
                assert (digest, int(size)) == (digest_field(hashlib.sha256(archive.read(path)).digest()), len(archive.read(path)))
