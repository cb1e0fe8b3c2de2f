"""Virtual environments to build in, each with the pinned tools of a file in ``pins/``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.marks import needs
from tests.support.projects import ROOT

__all__ = ["INNER", "OLD", "environment", "installed", "pinned"]

PINS = Path(__file__).parent / "pins"
"""``NAME.in`` says what is wanted, ``NAME.txt`` has each version with its hashes; tools/pin.sh makes the second from the first."""

INNER = {"PIP_CONSTRAINT": str(PINS / "inner.txt")}
"""For tools that make environments of their own with the guard in them."""


def pinned(name: str, pins: str) -> str:
    """``name==version`` as a file of pins has it."""
    found = re.search(rf"^{re.escape(name)}==[^ ]+", (PINS / f"{pins}.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{pins}.txt does not pin {name}"
    return found[0]


OLD = (pinned("setuptools", "old"), pinned("wheel", "old"))
"""The oldest setuptools that is supported, as a project's requirements."""


def installed(folder: Path, pins: str) -> None:
    """Install the tools of ``pins/NAME.txt`` into a plain folder. Raises where a file is not the one that was pinned."""
    _pip(sys.executable, "--target", str(folder), "--require-hashes", "-r", str(PINS / f"{pins}.txt"))


def environment(folder: Path, pins: str) -> str:
    """A virtual environment with the guard and the tools of ``pins/NAME.txt``; its interpreter."""
    needs("network")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    _pip(python, "--require-hashes", "-r", str(PINS / f"{pins}.txt"))
    _pip(python, "--no-build-isolation", str(ROOT))
    return python


def _pip(python: str, *arguments: str) -> None:
    """Install without looking for more: the pins are complete."""
    environ = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", *arguments], check=True, env=environ)
