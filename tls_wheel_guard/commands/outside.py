"""Files beside those that a simulation was given: what the process has from its start, and the libraries that DT_NEEDED names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.errors import InputReadError, UnreadableInput
from tls_wheel_guard.inputs.host_libraries import library_at
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import Limits
from tls_wheel_guard.records import dataclass, field

__all__ = ["MAX_LIBRARIES", "Outside", "found_outside"]

MAX_LIBRARIES = 4096
"""Libraries that are opened for one simulation; what else is needed is assumed."""


@dataclass(slots=True)
class Outside:
    """Files beside those that were given. ``at_start``: mapped when the process started; ``needed``: found for a DT_NEEDED."""

    at_start: list[OpenInput] = field(default_factory=list)
    needed: list[OpenInput] = field(default_factory=list)


def found_outside(inputs: Mapping[Path, OpenInput], start: Iterable[str], folders: tuple[str, ...], limits: Limits, stack: ExitStack) -> Outside:
    """The files that a process has from its start, and those that its modules need in turn, breadth first.

    ``start``: paths of the first; ``folders``: where libraries are looked for beside a module's own search path. What is not there, is of
    another machine or can't be read is left out, and so assumed. All are open until ``stack`` ends.
    """
    found = Outside()
    given = [(module.facts, str(path)) for path, opened in inputs.items() for module in opened.contents.modules]
    machines = {facts.machine for facts, _ in given}
    known = {name for facts, path in given for name in (facts.soname, path.rsplit("/", 1)[-1])}
    known |= {module.name.rsplit("/", 1)[-1] for opened in inputs.values() for module in opened.contents.modules}
    for path in start:
        if (opened := _opened(Path(path), limits, stack)) is not None:
            found.at_start.append(opened)
            known |= _names(opened)
    queue = [*given, *((opened.contents.modules[0].facts, opened.path) for opened in found.at_start)] if folders else []
    for facts, user in queue:
        for library in facts.needed:
            if library in known or len(found.needed) >= MAX_LIBRARIES:
                continue
            known.add(library)
            opened = _library(library, user, facts, folders, limits, stack)
            if opened is not None and opened.contents.modules[0].facts.machine in machines:
                found.needed.append(opened)
                known |= _names(opened)
                queue.append((opened.contents.modules[0].facts, opened.path))
    return found


def _library(library: str, user: str, facts: SharedObject, folders: tuple[str, ...], limits: Limits, stack: ExitStack) -> OpenInput | None:
    path = library_at(library, user, facts, folders)
    return _opened(path, limits, stack) if path is not None else None


def _opened(path: Path, limits: Limits, stack: ExitStack) -> OpenInput | None:
    """A file that holds one ELF module; None for anything else."""
    with ExitStack() as own:
        try:
            opened = own.enter_context(open_input(path, limits))
            if opened.contents.is_archive or not opened.contents.modules:
                return None
        except (UnreadableInput, InputReadError):
            return None
        stack.push(own.pop_all())
        return opened


def _names(opened: OpenInput) -> set[str | None]:
    return {opened.contents.modules[0].facts.soname, opened.name}
