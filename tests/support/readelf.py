"""What GNU readelf says of a shared object, under the names of the guard's facts."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.toolchain import require
from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.elf.relocations import TLS_RELOCS

__all__ = ["Facts", "assert_same", "differences", "initial_exec", "read"]

KINDS = {name: kind for row in TLS_RELOCS.values() for kind, name in row.values()}


@dataclass
class Facts:
    """What readelf prints. ``types``: psABI name -> dynamic relocations, whose sum is ``entries``; ``relr``: those packed in RELR.

    ``tpoff_symbols``: the symbols that initial-exec relocations name, as printed; ``undefined``: dynamic symbols without a section.
    """

    types: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    relr: int = 0
    tpoff_symbols: Counter[str] = field(default_factory=Counter)
    undefined: set[str] = field(default_factory=set)
    bits: int = 0
    little_endian: bool = False
    tls: tuple[int, int, int] | None = None
    static_tls: bool = False
    soname: str | None = None
    needed: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> dict[str, int]:
        """The relocations of one kind, by name."""
        return {name: count for name, count in self.types.items() if KINDS.get(name) == kind}

    @property
    def foreign(self) -> dict[str, int]:
        """Initial-exec relocations for variables of other modules, by symbol."""
        return {name: count for name, count in self.tpoff_symbols.items() if name in self.undefined}


RELOCATION = re.compile(r"^[0-9a-f]{8,16}\s+[0-9a-f]{8,16}\s+(R_[A-Z0-9_]+|unrecognized:\s*\w+)(?:\s+[0-9a-f]{8,16}\s+(\S+))?")
UNDEFINED = re.compile(r"^\s*\d+: [0-9a-f]+ .* UND (\S+)")
TLS = re.compile(r"^\s+TLS\s+(?:0x[0-9a-f]+\s+){3}0x([0-9a-f]+)\s+0x([0-9a-f]+)\s.*\s(?:0x)?([0-9a-f]+)$")


def _line(line: str, facts: Facts, relr: bool) -> None:
    if match := RELOCATION.match(line):
        facts.entries += 1
        facts.types[match[1]] += 1
        if match[2] and KINDS.get(match[1]) == "TPOFF":
            facts.tpoff_symbols[match[2]] += 1
    elif relr and re.fullmatch(r"\s*[0-9a-f]{8,16}\s*", line):
        facts.relr += 1
    elif match := UNDEFINED.match(line):
        facts.undefined.add(match[1])
    elif match := TLS.match(line):
        facts.tls = (int(match[1], 16), int(match[2], 16), int(match[3], 16))


def read(path: Path) -> Facts:
    """Run readelf on a file."""
    command = [require("readelf"), "-W", "-h", "-l", "-d", "-r", "--dyn-syms", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, errors="replace")
    facts = Facts()
    relr = False
    for line in run.stdout.splitlines():
        if line.startswith("Relocation section"):
            relr = ".relr" in line
        _line(line, facts, relr)
    facts.bits = 64 if re.search(r"^\s+Class:\s+ELF64$", run.stdout, re.MULTILINE) else 32
    facts.little_endian = re.search(r"^\s+Data:.*little endian$", run.stdout, re.MULTILINE) is not None
    facts.static_tls = re.search(r"\(FLAGS\).*STATIC_TLS", run.stdout) is not None
    facts.needed = tuple(re.findall(r"\(NEEDED\).*\[(.*)\]", run.stdout))
    if soname := re.search(r"\(SONAME\).*\[(.*)\]", run.stdout):
        facts.soname = soname[1]
    return facts


def differences(found: SharedObject, truth: Facts) -> list[str]:
    """Where the guard's facts and readelf's are not equal: ``name: guard ..., readelf ...``."""
    segment = found.tls_segment
    pairs = {
        "class": (found.bits, truth.bits),
        "little-endian": (found.little_endian, truth.little_endian),
        "initial-exec": (dict(found.initial_exec.types), truth.of_kind("TPOFF")),
        "foreign": ({symbol.versioned_name: count for symbol, count in found.initial_exec.foreign_symbols}, truth.foreign),
        "DTPMOD": (found.dynamic.dtpmod, sum(truth.of_kind("DTPMOD").values())),
        "DTPOFF": (found.dynamic.dtpoff, sum(truth.of_kind("DTPOFF").values())),
        "TLSDESC": (found.dynamic.tlsdesc, sum(truth.of_kind("TLSDESC").values())),
        "dynamic relocations": (found.dynamic_relocations, truth.entries),
        "RELR": (found.relr_relative, truth.relr),
        "TLS segment": (segment and (segment.filesz, segment.memsz, segment.align), truth.tls),
        "DF_STATIC_TLS": (found.df_static_tls, truth.static_tls),
        "SONAME": (found.soname, truth.soname),
        "NEEDED": (found.needed, truth.needed),
    }
    return [f"{name}: guard {ours!r}, readelf {theirs!r}" for name, (ours, theirs) in pairs.items() if ours != theirs]


def assert_same(found: SharedObject, truth: Facts, where: str) -> None:
    """The guard's facts equal readelf's."""
    assert not (wrong := differences(found, truth)), (where, wrong)


def initial_exec(path: Path) -> tuple[int, int]:
    """Dynamic initial-exec relocations, and those of the dynamic models."""
    facts = read(path)
    return sum(facts.of_kind("TPOFF").values()), sum(facts.of_kind("DTPMOD").values()) + sum(facts.of_kind("TLSDESC").values())
