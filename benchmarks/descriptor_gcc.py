#!/usr/bin/env python3
"""Descriptor calls of random C and C++ beside the vector registers that gcc itself holds live there: for docs/proofs/descriptors.md."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.markdown import heading, row  # noqa: E402
from tests.support.descriptor_truth import build, descriptor_sites, linked_calls  # noqa: E402
from tests.support.gcc_live import Live, live_sets, plugin, plugin_flags  # noqa: E402
from tls_wheel_guard.elf import BytesSource  # noqa: E402
from tls_wheel_guard.machine_code import read_code  # noqa: E402
from tls_wheel_guard.machine_code.code import Code  # noqa: E402
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSite  # noqa: E402
from tls_wheel_guard.machine_code.disassembly import LineDecoder  # noqa: E402

OPTIONS = (("-O0",), ("-O1",), ("-O2",), ("-O3",), ("-Os",), ("-O3", "-march=x86-64-v3"), ("-O3", "-march=x86-64-v4"))
BUILDS = (
    *(("gcc", *options, "-fno-ipa-ra") for options in OPTIONS),
    *(("g++", *options, "-fno-ipa-ra") for options in OPTIONS[::2]),
    *(("gcc", *options) for options in OPTIONS[1:5]),
)
"""With -fipa-ra, gcc's default, a function's calls also keep what its callers have in registers, of which its own live sets say nothing."""
MERGING = re.compile("v?(cvt(t?s[ds]|si|usi)2s[ds]|sqrts[sd]|rounds[sd]|rcpss|rsqrtss)")
FOLLOWED = 512
"""Bytes of code that are looked at behind a call."""
SAYS = ("live", "dead")
KINDS = ("kept", "unsure", "dead")


class Compared(NamedTuple):
    """``counts``: (what gcc says, what the analysis says) -> sites. ``more``: sites that keep what gcc calls dead. ``unpaired``: sites.

    ``merged``: sites that are dead here and live for gcc by registers alone whose next use is the target of a conversion: gcc counts what
    the conversion leaves of it as used, and nothing reads that.
    """

    counts: Counter[tuple[str, str]]
    more: int
    unpaired: int
    merged: int


def compare(path: Path, live: Live) -> Compared:
    """One object beside gcc's sets of its calls."""
    sites = {site.address: site for site in descriptor_sites(path).sites}
    counts: Counter[tuple[str, str]] = Counter()
    more = merged = 0
    code = read_code(BytesSource(path.read_bytes()), "x86_64")
    for address, registers in live.items():
        site = sites.get(address)
        said = kind_of(site) if site is not None else "unread"
        counts["live" if registers else "dead", said] += 1
        kept = {f"xmm{name[3:]}" if name[1:3] == "mm" else name for name in (site.kept if site is not None else ())}
        more += not kept <= registers
        merged += said == "dead" and bool(registers) and all(_only_merged(code, address, register) for register in registers)
    return Compared(counts, more, len(linked_calls(path) - live.keys()), merged)


def _only_merged(code: Code, address: int, register: str) -> bool:
    """Whether the next instruction that names a register behind a call is a conversion or a root into it, or with VEX beside it."""
    for line in LineDecoder("x86_64").decode(code.at(address, FOLLOWED), address):
        if re.search(rf"\b[xyz]{register[1:]}\b", line.operands):
            merged = line.operands.startswith(f"{register}, ") or f", {register}, " in line.operands
            return bool(MERGING.fullmatch(line.mnemonic)) and merged
    return False


def kind_of(site: DescriptorSite) -> str:
    """What the analysis says of a site, in one word."""
    return "kept" if site.kept else "unsure" if site.unsure else "dead"


def _measured(made: Path, functions: int, work: tuple[int, tuple[str, ...]]) -> Compared:
    seed, command = work
    with tempfile.TemporaryDirectory() as name:
        sets = Path(name) / "live"
        path = build(Path(name), seed, functions, (*command, *plugin_flags(made, sets)))
        return compare(path, live_sets(path, sets))


def main() -> int:
    """Print the table; 1 where the analysis calls a site kept at which gcc keeps nothing, or dead where gcc keeps something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=2, help="programs of each build")
    parser.add_argument("--functions", type=int, default=24, help="functions of each program")
    arguments = parser.parse_args()
    made = plugin()
    works = [(arguments.seed + 100 * number + n, command) for number, command in enumerate(BUILDS) for n in range(arguments.programs)]
    total: Counter[str] = Counter()
    wrong = False
    kinds = (f"gcc {says}: {kind}" for says in SAYS for kind in KINDS)
    heading("build", "sites", *kinds, "of these merged", "unread", "not paired", "kept more than gcc")
    with ProcessPoolExecutor(2) as pool:
        results = pool.map(partial(_measured, made, arguments.functions), works)
        for command in BUILDS:
            cells = _cells([next(results) for _ in range(arguments.programs)])
            row("`" + " ".join(command) + "`", *cells.values())
            total.update(cells)
            wrong |= cells["gcc live: dead"] != cells["merged"] or bool(cells["gcc dead: kept"])
    row("**all**", *total.values())
    return 1 if wrong else 0


def _cells(found: list[Compared]) -> dict[str, int]:
    counts = sum((one.counts for one in found), Counter[tuple[str, str]]())
    unpaired = sum(one.unpaired for one in found)
    return {
        "sites": counts.total() + unpaired,
        **{f"gcc {says}: {kind}": counts[says, kind] for says in SAYS for kind in KINDS},
        "merged": sum(one.merged for one in found),
        "unread": sum(counts[says, "unread"] for says in SAYS),
        "not paired": unpaired,
        "kept more": sum(one.more for one in found),
    }


if __name__ == "__main__":
    sys.exit(main())
