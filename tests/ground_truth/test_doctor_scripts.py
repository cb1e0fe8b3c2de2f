"""`doctor` on scripts, on what lies in a module, on distributions, and on imports that fail for another reason once static TLS is cured."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tls_wheel_guard.__main__ import main

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="modules are opened by x86_64 Linux")

OPENS = "import ctypes\nctypes.CDLL({path!r})\n"


@pytest.fixture(autouse=True)
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared object that no process has room for by itself."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "big.so"
    path.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(4000, 8), soname="big.so")))
    return path


def doctor(capsys: Captured, *words: str, code: int = 1) -> tuple[dict[str, Any], str]:
    """The document and the text, which are of one mind."""
    shown = []
    for form in ("json", "text"):
        assert main(["doctor", "--format", form, *words]) == code
        shown.append(capsys.readouterr().out)
    found: dict[str, Any] = json.loads(shown[0])
    return found, " ".join(shown[1].split())


def helping(found: dict[str, Any]) -> dict[str, str | None]:
    """What helps, and what the import then ends with."""
    return {each["kind"]: each["then"] for each in found["advice"] if each["helps"] and each["kind"] != "author"}


def test_a_script_and_its_arguments(big: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "beside.py").write_text("x = 1\n")
    (tmp_path / "app.py").write_text(
        f"import sys, beside\nassert __name__ == '__main__'\nassert sys.argv[1:] == ['in.csv', '--fast'], sys.argv\n{OPENS.format(path=str(big))}"
    )
    found, shown = doctor(capsys, "app.py", "in.csv", "--", "--fast")
    assert (found["outcome"], helping(found)) == ("static-tls", {"tunables": None, "preload": None})
    assert "[simulated, run: works]" in shown
    command = next(each["command"] for each in found["advice"] if each["kind"] == "tunables").replace(
        "python ...", f"{sys.executable} app.py in.csv --fast"
    )
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    found, _ = doctor(capsys, "app.py")
    assert found["error"].startswith("AssertionError: ")


def test_a_script_that_ends_well(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "app.py").write_text("import sys\nsys.exit(0)\n")
    found, shown = doctor(capsys, "app.py", code=0)
    assert found["outcome"] == "loads"
    (tmp_path / "app.py").write_text("import sys\nsys.exit(3)\n")
    found, shown = doctor(capsys, "app.py")
    assert found["error"] == "SystemExit: 3"
    assert "static TLS is not the cause" in shown


@pytest.mark.parametrize(
    ("text", "then"),
    [("import sys\nsys.exit(3)\n", "SystemExit: 3"), ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'")],
)
def test_another_failure_behind_it_does_not_hide_the_cure(text: str, then: str, big: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "ends.py").write_text(OPENS.format(path=str(big)) + text)
    found, shown = doctor(capsys, "ends")
    assert helping(found) == {"tunables": then, "preload": then}
    assert "[simulated, run: this failure is gone]" in shown
    assert f"with it the import ends with {then}: another failure, and static TLS is not its cause" in shown
    assert "nothing helps" not in shown
    assert any(each["kind"] == "tunables" and each["least"] for each in found["advice"])


def test_a_failure_before_it_is_no_cure(big: Path, tmp_path: Path, capsys: Captured) -> None:
    """A preload that breaks the import earlier has not cured anything."""
    (tmp_path / "early.py").write_text(
        f"import os\nif os.environ.get('LD_PRELOAD'):\n    raise RuntimeError('early')\n{OPENS.format(path=str(big))}"
    )
    found, _ = doctor(capsys, "early")
    assert helping(found) == {"tunables": None}


def test_what_lies_in_a_module(big: Path, tmp_path: Path, capsys: Captured) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "linear.py").write_text(OPENS.format(path=str(big)) + "class Model:\n    fit = 1\n")
    for name in ("pkg.linear.Model", "pkg.linear.Model.fit"):
        found, _ = doctor(capsys, name)
        assert helping(found) == {"tunables": None, "preload": None}
    found, _ = doctor(capsys, "pkg.linear.Odd")
    assert set(helping(found).values()) == {"ModuleNotFoundError: No module named 'pkg.linear.Odd'; 'pkg.linear' is not a package"}


@pytest.mark.parametrize("top_level", [True, False])
def test_a_distribution(top_level: bool, big: Path, tmp_path: Path, capsys: Captured) -> None:
    package = tmp_path / "sklrn"
    package.mkdir()
    (package / "__init__.py").write_text(OPENS.format(path=str(big)))
    info = tmp_path / "scikit_lrn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scikit-lrn\nVersion: 1.0\n")
    (info / "RECORD").write_text("sklrn/__init__.py,,\nscikit_lrn-1.0.dist-info/METADATA,,\n")
    if top_level:
        (info / "top_level.txt").write_text("sklrn\n")
    found, shown = doctor(capsys, "scikit-lrn")
    assert helping(found) == {"tunables": None, "preload": None}
    assert "scikit-lrn fails: OSError: " in shown


@pytest.mark.parametrize("word", ["nowhere_at_all", "nowhere-at-all", "nowhere_at_all.deep"])
def test_what_is_not_installed_may_be_elsewhere(word: str, capsys: Captured) -> None:
    found, shown = doctor(capsys, word)
    assert found["hint"] == f"{word} is not installed for {found['python']}; --python EXE names the interpreter that has it"
    assert f"hint: {word} is not installed for" in shown


def test_who_waits_sees_what_is_tried(big: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(f"import time\ntime.sleep(0.6)\n{OPENS.format(path=str(big))}")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tls_wheel_guard", "doctor", "slow"]
    subprocess.run(command, stderr=follower, stdout=subprocess.DEVNULL, check=False)
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 4096)
        except OSError:
            break
    os.close(leader)
    assert b" s  slow" in seen
    assert b"GLIBC_TUNABLES=" in seen
    assert seen.endswith(b"\r\x1b[K")
