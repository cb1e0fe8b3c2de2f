"""Other machines' and other releases' libraries, unpacked from Debian's packages and kept in the user's cache folder.

A sysroot is never installed: apt downloads with a state folder of its own, dpkg-deb unpacks. The mirror is the one that this
machine's own apt uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cached import made_once
from tests.support.marks import needs
from tests.support.toolchain import missing
from tests.support.wheels import CACHE

__all__ = ["source", "sysroot"]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirror() -> str:
    """The address of the Debian archive that this machine's apt is set up for."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if path.is_file() and (found := re.search(r"https?://\S+/debian/?(?=\s)", path.read_text(encoding="utf-8"))):
            return found[0].rstrip("/")
    return missing("a Debian mirror in apt's sources")


def _apt(state: Path, architecture: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "Dir::State": str(state),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
        "Dir::Etc::sourcelist": str(state / "sources.list"),
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Debug::NoLocking": "1",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command = [shutil.which("apt-get") or missing("apt-get"), "-q", *words, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def _state(work: Path, lines: str) -> Path:
    """A state folder of apt's own below ``work``, for an archive that ``lines`` describe."""
    state = work / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(lines)
    return state


def _merge_usr(root: Path) -> None:
    """Since trixie packages have everything below usr/; the links that lead there belong to a package of their own."""
    for name in ("lib", "lib64", "bin"):
        if (root / "usr" / name).is_dir() and not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")


def _inner_links(root: Path) -> None:
    """Links to absolute paths would lead to this machine's own files."""
    for path in root.rglob("*"):
        if path.is_symlink() and (target := path.readlink()).is_absolute():
            path.unlink()
            path.symlink_to(os.path.relpath(root / target.relative_to("/"), path.parent))


def sysroot(architecture: str, packages: tuple[str, ...], suite: str = "bookworm", *, dependencies: bool = False) -> Path:
    """A folder with packages of a Debian release unpacked; skips the test where the mirror no longer has them.

    ``dependencies``: with all that they depend on, as apt resolves it for an empty machine.
    """
    needs("network")

    def make(work: Path) -> None:
        state = _state(work, f"deb [signed-by={KEYRING} arch={architecture}] {mirror()} {suite} main\n")
        update = _apt(state, architecture, "update", cwd=work)
        command = ("install", "-y", "--download-only", "--no-install-recommends") if dependencies else ("download",)
        fetched = _apt(state, architecture, *command, *packages, cwd=work)
        if fetched.returncode:
            gone = f"{' '.join(packages)} of Debian {suite} for {architecture}: {(update.stderr + fetched.stderr).strip().splitlines()[-1:]}"
            if suite != "bookworm":
                pytest.skip(f"the archive does not have {gone}")  # an old release leaves it one day: no fault of this machine's
            missing(gone)
        root = work / "root"
        for package in sorted([*work.glob("*.deb"), *(state / "cache" / "archives").glob("*.deb")]):
            subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
            package.unlink()
        shutil.rmtree(state)
        _merge_usr(root)
        _inner_links(root)

    name = f"{suite}-{architecture}-" + "+".join(packages) + ("-closure" if dependencies else "")
    return made_once(CACHE / "roots" / name, make) / "root"


def source(package: str, work: Path, suite: str = "bookworm") -> Path:
    """The upstream tarball of a Debian source package, downloaded into a folder."""
    needs("network")
    state = _state(work, f"deb-src [signed-by={KEYRING}] {mirror()} {suite} main\n")
    update = _apt(state, "amd64", "update", cwd=work)
    fetched = _apt(state, "amd64", "source", "--download-only", package, cwd=work)
    if fetched.returncode:
        missing(f"the source of {package} of Debian {suite} ({(update.stderr + fetched.stderr).strip().splitlines()[-1:]})")
    (tarball,) = (path for path in work.glob(f"{package}_*.orig.tar.*") if path.suffix != ".asc")
    return tarball
