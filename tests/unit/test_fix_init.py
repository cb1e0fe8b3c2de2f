"""``fix --init``: what adds the guard to a project, and what it leaves to the author."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tls_wheel_guard.fix.edit import Proposal, apply
from tls_wheel_guard.fix.init import init_proposal
from tls_wheel_guard.fix.project import Project

YAML: Callable[[str], Any] = yaml.safe_load
SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=65"]  # c\nbuild-backend = "setuptools.build_meta"\n\n[project]\nname = "x"\n'
MATURIN = (
    '[build-system]\nrequires = [\n    "maturin>=1.7,<2",\n]\nbuild-backend = "maturin"\n\n[project]\nname = "x"\nrequires-python = ">=3.10"\n'
)


def init(files: dict[str, str], parse: Callable[[str], Any] | None = YAML) -> Proposal:
    return init_proposal(Project(files), parse)


def written(files: dict[str, str], parse: Callable[[str], Any] | None = YAML) -> dict[str, str]:
    found = init(files, parse)
    paths = {edit.path for edit in found.edits}
    return {**files, **{path: apply(files.get(path, ""), [e for e in found.edits if e.path == path]) for path in paths}}


def test_setuptools_gets_a_requirement_with_a_marker_and_the_table() -> None:
    result = written({"pyproject.toml": SETUPTOOLS})
    requirement = '"setuptools>=65", "tls-wheel-guard; python_version >= \'3.10\'"]  # c'
    assert result["pyproject.toml"] == SETUPTOOLS.replace('"setuptools>=65"]  # c', requirement) + '\n[tool.tls-wheel-guard]\naction = "fail"\n'
    assert all(edit.safe for edit in init({"pyproject.toml": SETUPTOOLS}).edits)
    assert not init(result).edits


def test_another_backend_gets_the_guard_in_front() -> None:
    result = written({"pyproject.toml": MATURIN})
    expected = MATURIN.replace('<2",\n', '<2",\n    "tls-wheel-guard",\n').replace('backend = "maturin"', 'backend = "tls_wheel_guard.backend"')
    assert result["pyproject.toml"] == expected + '\n[tool.tls-wheel-guard]\nbuild-backend = "maturin"\n'
    assert not init(result).edits


@pytest.mark.parametrize("line", ['requires-python = ">=3.9"\n', ""])
def test_a_backend_that_older_pythons_could_not_load_is_unsafe(line: str) -> None:
    found = init({"pyproject.toml": MATURIN.replace('requires-python = ">=3.10"\n', line)})
    assert len(found.edits) == 3
    assert all("older than 3.10" in edit.doubt for edit in found.edits)


def test_a_table_that_is_there_gets_the_backends_name() -> None:
    text = MATURIN + '\n[tool.tls-wheel-guard]\nfail-on = "error"\n'
    assert written({"pyproject.toml": text})["pyproject.toml"].endswith('fail-on = "error"\nbuild-backend = "maturin"\n')


def test_a_backend_in_the_tree_is_left_to_its_author() -> None:
    text = MATURIN.replace('backend = "maturin"', 'backend = "own"\nbackend-path = ["."]')
    found = init({"pyproject.toml": text})
    assert not found.edits
    assert "backend-path" in found.advice[0].text


def test_projects_that_name_no_build_system() -> None:
    result = written({"pyproject.toml": "[tool.black]\n"})["pyproject.toml"]
    assert 'build-backend = "setuptools.build_meta:__legacy__"' in result
    assert "[tool.tls-wheel-guard]" in result
    made = init({"setup.py": ""})
    assert [(edit.path, edit.safe) for edit in made.edits] == [("pyproject.toml", False)]
    assert init({"Cargo.toml": ""}).advice


def test_cibuildwheel_keeps_its_own_audit() -> None:
    files = {"pyproject.toml": SETUPTOOLS + '\n[tool.cibuildwheel]\nskip = "pp*"\n', ".github/workflows/w.yml": "uses: pypa/cibuildwheel@v4.1\n"}
    result = written(files)["pyproject.toml"]
    assert 'skip = "pp*"\naudit-requires = ["abi3audit", "tls-wheel-guard"]\n' in result
    assert 'audit-command = ["abi3audit --strict --report {abi3_wheel}", "tls-wheel-guard check {wheel}"]' in result
    files[".github/workflows/w.yml"] = "uses: pypa/cibuildwheel@v2.23.0\n"
    assert "audit" not in written(files)["pyproject.toml"]
    assert "repair-wheel-command" in init(files).advice[0].text
    del files[".github/workflows/w.yml"]
    assert any("no workflow names the version" in edit.doubt for edit in init(files).edits)


WORKFLOW = """\
on: [push]
jobs:
  wheels:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4   # source
      - name: Build
        uses: PyO3/maturin-action@v1
        with:
          args: --release --out dist

      - uses: actions/upload-artifact@v4
        with:
          path: dist
"""
STEP = "      - name: Will the wheels load?\n        run: pipx run tls-wheel-guard check dist --format github\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_step_behind_the_one_that_builds(end: str) -> None:
    workflow, step = WORKFLOW.replace("\n", end), STEP.replace("\n", end)
    files = {"pyproject.toml": MATURIN, ".github/workflows/ci.yml": workflow}
    result = written(files)
    before = f"--out dist{end}"
    assert result[".github/workflows/ci.yml"] == workflow.replace(before, before + step)
    assert not init(result).edits
    (edit,) = [edit for edit in init(files).edits if edit.path.endswith("ci.yml")]
    assert edit.safe
    (edit,) = [edit for edit in init(files, None).edits if edit.path.endswith("ci.yml")]
    assert "pyyaml" in edit.doubt


@pytest.mark.parametrize(
    "last",
    [
        "      - run: python -m build --outdir out\n",
        "      - run: python -m build --outdir out",
        "      - name: x\n        run: |\n          python -m build -o out\n",
    ],
)
def test_the_last_step_of_a_job(last: str) -> None:
    workflow = "jobs:\n  a:\n    steps:\n" + last
    result = written({"pyproject.toml": MATURIN, ".github/workflows/ci.yml": workflow}).get(".github/workflows/ci.yml", "")
    if "|" in last:
        assert result == workflow  # a script of the shell: what its last line leaves where is not known
    else:
        assert YAML(result)["jobs"]["a"]["steps"][1]["run"] == "pipx run tls-wheel-guard check out --format github"
        assert result.startswith(workflow)


@pytest.mark.parametrize("text", ["a: [\n", "steps: {a: &x [*x]}\n", "\t- uses: pypa/cibuildwheel@v3\n", "- uses: pypa/cibuildwheel@v3: : :\n"])
def test_workflows_that_are_no_yaml_are_left_alone(text: str) -> None:
    found = init({"pyproject.toml": MATURIN, ".github/workflows/ci.yml": text})
    assert not [edit for edit in found.edits if edit.path.endswith(".yml")]
