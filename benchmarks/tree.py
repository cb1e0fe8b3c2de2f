#!/usr/bin/env python3
"""``check --tree`` on a real folder, and each of its facts about initial-exec TLS beside GNU readelf.

usage: python -m benchmarks.tree [FOLDER] (default: /usr)

For every ELF file that the guard reports: the initial-exec relocations by name and number, those of other modules' variables, the TLS
segment and the flag, as readelf prints them. A finding is true where these are the same; a file where readelf counts initial-exec
relocations and the guard has no finding would be a miss. Ends with 1 on any difference.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.speed import machine
from tests.support import readelf

SAID = {"initial-exec-tls", "foreign-initial-exec"}


def compare(root: Path, module: dict[str, Any], rules: set[str]) -> list[str]:
    """What is not the same for one module."""
    if module["kind"] in ("debug", "object"):
        # readelf lists the sections of these; a loader never sees them.
        return []
    truth = readelf.read(root / module["path"])
    own, tls = module["initial_exec"], module["tls_segment"]
    wrong = []
    if own["types"] != truth.of_kind("TPOFF") or own["foreign"] != sum(truth.foreign.values()):
        wrong.append(f"initial-exec: guard {own['types']}, {own['foreign']} foreign; readelf {truth.of_kind('TPOFF')}, {truth.foreign}")
    if (tls and (tls["filesz"], tls["memsz"], tls["align"])) != truth.tls:
        wrong.append(f"TLS segment: guard {tls}, readelf {truth.tls}")
    if module["df_static_tls"] != truth.static_tls:
        wrong.append("DF_STATIC_TLS")
    if module["kind"] == "shared" and bool(truth.of_kind("TPOFF")) != bool(rules & SAID):
        wrong.append(f"readelf counts {truth.of_kind('TPOFF')}, findings {sorted(rules)}")
    return wrong


def main() -> int:
    """Check the tree, compare, print."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        command = [sys.executable, "-m", "tls_wheel_guard", "check", "--no-config", "--tree", "--format", "json", "-o", str(out), str(root)]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        (wheel,) = json.loads(out.read_text(encoding="utf-8"))["wheels"]
    rules: dict[str, set[str]] = collections.defaultdict(set)
    for finding in wheel["findings"]:
        rules[finding["module"]].add(finding["rule"])
    kinds = collections.Counter(module["kind"] for module in wheel["modules"])
    size = sum(os.path.getsize(root / module["path"]) for module in wheel["modules"])  # noqa: PTH202  (one call)
    print(f"{machine()}.\n")
    print(
        f"{root}: exit code {process.returncode}, {usage.ru_utime + usage.ru_stime:.1f} s of CPU time, {usage.ru_maxrss / 1024:.0f} MB, "
        f"{len(wheel['modules'])} ELF files of {size / 1e6:,.0f} MB ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})."
    )
    print("Findings: " + ", ".join(f"{n} {rule}" for rule, n in collections.Counter(f["rule"] for f in wheel["findings"]).most_common()) + ".")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda module: compare(root, module, rules[module["path"]]), wheel["modules"]))
    differ = [(module["path"], wrong) for module, wrong in zip(wheel["modules"], results, strict=True) if wrong]
    print(f"Beside readelf: {len(results) - kinds['debug'] - kinds['object']} files compared, {len(differ)} differ.")
    for path, wrong in differ[:20]:
        print(f"  {path}: {'; '.join(wrong)}")
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())
