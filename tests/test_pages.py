"""What the pages show is run: the API's examples, the notebook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel

DOCS = Path(__file__).resolve().parent.parent / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The fenced examples of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_python(code: str, folder: Path) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_examples_of_the_api(tmp_path: Path) -> None:
    first, second = blocks("api.md", "python")
    dist = tmp_path / "dist"
    dist.mkdir()
    make_wheel(dist, {"pkg/m.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64")
    (dist / "broken.whl").write_bytes(b"")
    shown = run_python(first, tmp_path)
    assert "broken.whl could not be read: " in shown
    assert "musllinux_1_2_x86_64.whl error initial-exec-tls pkg/m.so\n" in shown
    assert "-ftls-model=global-dynamic" in shown
    for name, size in (("first", 1000), ("second", 1000)):
        (dist / f"{name}.so").write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(size), soname=f"{name}.so")))
    shown = run_python(second, tmp_path)
    assert shown.splitlines() == [
        "dist/first.so True 1000 712 None",
        "dist/second.so False 0 712 second.so: cannot allocate memory in static TLS block",
    ]


@pytest.mark.network
def test_the_notebook(tmp_path: Path) -> None:
    """Cell by cell, as a notebook runs them; the last value of each is shown."""
    cells = json.loads((DOCS / "check_a_release.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
    last = code.rstrip().splitlines()[-1]
    shown = run_python(code.replace(last, f"print({last})"), tmp_path)
    assert "cachebox/_core.cpython-312-x86_64-linux-musl.so musllinux_1_2_x86_64 never Error relocating" in shown
    assert shown.splitlines()[-1] == "[('cachebox/_core.cpython-312-x86_64-linux-gnu.so', True, 184, 16)]"
