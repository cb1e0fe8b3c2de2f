"""Sample projects, copied, wired to the guard, and built by the front ends that users have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_projects"


@dataclass(frozen=True)
class Built:
    """How a build ended: its exit code, all that it printed, the wheels that are left under their final names."""

    code: int
    output: str
    wheels: tuple[Path, ...]


def copy_project(name: str, folder: Path) -> Path:
    """A sample project's files in a folder of its own, without products of earlier builds."""
    ignored = shutil.ignore_patterns("build", "dist", "target", "*.egg-info", "*.so", "__pycache__")
    return Path(shutil.copytree(SAMPLES / name, folder / name, ignore=ignored))


def add_table(project: Path, *lines: str) -> None:
    """Append [tool.tls-wheel-guard] to a project's settings."""
    with (project / "pyproject.toml").open("a") as file:
        file.write("\n[tool.tls-wheel-guard]\n" + "".join(f"{line}\n" for line in lines))


def use_backend(project: Path, *lines: str) -> None:
    """Put tls_wheel_guard.backend in front of the project's own backend."""
    path = project / "pyproject.toml"
    text = path.read_text()
    match = re.search(r"""^build-backend\s*=\s*["'](.+)["']""", text, re.MULTILINE)
    assert match, f"{project.name} names no build-backend"
    inner = match[1]
    text = text.replace(match[0], 'build-backend = "tls_wheel_guard.backend"', 1)
    path.write_text(text.replace("requires = [", 'requires = ["tls-wheel-guard", ', 1))
    add_table(project, f'build-backend = "{inner}"', *lines)


def run(command: list[str], project: Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command in a project; its exit code and all that it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TLS_WHEEL_GUARD_", "SOURCE_DATE_EPOCH"))}
    done = subprocess.run(
        command, cwd=project, env={**clean, **(environment or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def build(
    project: Path, front_end: str, *, isolated: bool = False, python: str = sys.executable, environment: dict[str, str] | None = None
) -> Built:
    """Build a wheel with ``pip``, ``build`` or ``setup.py`` into the project's folder ``out``."""
    out = project / "out"
    isolation = [] if isolated else ["--no-build-isolation" if front_end == "pip" else "--no-isolation"]
    command = {
        "pip": [python, "-m", "pip", "wheel", "-v", "--no-deps", "--disable-pip-version-check", *isolation, "-w", str(out), "."],
        "build": [python, "-m", "build", "--wheel", *isolation, "-o", str(out), "."],
        "setup.py": [python, "setup.py", "-q", "bdist_wheel", "-d", str(out)],
    }[front_end]
    code, output = run(command, project, environment)
    left = tuple(sorted(out.rglob("*.whl"))) if out.is_dir() else ()
    return Built(code, output, left)


FRONT_ENDS = ("pip", "build", "setup.py")
CROSS = {"CC": "aarch64-linux-gnu-gcc", "LDSHARED": "aarch64-linux-gnu-gcc -shared"}


def nothing_is_left(project: Path) -> bool:
    return not list(project.rglob("*.whl")) and not list(project.rglob(".tls-wheel-guard-*"))


REWRITE_COMMAND = [sys.executable, "-m", "tls_wheel_guard", "build", "--action", "rewrite", "--"]
