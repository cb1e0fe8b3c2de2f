"""``index`` over real wheels: verdicts beside ``check``, and what was read, by kind of wheel. Twice: many ranges in one request, and one."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.index_runs import run, served, told
from benchmarks.markdown import heading, row
from tls_wheel_guard.commands.check import check_wheel

__all__ = ["SERVERS", "agreement", "kind_of"]

SERVERS = {"answers many ranges at once": "", "answers one range a request": "max_ranges 1;"}
KINDS = {
    "clear": "clear by its members' beginnings",
    "part": "some members whole, the others by their beginnings",
    "whole": "whole",
    "small": "whole, since it has less than 128 KB",
}
Entries = dict[str, dict[str, Any]]


def agreement(wheels: list[Path]) -> None:
    """Verdicts and culprits equal to check's; bytes and requests."""
    expected = {w.name: told(check_wheel(w).to_dict()) for w in wheels}
    for server, settings in SERVERS.items():
        with served(wheels, settings) as (url, root):
            before = time.process_time(), time.monotonic()
            done = run(url)
            spent = time.process_time() - before[0], time.monotonic() - before[1]
            requests = Counter(re.findall(r"GET /files/(\S+) ", (root / "access.log").read_text()))
            found = {entry["wheel"]: entry for entry in done.store.entries(done.run)}
            done.store.close()
        differ = [w.name for w in wheels if "error" in found[w.name] or told(found[w.name]) != expected[w.name]]
        print(f"\nA server that {server}: {len(differ)} of {len(wheels)} verdicts differ from `check`{''.join(f', {name}' for name in differ)}.")
        print(f"{spent[1]:.0f} seconds, {spent[0]:.0f} of the CPU.\n")
        _table(wheels, found, requests)


def _table(wheels: list[Path], found: Entries, requests: Counter[str]) -> None:
    heading("read", "wheels", "MB", "MB read", "bytes read", "of all bytes", "requests a wheel")
    total = sum(w.stat().st_size for w in wheels)
    for kind, words in KINDS.items():
        for finding in (False, True):
            some = [w for w in wheels if kind_of(w, found[w.name]) == kind and bool(found[w.name].get("findings")) == finding]
            if some:
                _row(f"{words}; {'with' if finding else 'no'} finding", some, found, requests, total)
    _row("all", wheels, found, requests, total)


def _row(words: str, some: list[Path], found: Entries, requests: Counter[str], total: int) -> None:
    whole, read = sum(w.stat().st_size for w in some), sum(found[w.name].get("bytes_read", 0) for w in some)
    asked = sum(requests[w.name] for w in some) / len(some)
    row(words, len(some), f"{whole / 1e6:,.1f}", f"{read / 1e6:,.1f}", f"{read / whole:.1%}", f"{read / total:.1%}", f"{asked:.1f}")


def kind_of(wheel: Path, entry: dict[str, Any]) -> str:
    """How a wheel was read."""
    if wheel.stat().st_size <= 128 << 10:
        return "small"
    if entry.get("read") != "ranges":
        return "whole"
    return "clear" if all(module.get("screening") == "clear" for module in entry["modules"]) else "part"
