#!/usr/bin/env python3
"""`doctor` on real packages in a real environment: scikit-learn with all that it needs, after other modules have taken the room.

usage: doctor.py      prints Markdown; exits 1 when an advice does not work, or a model disagrees

The environment is made once by pip and kept in the tests' cache folder. Every advice is typed as it was printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.cached import made_once  # noqa: E402
from tests.support.elf_builder import Reloc, Spec, Tls, build  # noqa: E402
from tests.support.wheels import CACHE  # noqa: E402
from tls_wheel_guard.doctor.diagnosis import examine  # noqa: E402
from tls_wheel_guard.doctor.result import Diagnosis  # noqa: E402

PACKAGES = ("scikit-learn==1.5.2", "numpy==1.26.4", "scipy==1.13.1")
TPOFF, TLSDESC = 18, 36


@dataclass(frozen=True)
class Past:
    """Modules that are there before. ``blocks``: relocation and size of each."""

    label: str
    blocks: tuple[tuple[int, int], ...]


PASTS = (
    Past("initial-exec of 504, 600 and 504 bytes", ((TPOFF, 500), (TPOFF, 600), (TPOFF, 500))),
    Past("initial-exec of 1216 bytes, a descriptor of 400", ((TPOFF, 1216), (TLSDESC, 400))),
    Past("a descriptor of 400 bytes, initial-exec of 1216", ((TLSDESC, 400), (TPOFF, 1216))),
)


def environment() -> Path:
    """The interpreter of an environment with the packages."""

    def make(work: Path) -> None:
        venv.create(work / "env", with_pip=True)
        pip = [str(work / "env" / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
        subprocess.run([*pip, *PACKAGES], check=True)

    name = f"doctor-{sys.version_info[0]}.{sys.version_info[1]}-{'-'.join(PACKAGES)}"
    return made_once(CACHE / name, make) / "env" / "bin" / "python"


def follow(command: str, python: Path, statement: str, folder: Path) -> bool:
    """Type what was advised."""
    words = re.sub(r"(^| )python -c", rf"\1{python} -c", command.replace("python ...", f'python -c "{statement}"'))
    return subprocess.run(["sh", "-c", words], capture_output=True, cwd=folder, check=False).returncode == 0


def examined(python: Path, past: Past, folder: Path) -> tuple[Diagnosis, list[str], bool]:
    """What doctor says, a line for each advice with what came of it, and whether all is well."""
    for place, (number, size) in enumerate(past.blocks):
        (folder / f"m{place}.so").write_bytes(build(Spec(relocs=(Reloc(number),), tls=Tls(size, 8))))
    (folder / "past.py").write_text(
        f"import ctypes\nfor place in range({len(past.blocks)}):\n    ctypes.CDLL({str(folder)!r} + f'/m{{place}}.so')\n"
    )
    diagnosis = examine(python, "sklearn.cluster", ["past"], 120, {**os.environ, "PYTHONPATH": str(folder)})
    lines, good = [], diagnosis.outcome == "static-tls" and diagnosis.has_model and diagnosis.disagrees is None
    for advice in diagnosis.advice:
        if advice.helps and advice.command:
            works = follow(advice.command, python, "import past; import sklearn.cluster", folder)
            good &= works and advice.simulated is True
            lines.append(f"{advice.kind}: {'works' if works else 'DOES NOT WORK'}")
        elif not advice.helps:
            lines.append(f"{advice.kind}: does not help")
    return diagnosis, lines, good


def main() -> int:
    """Markdown on stdout."""
    python, bad = environment(), 0
    print(f"{', '.join(PACKAGES)}; `import sklearn.cluster` after others. `python benchmarks/doctor.py`.\n")
    print("| there before | who asks | room left | model | what was advised, and typed |\n|---|---|---|---|---|")
    for past in PASTS:
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-doctor-") as folder:
            diagnosis, lines, good = examined(python, past, Path(folder))
        bad += not good
        asked = diagnosis.asked
        who = f"{Path(asked.definer).name}, {asked.size} bytes" if asked else str(diagnosis.error)
        print(f"| {past.label} | {who} | {diagnosis.room} | {diagnosis.disagrees or 'agrees'} | {'; '.join(lines)} |")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
