"""What a run imports: for a small wheel, starting is nearly all that it costs. `python -m benchmarks.startup` has the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.elf_builder import Spec, Tls, build
from tests.support.modules import ie
from tests.support.projects import ROOT
from tests.support.wheel_builder import make_wheel

SMALL = frozenset({"bisect", "gc", "locale", "importlib.machinery"})
"""What such a check imports of others beside what the standard library's zipfile, argparse, pathlib and typing bring."""
NOT_OURS = """
archive.atomic archive.record archive.update build_guard cli.anchor cli.explain
commands.culprits commands.descriptors commands.fix commands.repair commands.show commands.simulate culprits.data_files
culprits.identify doctor elf.symbol_tables fix index inputs.bare_file inputs.folder inputs.side_by_side live
machine_code repair report.baseline report.block report.finding_text report.html report.identity report.json
report.matrix report.sarif report.story
""".split()
"""Rooms and modules of ours that such a check must not import."""
MOST = 95
"""Modules of ours that it imports at most: each costs a tenth of a millisecond."""

CODE = """
import sys
before = set(sys.modules)
from tls_wheel_guard.__main__ import main
code = main(sys.argv[1:])
print(*sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


def imported(folder: Path, *arguments: str, code: int = 0) -> set[str]:
    """Modules that a command line imports."""
    run = subprocess.run([sys.executable, "-S", "-c", PATH + CODE, *arguments], capture_output=True, text=True, check=False, cwd=folder)
    assert run.returncode == code, run.stdout + run.stderr
    return set(run.stderr.splitlines()[-1].split())


# Without site: what an installation's .pth files import is no part of us.
PATH = f"import sys; sys.path[1:1] = {[path for path in [str(ROOT), *sys.path] if path]!r}\n"


def test_a_check_without_findings_imports_only_what_it_needs(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"p/m.so": build(Spec(tls=Tls(8)))})
    found = imported(tmp_path, "check", "--no-config", str(wheel))
    plain = set(subprocess.run([sys.executable, "-S", "-c", "import argparse, pathlib, typing, zipfile, sys; print(*sys.modules)"],
                               capture_output=True, text=True, check=True).stdout.split())  # fmt: skip
    assert sorted(name for name in NOT_OURS if f"tls_wheel_guard.{name}" in found) == []
    assert len([name for name in found if name.startswith("tls_wheel_guard")]) <= MOST
    assert sorted(name for name in found - plain - SMALL if not name.startswith(("tls_wheel_guard", "encodings", "_"))) == []


def test_a_check_with_findings_imports_what_explains_them(tmp_path: Path) -> None:
    """The list above can fail: these are imported where they are needed."""
    wheel = make_wheel(tmp_path, {"p/m.so": ie()})
    found = imported(tmp_path, "check", "--no-config", str(wheel), code=1)
    assert {f"tls_wheel_guard.{name}" for name in ("commands.culprits", "machine_code", "report.story", "report.finding_text")} <= found
    assert {"dataclasses", "inspect"} & found == set()
