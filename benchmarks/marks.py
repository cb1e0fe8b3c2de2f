#!/usr/bin/env python3
"""Mark every wheel of a folder that needs it, and prove each marked module: by readelf, byte by byte, and by the loader of its machine.

usage: marks.py WHEELS-FOLDER

A module is opened by dlopen before and after, natively or under qemu-user with Debian's libraries for that machine; both must end
alike. Python's own symbols come from its libpython.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.ground_truth import readelf  # noqa: E402
from tests.sysroots import sysroot  # noqa: E402
from tests.toolchain import COMPILERS, SOURCES  # noqa: E402
from tls_wheel_guard.elf import BytesSource, read_shared_object  # noqa: E402
from tls_wheel_guard.marking import mark_file  # noqa: E402

PACKAGES = ("libc6", "libgcc-s1", "libstdc++6", "libpython3.11", "zlib1g", "libexpat1", "libgomp1", "libatomic1")
QEMU = {"aarch64": ("qemu-aarch64", "arm64", "aarch64-linux-gnu"), "arm": ("qemu-arm", "armhf", "arm-linux-gnueabihf")}
"""Machine -> (emulator, Debian's architecture, its folder of libraries)."""


def runner(machine: str) -> list[str]:
    """How to run a program of the machine, with libpython loaded."""
    emulator, architecture, triplet = QEMU[machine]
    root = sysroot(architecture, PACKAGES)
    return [emulator, "-L", str(root), "-E", f"LD_PRELOAD={root}/usr/lib/{triplet}/libpython3.11.so.1.0"]


def host(machine: str, folder: Path) -> Path:
    """A C program of the machine that opens the files it is given."""
    output = folder / f"host-{machine}"
    if not output.exists():
        subprocess.run([*COMPILERS[machine], "-O1", "-rdynamic", "-o", str(output), str(SOURCES / "host.c"), "-ldl"], check=True)
    return output


def opened(machine: str, path: Path, folder: Path) -> str:
    """Nothing when it loads, else the loader's words, or the signal."""
    done = subprocess.run([*runner(machine), str(host(machine, folder)), str(path)], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix(":") if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"


def unpacked(wheel: Path, folder: Path) -> dict[str, bytes]:
    """Every member's bytes; they lie in the folder too, since modules look for their own libraries there."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        return {name: archive.read(name) for name in archive.namelist()}


def prove(wheel: Path, folder: Path) -> int:
    """Mark one wheel, print a row a module; how many were wrong."""
    marked = folder / wheel.name
    marking = mark_file(wheel, marked)
    for name, why in marking.refused:
        print(f"| {wheel.name} | {name} | refused: {why} | | | |")
    if not marking.marked:
        return 0
    wrong = 0
    before, after = unpacked(wheel, folder / "old"), unpacked(marked, folder / "new")
    changed = {name for name in before if before[name] != after[name]}
    expected = {name for name, _ in marking.marked}
    record = {name for name in before if name.endswith(".dist-info/RECORD")}
    others = list(before) == list(after) and changed == expected | record
    for name, how in marking.marked:
        old, new = folder / "old" / name, folder / "new" / name
        bytes_changed = sum(a != b for a, b in zip(before[name], after[name], strict=True))
        flag = (readelf.read(old).static_tls, readelf.read(new).static_tls)
        machine = read_shared_object(BytesSource(before[name])).machine
        known = machine is not None and machine.name in QEMU
        loads = [opened(machine.name, path, folder) if machine and known else "not run here" for path in (old, new)]
        same = loads[0].replace("/old/", "/new/") == loads[1]
        wrong += not (flag == (False, True) and others and same)
        words = (loads[1].replace(f"{folder}/new/", "") or "loads").splitlines()[0]
        print(
            f"| {wheel.name} | {name} | {how} | {bytes_changed} | {'yes' if flag[1] else 'NO'} | {'the same: ' if same else 'OTHER: '}{words} |"
        )
    return wrong


def main() -> None:
    """Prove every wheel of the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    options = parser.parse_args()
    print("| wheel | module | how | bytes changed | flag by readelf | dlopen before and after |\n|---|---|---|---|---|---|")
    wrong = 0
    for wheel in sorted(options.wheels.glob("*.whl")):
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-marks-") as folder:
            wrong += prove(wheel, Path(folder))
    raise SystemExit(f"{wrong} modules are not right" if wrong else 0)


if __name__ == "__main__":
    main()
