"""Real wheels from the package index, fetched once and kept in the user's cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.toolchain import missing

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tls-wheel-guard-tests"


def fetch(requirement: str, platform: str, python: str) -> Path:
    """The wheel that pip chooses for ``name==version`` on a platform tag and a Python version."""
    folder = CACHE / f"{requirement}-{platform}-{python}"
    if not (found := sorted(folder.glob("*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
        options = ["--platform", platform, "--python-version", python, "--implementation", "cp", "-d", str(folder), requirement]
        run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if run.returncode:
            missing(f"{requirement} for {platform} ({run.stderr.strip().splitlines()[-1:]})")
        found = sorted(folder.glob("*.whl"))
    return found[0]


def unpack(wheel: Path, folder: Path) -> Path:
    """The wheel's files in a folder, as an installer lays them out."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
