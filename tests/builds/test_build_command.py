"""``tls-wheel-guard build -- COMMAND``: which wheels it finds, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.installed import installed, put
from tests.support.modules import CLEAN, INITIAL_EXEC
from tests.support.projects import add_table, copy_project, run
from tests.support.wheel_builder import make_wheel

GUARD = [sys.executable, "-m", "tls_wheel_guard", "build"]


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    """Ready wheels that a command can copy: one that fails, one that passes."""
    folder = tmp_path / "made"
    folder.mkdir()
    return {"bad": make_wheel(folder, {"pkg/_m.so": INITIAL_EXEC}, name="bad"), "good": make_wheel(folder, {"pkg/_m.so": CLEAN}, name="good")}


def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("folder", ["dist", "wheelhouse", "target/wheels", "."])
def test_wheels_in_the_usual_folders_are_found(folder: str, made: dict[str, Path], tmp_path: Path) -> None:
    code, output = run([*GUARD, "--", "sh", "-c", f"mkdir -p {folder}; cp {made['bad']} {folder}"], project(tmp_path))
    assert code == 1
    assert "bad-1.0-cp312-cp312-manylinux_2_28_x86_64.whl is not released" in output


@pytest.mark.parametrize("option", ["-o out", "--out=out", "-w out", "--outdir out", "--wheel-dir=out", "--output-dir out", "-d out"])
def test_wheels_in_a_folder_that_the_command_names_are_found(option: str, made: dict[str, Path], tmp_path: Path) -> None:
    script = f"mkdir -p out; cp {made['bad']} out; true"
    code, output = run([*GUARD, "--", "sh", "-c", script, "sh", *option.split()], project(tmp_path))
    assert (code, "is not released" in output) == (1, True)


def test_a_folder_can_be_named(made: dict[str, Path], tmp_path: Path) -> None:
    folder = project(tmp_path)
    command = ["--", "sh", "-c", f"mkdir -p odd/place; cp {made['good']} odd/place"]
    code, output = run([*GUARD, *command], folder)
    assert code == 2
    assert output.splitlines()[-1] == "tls-wheel-guard: sh: no wheel found; hint: name the folder that it writes to with --wheels DIR"
    assert run([*GUARD, "--wheels", "odd/place", *command], folder)[0] == 0


def test_only_new_and_changed_wheels_are_judged(made: dict[str, Path], tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "dist").mkdir()
    old = folder / "dist" / made["bad"].name
    old.write_bytes(made["bad"].read_bytes())
    assert run([*GUARD, "--", "cp", str(made["good"]), "dist"], folder)[0] == 0
    assert run([*GUARD, "--", "cp", str(made["bad"]), "dist"], folder)[0] == 1


@pytest.mark.parametrize(("ends", "wheel", "code"), [(7, "good", 7), (7, "bad", 7), (0, "bad", 1), (0, "good", 0)])
def test_the_worse_exit_code_counts(ends: int, wheel: str, code: int, made: dict[str, Path], tmp_path: Path) -> None:
    assert run([*GUARD, "--", "sh", "-c", f"cp {made[wheel]} .; exit {ends}"], project(tmp_path))[0] == code


def test_warn_by_option_and_what_the_command_sees(made: dict[str, Path], tmp_path: Path) -> None:
    folder = project(tmp_path)
    script = f"echo action=$TLS_WHEEL_GUARD_ACTION; cp {made['bad']} ."
    code, output = run([*GUARD, "--action", "warn", "--", "sh", "-c", script], folder)
    assert code == 0
    assert "action=warn\n" in output
    assert 'action = "warn" lets the build go on' in output


def test_the_projects_table_counts(made: dict[str, Path], tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "pyproject.toml").write_text("")
    add_table(folder, 'action = "warn"')
    assert run([*GUARD, "--", "cp", str(made["bad"]), "."], folder)[0] == 0


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ([], 2, "no build command was given; hint: write it after --"),
        (["--"], 2, "no build command was given; hint: write it after --"),
        (["--", "no-such-command"], 2, "no-such-command: it can't be run: No such file or directory; hint:"),
        (["--", "true"], 2, "true: no wheel found; hint:"),
        (["--", "sh", "-c", "kill -9 $$"], 128 + signal.SIGKILL, None),
        (["--", "false"], 1, None),
    ],
)
def test_what_can_go_wrong(command: list[str], code: int, message: str | None, tmp_path: Path) -> None:
    ended, output = run([*GUARD, *command], project(tmp_path))
    assert ended == code, output
    assert len(output.splitlines()) == (1 if message else 0), output
    assert not message or message in output


def test_an_editable_build_is_judged_in_place(new_python: str, tmp_path: Path) -> None:
    project = copy_project("setuptools-flag", tmp_path)
    code, output = run([*GUARD, "--", new_python, "setup.py", "-q", "build_ext", "--inplace"], project)
    assert code == 1
    assert "scratch/_scratch" in output


def test_maturin_puts_wheels_into_cargos_folders(made: dict[str, Path], tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "Cargo.toml").touch()
    crate = folder / "crates" / "inner"
    crate.mkdir(parents=True)
    cases: list[tuple[Path, str, dict[str, str], list[str]]] = [
        (crate, "../../target/wheels", {}, []),  # the workspace's
        (crate, "elsewhere/wheels", {"CARGO_TARGET_DIR": "elsewhere"}, []),
        (crate, "odd/wheels", {}, ["--target-dir", "odd"]),
        (tmp_path, "project/target/wheels", {}, ["-m", "project/crates/inner/Cargo.toml"]),
    ]
    for where, output, environ, options in cases:
        script = f"mkdir -p {output}; cp {made['bad']} {output}"
        code, said = run([*GUARD, "--", "sh", "-c", script, "sh", *options], where, environ)
        assert (code, "is not released" in said) == (1, True), said


def test_what_the_command_installed_from_the_project_is_judged(tmp_path: Path) -> None:
    folder = project(tmp_path)
    site = folder / ".venv" / "lib" / "python3.12" / "site-packages"
    module = installed(site, "mine", {"url": folder.as_uri(), "dir_info": {"editable": True}})
    put(folder / ".venv" / "pyvenv.cfg", b"")
    put(tmp_path / "ready.so", INITIAL_EXEC)
    time.sleep(0.01)
    code, output = run([*GUARD, "--", "cp", str(tmp_path / "ready.so"), str(module)], folder)
    assert code == 1, output
    assert "cp: no wheel found; checked the installed files instead; hint: --wheels DIR" in output
    assert f"{module.name} is not released" in output


@pytest.mark.compiler
def test_a_real_build(new_python: str, tmp_path: Path) -> None:
    for name, expected in (("setuptools-flag", 1), ("setuptools-clean", 0)):
        project = copy_project(name, tmp_path)
        code, output = run([*GUARD, "--", new_python, "-m", "build", "-w", "--no-isolation", "-o", "built"], project)
        assert code == expected, output
        assert "Successfully built" in output


def test_interrupted_it_waits_for_the_command_and_ends_with_130(tmp_path: Path) -> None:
    folder = project(tmp_path)
    script = "trap 'sleep 0.3; touch cleaned; exit 1' INT; touch started; while :; do sleep 0.05; done"
    process = subprocess.Popen([*GUARD, "--", "sh", "-c", script], cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (folder / "started").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1, errors
    assert (folder / "cleaned").exists()


@pytest.mark.parametrize(("action", "code"), [("fail", 1), ("warn", 0)])
def test_a_project_with_the_plugin_is_reported_once(action: str, code: int, new_python: str, tmp_path: Path) -> None:
    """The tox recipe in a project that names the plugin itself."""
    project = copy_project("setuptools-flag", tmp_path)
    add_table(project, f'action = "{action}"')
    build = ["--", new_python, "-m", "build", "--wheel", "--no-isolation", "-o", "dist", "."]
    command = [new_python, "-m", "tls_wheel_guard", "build"]
    ended, output = run([*command, *build], project)
    assert (ended, output.count("[initial-exec-tls]")) == (code, 1), output
    if action == "warn":
        # Other settings are another judgement.
        ended, output = run([*command, "--target", "musllinux_1_2_x86_64", *build], project)
        assert output.count("error: scratch._scratch") == 1, output
