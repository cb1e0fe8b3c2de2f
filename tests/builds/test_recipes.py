"""The recipes of docs/recipes.md, taken from the page and run by the tools that they are for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.interpreters import INNER, environment
from tests.support.modules import CLEAN, INITIAL_EXEC
from tests.support.projects import ROOT, copy_project, run
from tests.support.toolchain import SOURCES, compile_shared, require
from tests.support.wheel_builder import make_wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.network

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
OURS = str(ROOT)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def path_with(python: str) -> dict[str, str]:
    """The environment of an activated virtual environment."""
    return {"PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}


# ---- cibuildwheel: its own function runs the audit

AUDIT = """
import json, pathlib, sys, types
from cibuildwheel.audit import run_audit
requires, commands, folder, wheel = json.loads(sys.argv[1])
options = types.SimpleNamespace(
    audit_requires=requires, audit_command=commands, package_dir=pathlib.Path("."),
    build_frontend=types.SimpleNamespace(name="build"),
    dependency_constraints=types.SimpleNamespace(get_for_python_version=lambda **_: None))
run_audit(tmp_dir=pathlib.Path(folder), build_options=options, wheel=pathlib.Path(wheel))
"""


@pytest.fixture(scope="module")
def cibuildwheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An interpreter with cibuildwheel, and its folder with the audit's own environment."""
    if sys.version_info < (3, 11):
        pytest.skip("cibuildwheel with audit-command needs Python 3.11")
    folder = tmp_path_factory.mktemp("cibuildwheel")
    # cibuildwheel would download virtualenv for this; an environment that is there it takes as it is.
    subprocess.run([sys.executable, "-m", "venv", str(folder / "audit_venv")], check=True)
    return environment(folder / "host", "cibuildwheel"), folder


def platform_wheels(folder: Path) -> dict[str, tuple[Path, bool]]:
    """Wheels of every platform, and whether the audit must let them pass."""
    require("musl-gcc")
    musl = compile_shared(("musl-gcc",), SOURCES / "models.c", folder / "m.so", "-ftls-model=initial-exec")
    macho, pe = b"\xcf\xfa\xed\xfe\x07\x00\x00\x01" + bytes(200), b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0"
    cases = [
        ("linux", "pkg/_m.so", CLEAN, "cp312-cp312-manylinux_2_28_x86_64", True),
        ("linux-ie", "pkg/_m.so", INITIAL_EXEC, "cp312-cp312-manylinux_2_28_x86_64", False),
        ("musl", "pkg/_m.so", CLEAN, "cp312-cp312-musllinux_1_2_x86_64", True),
        ("musl-ie", "pkg/_m.so", musl, "cp312-cp312-musllinux_1_2_x86_64", False),
        ("windows", "pkg/_m.pyd", pe, "cp312-cp312-win_amd64", True),
        ("macos", "pkg/_m.so", macho, "cp312-cp312-macosx_11_0_arm64", True),
    ]
    return {n: (make_wheel(folder, {member: data}, tag, name=n.replace("-", "_")), passes) for n, member, data, tag, passes in cases}


@pytest.mark.compiler
def test_cibuildwheels_audit(cibuildwheel: tuple[str, Path], tmp_path: Path) -> None:
    host, folder = cibuildwheel
    recipe: dict[str, Any] = tomllib.loads(blocks("toml")[0])["tool"]["cibuildwheel"]
    assert recipe in [tomllib.loads(text)["tool"]["cibuildwheel"] for text in readme_recipes()]
    requires = [OURS if name == "tls-wheel-guard" else name for name in recipe["audit-requires"]]
    for name, (wheel, passes) in platform_wheels(tmp_path).items():
        code, output = run([host, "-c", AUDIT, json.dumps([requires, recipe["audit-command"], str(folder), str(wheel)])], tmp_path, INNER)
        assert (code == 0) == passes, f"{name}: {output}"
        assert "Running audit command: tls-wheel-guard check" in output
        assert ("Audit command failed with exit code 1" in output) == (not passes)


def readme_recipes() -> list[str]:
    """The README's indented TOML of cibuildwheel, which must be the same."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        re.sub(r"^    ", "", found, flags=re.MULTILINE)
        for found in re.findall(r"(?:^    .*\n)*^    \[tool\.cibuildwheel\]\n(?:^    .*\n)*", text, re.MULTILINE)
    ]


# ---- auditwheel, then the guard: the chain for a cibuildwheel without an audit


@pytest.mark.compiler
def test_the_chain_behind_auditwheel_sees_the_grafted_libgomp(tmp_path: Path) -> None:
    require("gcc")
    python = environment(tmp_path / "venv", "auditwheel")
    project = copy_project("cython-openmp", tmp_path)
    code, output = run([python, "-m", "build", "-w", "--no-isolation", "-o", "dist"], project)
    assert code == 0, output
    (wheel,) = (project / "dist").glob("*.whl")
    chain = tomllib.loads(blocks("toml")[1])["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]
    (tmp_path / "repaired").mkdir()
    environ = path_with(python)
    assert run(["tls-wheel-guard", "check", str(wheel)], tmp_path, environ)[0] == 0
    code, output = run(["sh", "-c", chain.format(wheel=wheel, dest_dir=tmp_path / "repaired")], tmp_path, environ)
    assert code == 1, output
    assert re.search(r"libgomp-\w+\.so\S* loads on Linux with glibc only while there is room", output), output
    # The other recipe: auditwheel, then the repair, in one command that leaves one wheel, which passes.
    repair = tomllib.loads(blocks("toml")[2])["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]
    code, output = run(["sh", "-c", repair.format(wheel=wheel, dest_dir=tmp_path / "cured")], tmp_path, environ)
    assert code == 0, output
    (cured,) = (tmp_path / "cured").iterdir()
    assert run(["tls-wheel-guard", "check", str(cured)], tmp_path, environ)[0] == 0


# ---- maturin's workflow


def test_the_workflows_step(new_python: str, tmp_path: Path) -> None:
    (step,) = [step for step in yaml.safe_load(blocks("yaml")[0])["jobs"]["release"]["steps"] if "run" in step]
    # The environment has the guard already; what GitHub's runner would install by pipx.
    script = step["run"].replace("pipx install tls-wheel-guard\n", "")
    assert script != step["run"]
    for folder in ("wheels-linux-x86_64", "wheels-musllinux-x86_64", "wheels-sdist"):
        (tmp_path / folder).mkdir()
    (tmp_path / "wheels-sdist" / "pkg-1.0.tar.gz").write_bytes(b"")
    make_wheel(tmp_path / "wheels-linux-x86_64", {"pkg/_m.so": CLEAN})
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    code, output = run(bash, tmp_path, path_with(new_python))
    assert code == 0, output
    (tmp_path / "pyproject.toml").write_text("\n" * 11 + "[tool.tls-wheel-guard]\n")
    wheel = make_wheel(tmp_path / "wheels-musllinux-x86_64", {"pkg/_m.so": INITIAL_EXEC}, "cp312-cp312-musllinux_1_2_x86_64")
    code, output = run(bash, tmp_path, path_with(new_python))
    assert code == 1
    expected = blocks("text")[0].split(" ...")[0]
    assert expected in output
    assert wheel.name in expected


# ---- pre-commit and tox


def test_pre_commit(tmp_path: Path) -> None:
    settings = yaml.safe_load(blocks("yaml")[1])
    hook = settings["repos"][0]["hooks"][0]
    hook["additional_dependencies"] = [OURS]
    python = environment(tmp_path / "venv", "pre-commit")
    project = tmp_path / "project"
    project.mkdir()
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(settings))
    run(["git", "init", "-q"], project)
    environ = {"PRE_COMMIT_HOME": str(tmp_path / "home"), **INNER}
    command = [python, "-m", "pre_commit", "run", "--all-files", "--verbose", "--hook-stage", "manual", hook["id"]]
    # A clone has no wheels, and may be pushed.
    code, output = run(command, project, environ)
    assert code == 0, output
    assert "nothing to check there" in output
    (project / "dist").mkdir()
    wheel = make_wheel(project / "dist", {"pkg/_m.so": CLEAN})
    code, output = run(command, project, environ)
    assert code == 0, output
    wheel.unlink()
    make_wheel(project / "dist", {"pkg/_m.so": INITIAL_EXEC})
    code, output = run(command, project, environ)
    assert code == 1
    assert "initial-exec-tls" in output


@pytest.mark.compiler
@pytest.mark.parametrize(("sample", "code"), [("setuptools-clean", 0), ("setuptools-flag", 1)])
def test_tox(sample: str, code: int, tmp_path: Path) -> None:
    project = copy_project(sample, tmp_path)
    (project / "tox.ini").write_text(blocks("ini")[0].replace("    tls-wheel-guard\n", f"    {OURS}\n", 1))
    python = environment(tmp_path / "venv", "tox")
    ended, output = run([python, "-m", "tox", "-e", "wheel"], project, INNER)
    assert ended == code, output
    assert ("initial-exec-tls" in output) == bool(code)
