#!/usr/bin/env python3
"""Compare what the guard reads with a file of truths about the same wheels, field by field.

usage: agreement.py --truth TRUTH.jsonl WHEELS-FOLDER [--max-mb N]

A truth is a JSON line a wheel: {"wheel", "sha256", "members": [{"member", ...}]}, each field as GNU readelf prints it. Wheels
that are in the folder and in the file are compared; it exits 1 on any difference, and on findings of warning or above in wheels
that have no initial-exec relocation in a shared object; those about a module's descriptors are counted apart. Fields ending in
_dlopen hold what a real dlopen said of the member.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tls_wheel_guard.commands.check import check_path
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.findings import ModuleReport, Report

MACHINES = {
    3: "Intel 80386", 8: "MIPS R3000", 20: "PowerPC", 21: "PowerPC64", 22: "IBM S/390", 40: "ARM", 43: "Sparc v9",
    62: "Advanced Micro Devices X86-64", 183: "AArch64", 190: "NVIDIA CUDA architecture", 243: "RISC-V", 247: "Linux BPF", 258: "LoongArch",
}  # fmt: skip
OSABIS = {
    0: "UNIX - System V",
    2: "UNIX - NetBSD",
    3: "UNIX - GNU",
    6: "UNIX - Solaris",
    9: "UNIX - FreeBSD",
    12: "UNIX - OpenBSD",
}
TYPES = {0: "NONE", 1: "REL", 2: "EXEC", 3: "DYN", 4: "CORE"}
JUDGEMENTS = {"culprit"}
STATIC_TLS_WORDS = ("static TLS block", "initial-exec TLS resolves to dynamic definition")


def readelf_kind(module: ModuleReport) -> str:
    """The kind as the truth spells it."""
    if module.kind == "program":
        return "exec" if module.shared_object.e_type == 2 else "pie"
    return {"object": "reloc"}.get(module.kind, module.kind)


def facts(module: ModuleReport) -> dict[str, Any]:
    """A module's facts under the truth's names."""
    so, ie = module.shared_object, module.shared_object.initial_exec
    tls = so.tls_segment
    return {
        "member": module.path,
        "size": so.size,
        "machine": MACHINES.get(so.e_machine, str(so.e_machine)),
        "class": so.bits,
        "data": f"2's complement, {'little' if so.little_endian else 'big'} endian",
        "osabi": OSABIS.get(so.osabi, str(so.osabi)),
        "kind": readelf_kind(module),
        "e_type": TYPES.get(so.e_type, str(so.e_type)),
        "soname": so.soname,
        "needed": list(so.needed),
        "has_interp": so.interpreter is not None,
        "df_1_pie": so.df_1_pie,
        "df_static_tls": so.df_static_tls,
        "pt_tls": {"filesz": tls.filesz, "memsz": tls.memsz, "align": tls.align} if tls else None,
        "n_ie": ie.count,
        "ie_types": dict(ie.types),
        "ie_defined": ie.defined,
        "ie_undef": ie.foreign,
        "ie_nosym": ie.no_symbol,
        "ie_undef_names": {symbol.versioned_name: count for symbol, count in ie.foreign_symbols},
        "ie_addends": sorted(f"{addend:x}" for addend in ie.addends),
        "n_tlsdesc": so.dynamic.tlsdesc,
        "n_dtpmod": so.dynamic.dtpmod,
        "n_dyn_relocs": so.dynamic_relocations,
        "n_relr_relative": so.relr_relative,
        "has_section_headers": so.has_section_headers,
        "textrel": so.textrel,
    }


def compare(report: Report, truth: dict[str, Any]) -> list[str]:
    """All differences of one wheel, a line each."""
    if report.error is not None:
        return [f"{report.wheel}: {report.error}"]
    wanted = [dict(member) for member in truth["members"]]
    found = [facts(module) for module in report.modules]
    lines = []
    for member in wanted:
        match = next((f for f in found if f["member"] == member["member"]), None)
        if match is None:
            lines.append(f"{report.wheel}: {member['member']}: missing")
            continue
        found.remove(match)
        for name, value in member.items():
            if name not in JUDGEMENTS and not name.endswith("_dlopen") and (name not in match or match[name] != value):
                lines.append(f"{report.wheel}: {member['member']}: {name}: truth {value!r}, guard {match.get(name)!r}")
    return lines + [f"{report.wheel}: {f['member']}: extra" for f in found]


def verdicts(report: Report, truth: dict[str, Any], tally: Counter[str]) -> list[str]:
    """Differences between verdicts and what a real dlopen said; what says nothing about TLS is counted as not usable."""
    lines = []
    by_path = {module.path: module for module in report.modules}
    for member in truth["members"]:
        for name, said in member.items():
            if not name.endswith("_dlopen"):
                continue
            loads = said == "LOADED"
            if not loads and not any(words in said for words in STATIC_TLS_WORDS) and "initial-ex" not in said:
                # A truth may be cut short, so "initial-ex" is all that is sure to be left of musl's words.
                tally[f"not usable: {re.sub(r'/[^ ]*', 'FILE', said)[:60]}"] += 1
                continue
            libc = name.split("_", 1)[0]
            judged = [v for v in by_path[member["member"]].verdicts if v.target.libc == libc]
            tally[f"{libc} {'loaded' if loads else 'refused for static TLS'}"] += 1
            # A module without a verdict is a program or was judged for another libc only.
            if not judged:
                tally[f"{libc}: not judged for it"] += 1
            elif any(v.refuses for v in judged) == loads:
                lines.append(f"{report.wheel}: {member['member']}: {name} {said[:90]!r}, guard {judged[0].verdict}")
    return lines


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--max-mb", type=float, default=float("inf"))
    options = parser.parse_args()
    started, tally = time.process_time(), Counter[str]()
    differences: list[str] = []
    for line in options.truth.read_text().splitlines():
        truth = json.loads(line)
        path = options.folder / truth["wheel"]
        if truth["size"] > options.max_mb * 1e6:
            continue
        if not path.exists():
            tally["wheels that are not in the folder"] += 1
            continue
        report = check_path(path, Config())
        tally["wheels"] += 1
        tally["members"] += len(truth["members"])
        before = len(differences)
        differences += compare(report, truth)
        tally["members that agree in every field"] += len(truth["members"]) - len({d.split(": ")[1] for d in differences[before:]})
        differences += verdicts(report, truth, tally)
        has_ie = any(member["n_ie"] for member in truth["members"] if member["kind"] == "shared")
        unfounded = () if has_ie else tuple(f for f in report.findings if f.severity != "note")
        by_descriptors = {m.path for m in report.modules if m.shared_object.dynamic.tlsdesc}
        tally["findings about descriptors"] += sum(f.module in by_descriptors for f in unfounded)
        differences += [
            f"{report.wheel}: {f.module}: {f.severity} {f.rule} without initial-exec" for f in unfounded if f.module not in by_descriptors
        ]
    print("\n".join(differences))
    for name, count in sorted(tally.items()):
        print(f"{count:6} {name}")
    print(f"{len(differences):6} differences, {time.process_time() - started:.1f} s of CPU time")
    return 1 if differences or not tally["wheels"] else 0


if __name__ == "__main__":
    sys.exit(main())
