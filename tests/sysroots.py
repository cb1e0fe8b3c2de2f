"""Other machines' and other releases' libraries, unpacked from Debian's packages and kept in the user's cache folder.

A sysroot is never installed: apt downloads with a state folder of its own, dpkg-deb unpacks. The mirror is the one that this
machine's own apt uses.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.ground_truth.wheels import CACHE
from tests.toolchain import missing, require

__all__ = ["sysroot"]

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
    return subprocess.run([require("apt-get"), "-q", *words, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def sysroot(architecture: str, packages: tuple[str, ...], suite: str = "bookworm") -> Path:
    """A folder with some packages of a Debian release unpacked; skips the test where the mirror no longer has them."""
    name = f"{suite}-{architecture}-" + "+".join(packages)
    done = CACHE / "sysroots" / name
    if done.is_dir():
        return done
    work = done.with_name(f"{name}.unfinished")
    shutil.rmtree(work, ignore_errors=True)
    state = work / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    signed = f"[signed-by={KEYRING} arch={architecture}]"
    (state / "sources.list").write_text(f"deb {signed} {mirror()} {suite} main\n")
    update = _apt(state, architecture, "update", cwd=work)
    fetched = _apt(state, architecture, "download", *packages, cwd=work)
    if fetched.returncode:
        missing(f"{' '.join(packages)} of Debian {suite} for {architecture} ({(update.stderr + fetched.stderr).strip().splitlines()[-1:]})")
    for package in work.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(work / "root")], check=True)
    (work / "root").rename(done)
    shutil.rmtree(work)
    return done
