"""What GNU readelf says of a shared object, under the names of the guard's facts."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.toolchain import require
from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.elf.relocs import TLS_RELOCS

KINDS = {name: kind for row in TLS_RELOCS.values() for kind, name in row.values()}


@dataclass
class Facts:
    """Counts as readelf prints them."""

    types: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    relr: int = 0
    foreign: int = 0
    tls: tuple[int, int, int] | None = None
    static_tls: bool = False
    soname: str | None = None
    needed: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> dict[str, int]:
        return {name: count for name, count in self.types.items() if KINDS.get(name) == kind}


RELOCATION = re.compile(r"^[0-9a-f]{8,16}\s+[0-9a-f]{8,16}\s+(R_[A-Z0-9_]+|unrecognized:\s*\w+)(?:\s+([0-9a-f]{8,16})\s+(\S+))?")


def _relocations(text: str, facts: Facts) -> None:
    relr = False
    for line in text.splitlines():
        if line.startswith("Relocation section"):
            relr = "offset" in line and ".relr" in line
        if match := RELOCATION.match(line):
            facts.entries += 1
            facts.types[match[1]] += 1
            # An undefined symbol is printed with the value 0 and its name; a defined TLS variable can be at 0 too.
        elif relr and re.match(r"^\s*[0-9a-f]{8,16}\s*$", line):
            facts.relr += 1


def read(path: Path, *, by_dynamic: bool = False) -> Facts:
    """Run readelf on a file. ``by_dynamic``: relocations by the dynamic segment instead of the sections."""
    require("readelf")

    def run(options: str) -> str:
        command = ["readelf", options, *(["-D"] if by_dynamic and "r" in options else []), str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout

    facts = Facts()
    _relocations(run("-Wr"), facts)
    for line in run("-Wl").splitlines():
        words = line.split()
        if words[:1] == ["TLS"] and len(words) >= 8:
            facts.tls = (int(words[4], 16), int(words[5], 16), int(words[-1], 16))
    dynamic = run("-Wd")
    facts.static_tls = bool(re.search(r"\(FLAGS\).*STATIC_TLS", dynamic))
    facts.needed = tuple(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    if soname := re.search(r"\(SONAME\).*\[(.*)\]", dynamic):
        facts.soname = soname[1]
    return facts


def assert_same(found: SharedObject, truth: Facts, where: str) -> None:
    """The guard's facts equal readelf's."""
    assert dict(found.initial_exec.types) == truth.of_kind("TPOFF"), where
    assert found.dynamic.dtpmod == sum(truth.of_kind("DTPMOD").values()), where
    assert found.dynamic.dtpoff == sum(truth.of_kind("DTPOFF").values()), where
    assert found.dynamic.tlsdesc == sum(truth.of_kind("TLSDESC").values()), where
    assert found.dynamic_relocations == truth.entries, where
    segment = found.tls_segment
    assert (segment and (segment.filesz, segment.memsz, segment.align)) == truth.tls, where
    assert (found.df_static_tls, found.soname, found.needed) == (truth.static_tls, truth.soname, truth.needed), where
