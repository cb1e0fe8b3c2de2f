"""The commands that the pages for maintainers show are run as they stand there, in a real project with a real wheel."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.projects import ROOT, copy_project, run
from tests.support.toolchain import SOURCES, compile_shared, require
from tests.support.wheel_builder import make_wheel

pytestmark = pytest.mark.compiler

DOCS = ROOT / "docs"
MUSL = "cp312-cp312-musllinux_1_2_x86_64"


def commands(page: str) -> list[str]:
    """Lines of a page that begin with the guard's name; a remark behind two spaces and # is none of them."""
    text = (DOCS / page).read_text(encoding="utf-8") if page != "README.md" else (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^(?: {4}| {8})(?:\$ )?(tls-wheel-guard .*)$", text, re.MULTILINE)
    return [line.split("  #")[0].rstrip() for line in found]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A setuptools project with the flag, its wheels for musl and glibc in dist, and an environment."""
    require("musl-gcc")
    require("gcc")
    folder = copy_project("setuptools-flag", tmp_path_factory.mktemp("pages"))
    dist = folder / "dist"
    dist.mkdir()
    (folder / "wheelhouse").mkdir()
    musl = compile_shared(("musl-gcc",), SOURCES / "models.c", dist / "musl.so", "-ftls-model=initial-exec")
    glibc = compile_shared(("gcc",), SOURCES / "models.c", dist / "glibc.so", "-ftls-model=initial-exec")
    settings = folder / "pyproject.toml"
    settings.write_text(settings.read_text().replace('name = "scratch-flag"', 'name = "pkg"'))
    make_wheel(dist, {"pkg/_m.so": musl}, MUSL)
    make_wheel(dist, {"pkg/_m.so": glibc}, "cp312-cp312-linux_x86_64")
    make_wheel(dist, {"pkg/_m.so": glibc}, "cp312-cp312-manylinux_2_28_x86_64")
    (folder / ".venv" / "lib").mkdir(parents=True)
    (folder / ".venv" / "lib" / "m.so").write_bytes(glibc)
    for path in dist.glob("*.so"):
        path.unlink()
    shutil.copy(next(dist.glob("pkg-*manylinux*")), folder / "wheelhouse")
    (folder / ".venv" / "bin").mkdir()
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return folder


@pytest.mark.parametrize(("page", "least"), [("README.md", 11), ("failed.md", 9), ("musllinux.md", 2)])
def test_commands_of_a_page_run(page: str, least: int, project: Path, new_python: str) -> None:
    shown = commands(page)
    assert len(shown) >= least
    for line in shown:
        if line.startswith(("tls-wheel-guard index", "tls-wheel-guard completion")):
            continue  # tests of their own: a package index is asked
        words = shlex.split(line)[1:]
        expanded = [str(path.relative_to(project)) for word in words for path in (sorted(project.glob(word)) if "*" in word else [])]
        words = [each for word in words for each in (expanded if "*" in word else [word])]
        # What is built with has the front end.
        words = [new_python if word == "python" else word for word in words]
        code, output = run([sys.executable, "-m", "tls_wheel_guard", *words], project)
        assert code in (0, 1, 4), f"{line}: {code}\n{output}"
        assert "a bug in" not in output
        if words[0] == "check" and "--write-baseline" not in words:
            assert "initial-exec-tls" in output, line


def test_alpine_is_judged_anywhere(project: Path) -> None:
    """The two ways to ask of the page say the same of musl, in the words that the page shows."""
    text = (DOCS / "musllinux.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"```text\n\s*(.*)\n\s*```", text)
    for line in commands("musllinux.md"):
        code, output = run([sys.executable, "-m", "tls_wheel_guard", *shlex.split(line)[1:], "-v"], project)
        assert code == 1, output
        assert words in " ".join(output.split())


def test_the_recipe_for_musllinux_is_one(project: Path) -> None:
    tomllib = pytest.importorskip("tomllib")
    (recipe,) = re.findall(r"```toml\n(.*?)```", (DOCS / "musllinux.md").read_text(encoding="utf-8"), re.DOTALL)
    table = tomllib.loads("\n".join(line.strip() for line in recipe.splitlines()))["tool"]["cibuildwheel"]
    wheel = next((project / "dist").glob("pkg-*musllinux*"))
    code, output = run(
        [sys.executable, "-m", *table["audit-command"].replace("tls-wheel-guard", "tls_wheel_guard").format(wheel=wheel).split()], project
    )
    assert code == 1, output
