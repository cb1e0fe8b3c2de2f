"""Well-known projects under ``index``, beside ``check`` on the same files."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from benchmarks.index_runs import run, served, told
from benchmarks.markdown import heading, row
from tls_wheel_guard.commands.check import check_wheel

__all__ = ["projects"]


def projects(wheels: list[Path]) -> None:
    """Well-known projects: what `index` finds, beside `check` on the files."""
    with served(wheels) as (url, root):
        started = time.monotonic(), time.process_time()
        done = run(url)
        by_index = time.monotonic() - started[0], time.process_time() - started[1]
        requests = (root / "access.log").read_text().count("/files/")
        found = {entry["wheel"]: entry for entry in done.store.entries(done.run)}
    started = time.monotonic(), time.process_time()
    expected = {w.name: check_wheel(w).to_dict() for w in wheels}
    by_check = time.monotonic() - started[0], time.process_time() - started[1]
    differ = sum("error" in found[name] or told(found[name]) != told(entry) for name, entry in expected.items())
    of_project: dict[str, list[Path]] = {}
    for wheel in wheels:
        of_project.setdefault("-".join(wheel.name.split("-")[:2]), []).append(wheel)
    heading("project", "wheels", "MB", "read by ranges", "bytes read", "findings", "culprits")
    for name, some in sorted(of_project.items()):
        entries = [found[w.name] for w in some]
        whole, read = sum(w.stat().st_size for w in some), sum(e["bytes_read"] for e in entries)
        findings = Counter(f"{f['rule']} ({f['severity']})" for e in entries for f in e.get("findings", ()))
        culprits = sorted({f"{c['id']} ({c['confidence']})" for e in entries for f in e.get("findings", ()) for c in f["culprits"]})
        said = ", ".join(f"{number} {rule}" for rule, number in sorted(findings.items())) or "none"
        ranges = sum(e["read"] == "ranges" for e in entries)
        row(name, len(some), f"{whole / 1e6:.1f}", ranges, f"{read / whole:.1%}", said, ", ".join(culprits) or "-")
    whole, read = sum(w.stat().st_size for w in wheels), sum(e["bytes_read"] for e in found.values())
    print()
    heading("what", "`index` over HTTP", "`check` on the files")
    row("wheels that differ", differ, "-")
    row("bytes read", f"{read / 1e6:,.1f} MB", f"{whole / 1e6:,.1f} MB, all of them downloaded before")
    row("requests a wheel", f"{requests / len(wheels):.1f}", "-")
    row("seconds, CPU seconds", *(f"{wall:.0f}, {cpu:.0f}" for wall, cpu in (by_index, by_check)))
