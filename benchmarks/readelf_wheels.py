#!/usr/bin/env python3
"""Every ELF member of some wheels, read by the guard in the wheel and by GNU readelf out of it, fact by fact.

usage: readelf_wheels.py [WHEEL-OR-FOLDER ...]      (without: the wheels of WHEELS, fetched with pip)

Needs no file of truths. Where a table is packed in a way that GNU readelf does not know (Android's APS2), llvm-readelf counts.
Ends with 1 on any difference.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import readelf  # noqa: E402
from tests.support.wheels import fetch  # noqa: E402
from tls_wheel_guard import check_wheel  # noqa: E402
from tls_wheel_guard.elf import SharedObject  # noqa: E402
from tls_wheel_guard.inputs.files import expand  # noqa: E402

WHEELS = (
    ("grpcio==1.85.3", "manylinux_2_17_x86_64"),
    ("memray==1.20.0", "manylinux_2_28_x86_64"),
    ("pillow==13.0.0", "manylinux_2_28_x86_64"),
    ("scalene==2.4.0", "manylinux_2_28_x86_64"),
    ("scikit-image==0.26.0", "manylinux_2_28_x86_64"),
    ("faiss-cpu==1.15.1", "manylinux_2_28_aarch64"),
    ("tree-sitter==0.26.1", "manylinux_2_17_aarch64"),
    ("aiohttp==3.14.5", "manylinux_2_17_armv7l"),
    ("zstandard==0.25.0", "manylinux_2_17_i686"),
    ("zstandard==0.25.0", "manylinux_2_17_ppc64le"),
    ("zstandard==0.25.0", "manylinux_2_17_s390x"),
    ("cffi==2.1.1", "manylinux_2_17_ppc64le"),
    ("cffi==2.1.1", "manylinux_2_17_s390x"),
    ("watchfiles==1.3.0", "manylinux_2_17_s390x"),
    ("msgpack==1.2.4", "manylinux_2_31_riscv64"),
    ("memray==1.20.0", "musllinux_1_2_x86_64"),
    ("jiter==0.19.0", "musllinux_1_1_x86_64"),
    ("msgpack==1.2.4", "musllinux_1_2_x86_64"),
    ("granian==2.8.7", "musllinux_1_1_aarch64"),
    ("grpcio==1.85.3", "musllinux_1_2_aarch64"),
    ("pandas==3.1.1", "musllinux_1_2_aarch64"),
    ("bcrypt==5.0.0", "musllinux_1_2_aarch64"),
    ("pynacl==1.6.2", "musllinux_1_2_aarch64"),
    ("multidict==7.2.1", "musllinux_1_2_armv7l"),
    ("multidict==7.2.1", "musllinux_1_2_i686"),
    ("regex==2026.11.19", "musllinux_1_2_ppc64le"),
    ("regex==2026.11.19", "musllinux_1_2_s390x"),
    ("aiohttp==3.14.5", "musllinux_1_2_riscv64"),
    ("xxhash==4.1.0", "android_24_arm64_v8a"),
    ("xxhash==4.1.0", "android_24_x86_64"),
)
"""Well-known packages, each machine and libc that has wheels on the index."""


@dataclass
class Sums:
    """What was compared. ``machines``: ELF files a machine; ``kinds``: the same by kind."""

    files: int = 0
    relocations: int = 0
    initial_exec: int = 0
    machines: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, so: SharedObject) -> None:
        """Count one file."""
        self.files += 1
        self.relocations += so.dynamic_relocations
        self.initial_exec += so.initial_exec.count
        self.machines[so.machine_name] += 1
        self.kinds[so.kind] += 1


PACKED = re.compile(r"\(<OS specific>: 6000000f\)|\(<OS specific>: 60000011\)|ANDROID_RELA?\b")


def _differences(path: Path, so: SharedObject) -> list[str]:
    truth = readelf.read(path)
    lines = readelf.differences(so, truth)
    if lines and PACKED.search(subprocess.run(["readelf", "-Wd", path], capture_output=True, text=True, check=True).stdout):
        text = subprocess.run(["llvm-readelf-19", "-Wr", path], capture_output=True, text=True, check=True).stdout
        types = Counter(re.findall(r"^[0-9a-f]{8,16}\s+[0-9a-f]{8,16}\s+(R_\w+)", text, re.MULTILINE))
        truth.types, truth.entries = types, sum(types.values()) - so.relr_relative
        lines = [line for line in readelf.differences(so, truth) if not line.startswith("foreign")]
    return lines


def compare(wheel: Path, sums: Sums) -> None:
    """Compare one wheel's members."""
    report = check_wheel(wheel)
    found = {module.path: module.shared_object for module in report.modules}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        elf: dict[str, Path] = {}
        for info in archive.infolist():
            with archive.open(info) as member:
                if member.read(4) == b"\x7fELF":
                    elf[info.filename] = Path(archive.extract(info, folder))
        sums.differences += [f"{wheel.name}: {name}: only one of both takes it for an ELF file" for name in elf.keys() ^ found.keys()]
        both = [name for name in elf if name in found and found[name].kind in ("shared", "program")]
        with ThreadPoolExecutor() as pool:
            for name, lines in zip(both, pool.map(lambda name: _differences(elf[name], found[name]), both), strict=True):
                sums.differences += [f"{wheel.name}: {name}: {line}" for line in lines]
                sums.add(found[name])
    print(f"{len(found):4} ELF members, {sum(so.initial_exec.count for so in found.values()):5} initial-exec  {wheel.name}")


def main() -> int:
    """Compare and print a line a wheel, then the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args()
    sums = Sums()
    wheels = [wheel for path in options.paths for wheel in expand(path)]
    if not options.paths:
        wheels = [fetch(requirement, platform, "3.13" if "android" in platform else "3.12") for requirement, platform in WHEELS]
    for wheel in wheels:
        compare(wheel, sums)
    print("\n".join(sums.differences))
    print(f"{len(wheels)} wheels, {sums.files} ELF files, {sums.relocations:,} dynamic relocations, {sums.initial_exec} of them initial-exec")
    print(", ".join(f"{count} {name}" for name, count in sums.machines.most_common()), dict(sums.kinds))
    print(f"{len(sums.differences)} differences")
    return 1 if sums.differences or not sums.files else 0


if __name__ == "__main__":
    sys.exit(main())
