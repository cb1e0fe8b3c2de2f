"""Real wheels from the package index, fetched once, checked by their hash and kept in the user's cache folder."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.cached import made_once
from tests.support.marks import in_test, needs
from tests.support.toolchain import missing

__all__ = ["CACHE", "HASHES", "fetch", "fetch_sdist", "unpack"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tls-wheel-guard-tests"
HASHES = Path(__file__).with_suffix(".sha256")
"""The wheels of the tests, as sha256sum writes them. A test fetches no other; a benchmark may."""


def fetch(requirement: str, platform: str, python: str) -> Path:
    """The wheel that pip chooses for ``name==version`` on a platform tag and a Python version."""
    needs("network")

    def make(work: Path) -> None:
        options = ["--only-binary=:all:", "--platform", platform, "--python-version", python, "--implementation", "cp"]
        _download(requirement, work, *options)

    (wheel,) = made_once(CACHE / f"{requirement}-{platform}-{python}", make).glob("*.whl")
    check_hash(wheel)
    return wheel


def fetch_sdist(requirement: str, folder: Path) -> Path:
    """The source archive of ``name==version``, downloaded into a folder."""
    needs("network")
    _download(requirement, folder, "--no-binary=:all:")
    (archive,) = folder.glob("*.tar.gz")
    check_hash(archive)
    return archive


def _download(requirement: str, folder: Path, *options: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", str(folder), *options]
    run = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if run.returncode:
        missing(f"{requirement} on the index ({run.stderr.strip().splitlines()[-1:]})")


@functools.cache
def check_hash(wheel: Path) -> None:
    """Fail when a file is not the one that HASHES lists."""
    known = {line.split()[1]: line.split()[0] for line in HASHES.read_text(encoding="ascii").splitlines()}
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if sys.version_info >= (3, 11) else hashlib.sha256(file.read()).hexdigest()
    expected = known.get(wheel.name)
    if expected is None and in_test():
        pytest.fail(f"{HASHES.name} lacks a line: {digest}  {wheel.name}")
    if expected not in {None, digest}:
        pytest.fail(f"{wheel}: its sha256 is {digest}, and {HASHES.name} says {expected}; delete the folder to fetch it again")


def unpack(wheel: Path, folder: Path) -> Path:
    """The wheel's files in a folder, as an installer lays them out."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
