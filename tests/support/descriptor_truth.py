"""Descriptor calls beside two truths: the linker's own relocations of them, and what a run gives when one destroys all vector registers."""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.descriptor_programs import program
from tests.support.toolchain import SOURCES, require
from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites, find_descriptor_sites

__all__ = ["Outcome", "build", "compare", "descriptor_sites", "destroyed", "linked_calls"]

ROOM = 64 << 20
CALL_SIZE = 2
"""Bytes of ``call *(%rax)``."""


@dataclass(frozen=True)
class Outcome:
    """``counts``: (what the analysis says, what the run gave) -> sites. ``missed``, ``extra``: addresses of sites against the relocations.

    ``wrong``: sites called dead at which the result changed. ``unread``: reasons.
    """

    counts: Counter[tuple[str, str]]
    missed: frozenset[int]
    extra: frozenset[int]
    wrong: frozenset[int]
    unread: tuple[str, ...]


def build(folder: Path, seed: int, functions: int, command: Iterable[str]) -> Path:
    """Compile a random program with descriptors; the linker keeps its relocations. The compiler's name tells C from C++."""
    words = list(command)
    cxx = "++" in words[0]
    source = folder / f"p{seed}.{'cpp' if cxx else 'c'}"
    source.write_text(program(seed, functions, cxx))
    output = folder / f"p{seed}.so"
    require(words[0])
    flags = ["-fPIC", "-shared", "-mtls-dialect=gnu2", "-w", f"-I{SOURCES}", "-Wl,--emit-relocs", "-o", str(output), str(source), "-lm"]
    subprocess.run([*words, *flags], check=True, capture_output=True, text=True)
    return output


def _relocations(path: Path) -> list[list[str]]:
    text = subprocess.run([require("readelf"), "-rW", str(path)], check=True, capture_output=True, text=True).stdout
    return [line.split() for line in text.splitlines() if re.match(r"[0-9a-f]{8,16}\s", line)]


def slots_of(path: Path) -> list[int]:
    """Addresses of the descriptors, by readelf."""
    return sorted({int(row[0], 16) for row in _relocations(path) if row[2] == "R_X86_64_TLSDESC"})


def linked_calls(path: Path) -> frozenset[int]:
    """Addresses of the descriptor calls, by the relocations that the linker kept."""
    return frozenset(int(row[0], 16) for row in _relocations(path) if row[2].startswith("R_X86_64_TLSDESC_CA"))


def descriptor_sites(path: Path) -> DescriptorSites:
    """What the analysis says; slots and names by readelf."""
    rows = _relocations(path)
    held = ("R_X86_64_JUMP_SLO", "R_X86_64_JUMP_SLOT", "R_X86_64_GLOB_DAT")
    names = {
        int(row[0], 16): (int(row[3], 16) or None, row[4].split("@")[0]) for row in rows if row[2] in held and len(row[3]) == 16 and len(row) > 4
    }
    code = read_code(BytesSource(path.read_bytes()), "x86_64")
    own = frozenset(int(row[0], 16) for row in rows if row[2] == "R_X86_64_TLSDESC" and "UND" not in row)
    return find_descriptor_sites(code, slots_of(path), own, lambda slot: names.get(slot, (None, "")), ROOM)


@functools.cache
def _host() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tls-wheel-guard-destroy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    output = folder / "destroy"
    subprocess.run([require("gcc"), "-O1", "-o", str(output), str(SOURCES / "destroy.c"), "-ldl"], check=True, capture_output=True)
    return output


def destroyed(path: Path, sites: Iterable[int]) -> dict[int, str]:
    """Site -> ``changed``, ``same`` or ``not run``, when all vector registers are destroyed there and nowhere else."""
    words = [*(f"{slot:x}" for slot in slots_of(path)), ":", *(f"{site + CALL_SIZE:x}" for site in sorted(sites))]
    run = subprocess.run([str(_host()), str(path), *words], check=True, capture_output=True, text=True)
    found = {}
    for line in run.stdout.splitlines():
        behind, ran, signal, *changed = line.split()
        found[int(behind, 16) - CALL_SIZE] = "changed" if changed or signal != "0" else "same" if ran != "0" else "not run"
    return found


def compare(path: Path) -> Outcome:
    """The analysis of one object beside the relocations and the runs."""
    found, linked = descriptor_sites(path), linked_calls(path)
    said = {site.address: "kept" if site.kept else "unsure" if site.unsure else "dead" for site in found.sites}
    runs = destroyed(path, linked)
    counts = Counter((said.get(site, "unread"), runs[site]) for site in linked)
    wrong = frozenset(site for site in linked if said.get(site) == "dead" and runs[site] == "changed")
    known = {site.address for site in found.sites}
    return Outcome(counts, linked - known, frozenset(known - linked), wrong, tuple(reason for _, reason in found.unread))
