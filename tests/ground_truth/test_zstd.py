"""Members compressed with Zstandard, under a Python that has it: Debian's newest, run from its packages, never installed."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.sysroots import sysroot
from tls_wheel_guard.inputs.opening import inspect_file

pytestmark = pytest.mark.network

ZSTANDARD = 93
ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARIES = ("libc6", "zlib1g", "libexpat1", "libzstd1", "libbz2-1.0", "liblzma5", "libffi8")
PYTHON = ("python3.14-minimal", "libpython3.14-minimal", "libpython3.14-stdlib", *LIBRARIES)

WRITE = """
import sys, zipfile
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_ZSTANDARD) as wheel:
    wheel.write(sys.argv[1], "pkg/m.so")
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python 3.14, with the guard on its path."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the packages are for x86_64 Linux")
    usr = sysroot("amd64", PYTHON, "sid") / "usr"
    loader = [str(usr / "lib64/ld-linux-x86-64.so.2"), "--library-path", str(usr / "lib/x86_64-linux-gnu"), str(usr / "bin/python3.14")]
    environment = {"PYTHONHOME": str(usr), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*loader, *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    (tmp_path / "m.so").write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), padding=3 << 20)))
    path = tmp_path / "pkg-1.0-cp314-cp314-musllinux_1_2_x86_64.whl"
    made = python("-c", WRITE, str(tmp_path / "m.so"), str(path))
    assert made.returncode == 0, made.stderr
    assert [info.compress_type for info in zipfile.ZipFile(path).infolist()] == [ZSTANDARD]
    return path


def check(path: Path) -> list[tuple[str, str]]:
    run = python("-m", "tls_wheel_guard", "check", "--no-config", "--format", "json", str(path))
    assert run.stderr == ""
    assert run.returncode == 1
    return [(finding["rule"], finding["message"]) for wheel in json.loads(run.stdout)["wheels"] for finding in wheel["findings"]]


def test_a_zstandard_member_is_judged(wheel: Path) -> None:
    assert [rule for rule, _ in check(wheel)] == ["initial-exec-tls", "unflagged-static-tls"]


@pytest.mark.parametrize(("place", "words"), [(None, "it can't be inflated"), (60, "bad CRC-32")])
def test_a_damaged_one_is_a_finding(place: int | None, words: str, wheel: Path) -> None:
    """A frame without its magic number is none; other bytes inside it make other contents."""
    data = bytearray(wheel.read_bytes())
    start = data.index(b"\x28\xb5\x2f\xfd") if place is None else place
    data[start : start + 10] = bytes(10)
    wheel.write_bytes(data)
    ((rule, message),) = check(wheel)
    assert rule == "unreadable-module"
    assert words in message


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python knows Zstandard")
def test_an_older_python_says_what_is_missing(wheel: Path) -> None:
    ((path, reason),) = inspect_file(wheel).unreadable
    assert path == "pkg/m.so"
    assert reason == "this Python does not know its compression method, 93 (Zstandard, from Python 3.14 on)"
