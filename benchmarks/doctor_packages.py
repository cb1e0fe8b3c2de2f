#!/usr/bin/env python3
"""`doctor` on packages with initial-exec TLS of their own, in processes whose room was taken before.

usage: doctor_packages.py VENV MODULE ...      prints Markdown; exits 1 where an advice does not work or the model disagrees

Before each import a module takes all of the room. The file that is named must be one that asks, and every advice is typed as it was
printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.doctor import follow  # noqa: E402
from tests.support.elf_builder import Reloc, Spec, Tls, build  # noqa: E402
from tls_wheel_guard.doctor.diagnosis import examine  # noqa: E402
from tls_wheel_guard.doctor.result import Diagnosis  # noqa: E402
from tls_wheel_guard.live.reading import read_live  # noqa: E402

LEFT = 0
"""Bytes of room that are left before the import."""


def typed(diagnosis: Diagnosis, python: Path, statement: str, folder: Path) -> tuple[list[str], bool]:
    """What each advice did, and whether all that was advised works."""
    lines, good = [], True
    for advice in diagnosis.advice:
        if advice.kind == "author":
            continue
        if advice.helps and advice.command:
            works = follow(advice.command, python, statement, folder)
            good &= works
            lines.append(f"{advice.kind}: {'helped' if works else 'DID NOT HELP'}")
        else:
            lines.append(f"{advice.kind}: not advised")
    return lines, good


def row(python: Path, name: str, folder: Path) -> tuple[str, bool]:
    """One package: a table row, and whether all is well."""
    live = read_live(python)
    room = live.room or 0
    (folder / "took.so").write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(room - LEFT, 1), soname="took.so")))
    (folder / "eats.py").write_text(f"import ctypes\nctypes.CDLL({str(folder / 'took.so')!r})\n")
    alone = subprocess.run([str(python), "-c", f"import {name}"], capture_output=True, check=False)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    diagnosis = examine(python, name, ["eats"], 120, environment)
    if diagnosis.asked is None:
        return f"| {name} | {diagnosis.outcome}: {(diagnosis.error or 'it asks for nothing')[:80]} | | | |", diagnosis.outcome == "loads"
    lines, good = typed(diagnosis, python, f"import eats; import {name}", folder)
    author = [advice.text for advice in diagnosis.advice if advice.kind == "author"]
    good &= diagnosis.disagrees is None and alone.returncode == 0
    who = f"{Path(diagnosis.asked.definer).name}, {diagnosis.asked.size} bytes"
    return f"| {name} | {who} | {diagnosis.disagrees or 'agrees'} | {'; '.join(lines)} | {_short(author)} |", good


def _short(author: list[str]) -> str:
    return "; ".join(text.partition(": ")[0].split(". ")[0][:110] for text in author)


def main() -> int:
    """Markdown on stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("venv", type=Path, metavar="VENV")
    parser.add_argument("modules", nargs="+", metavar="MODULE")
    options = parser.parse_args()
    python = options.venv.absolute() / "bin" / "python"
    print("| import | who asks | model | advice, typed | for the author |\n|---|---|---|---|---|")
    bad = 0
    for name in options.modules:
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-doctor-") as folder:
            line, good = row(python, name, Path(folder))
        bad += not good
        print(line, flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
