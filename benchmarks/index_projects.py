"""Well-known projects under ``index``, and beside `pip download` from the same index with ``check`` afterwards."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.index_agreement import SERVERS
from benchmarks.index_runs import run, served, told
from benchmarks.markdown import heading, row
from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.inputs.wheel import wheel_tags

__all__ = ["projects"]

RATES = {"no limit": "", "12.5 MB/s a connection": "limit_rate 12500k;"}


def projects(wheels: list[Path]) -> None:
    """Well-known projects: what `index` finds, beside `check` on the files; then beside pip and `check`."""
    expected = {w.name: told(check_wheel(w).to_dict()) for w in wheels}
    with served(wheels) as (url, root):
        done = run(url)
        requests = _files(root)[0]
        found = {entry["wheel"]: entry for entry in done.store.entries(done.run)}
        done.store.close()
    differ = sum("error" in found[name] or told(found[name]) != entry for name, entry in expected.items())
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
    print(f"\n{differ} wheels differ from `check`; {read / whole:.1%} of {whole / 1e6:,.1f} MB were read.")
    print(f"{requests / len(wheels):.1f} requests a wheel.\n")
    beside_pip(wheels)


def beside_pip(wheels: list[Path]) -> None:
    """Commands as a user types them, against one nginx: seconds of each, and the bytes that the server sent."""
    heading("server", "rate", "what", "seconds", "MB sent", "requests")
    for rate, limit in RATES.items():
        with served(wheels, limit) as (url, root), tempfile.TemporaryDirectory() as folder:
            fetched = sum(_seconds([sys.executable, "-m", "pip", *words]) for words in _downloads(wheels, url, folder))
            judged = _seconds([sys.executable, "-m", "tls_wheel_guard", "check", folder, "--no-config", "--fail-on", "never", "--format", "json"])
            count, size = _files(root)
            missing = {w.name for w in wheels} - {w.name for w in Path(folder).iterdir()}
            row("any", rate, f"`pip download`, then `check`{f'; {len(missing)} missing' if missing else ''}", f"{fetched:.0f} + {judged:.0f}",
                f"{size / 1e6:,.1f}", count)  # fmt: skip
        for server, settings in SERVERS.items():
            with served(wheels, limit + settings) as (url, root):
                command = ["index", url, "--latest", "0", "--no-config", "--fail-on", "never", "--format", "json", "-q"]
                seconds = _seconds([sys.executable, "-m", "tls_wheel_guard", *command])
                count, size = _files(root)
                row(server, rate, "`index`", f"{seconds:.0f}", f"{size / 1e6:,.1f}", count)


def _files(root: Path) -> tuple[int, int]:
    """Requests for wheels and bytes of their bodies, by nginx's log."""
    time.sleep(0.2)  # it is written after the answer
    sent = re.findall(r'"GET /files/[^"]*" \d+ (\d+)', (root / "access.log").read_text())
    return len(sent), sum(map(int, sent))


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started


def _downloads(wheels: list[Path], url: str, folder: str) -> list[list[str]]:
    """Words for pip: of each project one release for one system at a time."""
    groups: list[dict[str, Path]] = []
    for wheel in wheels:
        project = wheel.name.split("-")[0]
        fits = (g for g in groups if project not in g and {_system(other) for other in g.values()} == {_system(wheel)})
        group = next(fits, None)
        if group is None:
            groups.append(group := {})
        group[project] = wheel
    return [_words(list(group.values()), url, folder) for group in groups]


def _system(wheel: Path) -> tuple[bool, bool]:
    return "musllinux" in wheel.name, "aarch64" in wheel.name


def _words(wheels: list[Path], url: str, folder: str) -> list[str]:
    platforms = sorted({tag.split("-", 2)[2] for wheel in wheels for tag in wheel_tags(wheel.name)})
    return [
        "download", "-q", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--only-binary=:all:", "--index-url", url, "-d", folder,
        "--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "abi3", "--abi", "none",
        *(word for platform in platforms for word in ("--platform", platform)),
        *("==".join(wheel.name.split("-")[:2]) for wheel in wheels),
    ]  # fmt: skip
