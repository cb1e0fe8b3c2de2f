"""The second pass over a file: only where a module has initial-exec TLS, and only over those modules."""

from __future__ import annotations

from pathlib import Path

from tls_wheel_guard.archive import Archive
from tls_wheel_guard.culprits import Traced
from tls_wheel_guard.culprits.advice import trace
from tls_wheel_guard.culprits.clues import Clues, Component
from tls_wheel_guard.culprits.collect import clues_of
from tls_wheel_guard.culprits.data_files import known_culprits, vocabulary
from tls_wheel_guard.culprits.sbom import components_in
from tls_wheel_guard.elf import SharedObject, Source
from tls_wheel_guard.errors import MalformedElf, UnreadableMember, UnreadableWheel
from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.wheel import opened_modules
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

__all__ = ["trace_file"]

MAX_SBOM = 64 << 20
"""Bytes of one bill of materials that is read."""
MAX_SBOMS = 64


def trace_file(path: Path, contents: Contents, limits: Limits = DEFAULT_LIMITS) -> dict[str, Traced]:
    """Module's path -> who brought initial-exec TLS into it, for the shared objects that have some; empty where none has."""
    wanted = [(name, facts) for name, facts in contents.modules if facts.kind == "shared" and facts.initial_exec.count]
    if not wanted:
        return {}
    found: dict[str, Traced] = {}
    with opened_modules(path, contents, wanted, limits) as (sources, archive):
        listed, generator = _of_wheel(archive) if archive is not None else ((), None)
        for name, facts, source in sources:
            clues = _clues(name, facts, source, listed, limits)
            if clues is not None:
                found[name] = trace(clues, known_culprits(), generator)
    return found


def _clues(name: str, facts: SharedObject, source: Source, listed: tuple[Component, ...], limits: Limits) -> Clues | None:
    try:
        return clues_of(name, facts, source, vocabulary(), listed, limits)
    except (MalformedElf, UnreadableMember):
        # The first pass has read it; what tools only need may still be broken.
        return None


def _of_wheel(archive: Archive) -> tuple[tuple[Component, ...], str | None]:
    """What the wheel's bills of materials name, and who made it, by WHEEL's Generator."""
    found: dict[Component, None] = {}
    boms = [m for m in archive.members() if ".dist-info/sboms/" in m.name and m.name.endswith(".json") and m.size <= MAX_SBOM]
    for member in boms[:MAX_SBOMS]:
        try:
            found.update(dict.fromkeys(components_in(archive.source(member).read(0, member.size))))
        except (MalformedElf, UnreadableMember):
            continue
    try:
        text = archive.text("WHEEL") or ""
    except (MalformedElf, UnreadableMember, UnreadableWheel):
        text = ""
    generator = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Generator:")), None)
    return tuple(found), generator
