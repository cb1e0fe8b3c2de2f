"""auditwheel after a repair: it grafts a library, strips, and has patchelf rewrite what needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.markdown import heading, row
from benchmarks.repair_bed.tools import PATCHELFS, answers, make_object, patchelf
from tests.support.auditwheel import auditwheel_site
from tests.support.repair_machines import TestedMachine
from tests.support.repairing import build_object, repair_file
from tests.support.wheel_builder import make_wheel
from tests.support.wheels import unpack
from tls_wheel_guard.repair.damage import damage_of

LINKERS = ("bfd", "gold", "lld", "mold")


def grafted(path: Path, folder: Path, machine: TestedMachine, program: str) -> Path | None:
    """The object as ``auditwheel repair --strip`` leaves it in a wheel, beside the library that it needs; None where that fails."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    (tools / "patchelf").symlink_to(program)
    (tools / "strip").symlink_to(shutil.which(f"{machine.binutils}strip") or "strip")
    wheel = make_wheel(folder, {f"pkg/{path.name}": path.read_bytes()}, f"cp311-cp311-linux_{machine.name}")
    environment = {**os.environ, "PYTHONPATH": str(auditwheel_site()), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    environment["LD_LIBRARY_PATH"] = str(path.parent)
    command = [sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", str(folder / "out"), str(wheel)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        return None
    (output,) = (folder / "out").glob("*.whl")
    site = unpack(output, folder / "site")
    if not list(site.glob("pkg.libs/libgrafted-*.so")):
        raise SystemExit("nothing was grafted")
    return site / "pkg" / path.name


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """A table; what was wrong."""
    wrong = []
    place = folder / "grafting"
    place.mkdir()
    (place / "g.c").write_text("int grafted(int n) { return n + 1; }\n")
    build_object(place / "g.c", place / "libgrafted.so", "gcc", "-Wl,-soname,libgrafted.so", machine=machine)
    print("\n`auditwheel repair --strip` of a wheel with the object and a library that is grafted, with three releases of patchelf:\n")
    heading("linker", *(f"patchelf {version[:6].rstrip('.')}" for version in PATCHELFS))
    for linker in LINKERS:
        flags = (*machine.linkers[linker], f"-L{place}", "-Wl,--no-as-needed", "-lgrafted")
        before = make_object(place, machine, flags)
        repair_file(before, place / "after.so")
        cells = []
        for version in PATCHELFS:
            program, home = patchelf(version), place / f"{linker}-{version}"
            if program is None:
                cells.append("not to be had")
                continue
            old, new = (grafted(path, home / path.stem, machine, program) for path in (before, place / "after.so"))
            if old is None or answers(old, True)[0]:
                cells.append("breaks the unrepaired object")
                continue
            right = new is not None and answers(new, True) == answers(old, True) and not damage_of(new.read_bytes())
            cells.append("right" if right else "broken")
            wrong += [] if right else [f"auditwheel with patchelf {version} after the repair of {linker}: broken"]
        row(linker, *cells)
    return wrong
