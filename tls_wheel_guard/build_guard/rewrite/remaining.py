"""What a rewritten build could not cure, and why: looked up in what the build left behind.

A module is explained by its own bytes (Go, a library that was copied in), else by the object files of the build that still
ask for initial-exec: who compiled them, when, and whether it is their own variable.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tls_wheel_guard.build_guard.products import files_below
from tls_wheel_guard.elf.relocatable import InitialExecObject, initial_exec_objects
from tls_wheel_guard.errors import UnreadableInput
from tls_wheel_guard.findings import ModuleReport
from tls_wheel_guard.inputs.files import read_regular

__all__ = ["Leftover", "explain_leftovers"]

OBJECT_SUFFIXES = (".o", ".obj", ".a", ".lo", ".os")
MAX_FILES, MAX_SIZE = 50_000, 1 << 30
"""Object files looked at, and bytes of one."""
SHOWN = 3

TRUSTED_COMPILERS = ("GCC: (", "clang version ")
"""What compilers that our settings reach write into .comment."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A module that still has initial-exec: why, and what to do."""

    module: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Object:
    path: Path
    old: bool
    facts: InitialExecObject

    def __str__(self) -> str:
        return f"{self.path.name}({self.facts.member})" if self.facts.member else self.path.name


def explain_leftovers(modules: Sequence[ModuleReport], trees: Sequence[Path], started: float) -> list[Leftover]:
    """A reason for each module. ``trees``: folders of the build; ``started``: its start, in seconds since 1970."""
    objects: list[_Object] | None = None
    found = []
    for module in modules:
        known = _by_its_own_bytes(module)
        if known is None:
            objects = list(_initial_exec_objects(trees, started)) if objects is None else objects
            known = _by_objects(objects)
        found.append(Leftover(module.path, *known))
    return found


def _by_its_own_bytes(module: ModuleReport) -> tuple[str, str] | None:
    if "Go" in module.shared_object.note_owners:
        return (
            "Go's own linker puts it there, and no setting reaches it (golang/go#54805)",
            "leave musl out of the wheel's tags, run Go as a process of its own, or allow the finding with a reason",
        )
    folder = Path(module.path).parent.name
    if folder.endswith(".libs"):
        name = module.shared_object.soname or Path(module.path).name
        return (
            "it was copied into the wheel from the system and not compiled in this build",
            f"leave it out (auditwheel repair --exclude {_without_hash(name)}), build it yourself, or allow the finding with a reason",
        )
    return None


def _without_hash(name: str) -> str:
    """A library's name as it was before auditwheel put a hash in: libgomp-24e2ab19.so.1.0.0 -> 'libgomp*'."""
    return f"'{name.partition('-')[0].partition('.so')[0]}*'"


def _initial_exec_objects(trees: Sequence[Path], started: float) -> Iterator[_Object]:
    for path in itertools.islice(_object_files(trees), MAX_FILES):
        try:
            data = read_regular(path, MAX_SIZE)
            written = path.stat().st_mtime
        except (OSError, UnreadableInput):
            # A FIFO, a link in a circle, a file that has gone: no object file.
            continue
        for facts in initial_exec_objects(data or b""):
            yield _Object(path, written < started, facts)


def _object_files(trees: Sequence[Path]) -> Iterator[Path]:
    """Those of all trees, each once: one tree may lie in another."""
    seen: set[str] = set()
    for tree in trees:
        for path in files_below(tree):
            real = os.path.realpath(path)
            if path.name.endswith(OBJECT_SUFFIXES) and real not in seen:
                seen.add(real)
                yield Path(real)


def _by_objects(objects: Sequence[_Object]) -> tuple[str, str]:
    """The most telling reason among the build's objects: what is old explains more than what is new."""
    groups: dict[str, list[_Object]] = {}
    for found in objects:
        groups.setdefault(_kind(found), []).append(found)
    for kind, (why, hint) in REASONS.items():
        if kind in groups:
            names = list(dict.fromkeys(str(found) for found in groups[kind]))
            listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            compilers = sorted({line for found in groups[kind] for line in found.facts.compilers})
            return why.format(objects=listed, compilers=", ".join(compilers)), hint
    return REASONS_WITHOUT_OBJECTS


def _kind(found: _Object) -> str:
    compilers = found.facts.compilers
    if found.old:
        return "prebuilt" if found.path.suffix == ".a" else "old"
    if not compilers:
        return "assembler"
    if not any(line.startswith(TRUSTED_COMPILERS) for line in compilers):
        return "unknown"
    return "unreached" if found.facts.own else "not-pic"


REASONS = {
    "prebuilt": (
        "{objects} was compiled before this build, and no setting changes what is compiled",
        "build that archive with -ftls-model=global-dynamic as the last such flag, or from source in this build",
    ),
    "old": ("{objects} is left from an earlier build", "remove the products of earlier builds, then build again"),
    "assembler": (
        "{objects} was written in assembler, which has the access model built in",
        "choose the variant in C where the project has one, or allow the finding with a reason",
    ),
    "unknown": ("{objects} was compiled by a compiler that the settings do not reach ({compilers})", "build with gcc or clang"),
    "not-pic": (
        "{objects} was compiled without -fPIC, and such code reaches the variables of others by initial-exec only",
        "compile it with -fPIC: POSITION_INDEPENDENT_CODE ON in CMake, pic : true in meson, --with-pic for configure",
    ),
    "unreached": (
        "{objects} was compiled out of reach of the settings ({compilers}), as in a container or with a cleared environment",
        "name the compiler in CC and CXX, and run tls-wheel-guard where the compiler runs",
    ),
}
"""Kind of object -> why initial-exec is left, and what to do; the first that applies is told."""
REASONS_WITHOUT_OBJECTS = (
    "no object file of this build has it: it comes from a static library of the system, or was compiled where this build can't look",
    "link with -Wl,-Map=FILE to see which object brings it, and build that one with -ftls-model=global-dynamic",
)
