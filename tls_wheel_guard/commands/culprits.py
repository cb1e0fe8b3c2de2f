"""The second pass over an input: only over modules with initial-exec TLS, and not at all where there is none."""

from __future__ import annotations

from collections.abc import Mapping

from tls_wheel_guard.culprits import Traced
from tls_wheel_guard.culprits.advice import trace
from tls_wheel_guard.culprits.clues import Clues, Component
from tls_wheel_guard.culprits.collect import clues_of
from tls_wheel_guard.culprits.data_files import known_culprits, vocabulary
from tls_wheel_guard.culprits.sbom import components_in
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.records import replace

__all__ = ["clues_in", "trace_clues", "trace_input"]


def trace_input(opened: OpenInput) -> dict[int, Traced]:
    """Module's index -> who brought initial-exec TLS into it, for the shared objects that have some; empty where none has."""
    return trace_clues(clues_in(opened), opened.generator)


def clues_in(opened: OpenInput) -> dict[int, Clues]:
    """Module's index -> its clues, for the shared objects with initial-exec TLS."""
    wanted = opened.contents.initial_exec
    listed = _components(opened) if wanted else ()
    needs = {name for module in opened.contents.modules for name in module.facts.needed}
    found: dict[int, Clues] = {}
    for module in wanted:
        # The first pass has read it; what tools only need may still be broken, and a file of a folder may have gone since.
        clues = opened.look(module, lambda source, m=module: clues_of(m.name, m.facts, source, vocabulary(), listed, opened.limits))  # type: ignore[misc]
        if clues is not None:
            needed = bool(needs & {module.facts.soname, module.name.rsplit("/", 1)[-1]})
            found[module.index] = replace(clues, needed_inside=needed)
    return found


def trace_clues(clues: Mapping[int, Clues], generator: str | None) -> dict[int, Traced]:
    """Module's index -> who brought initial-exec TLS into it. ``generator``: who made the wheel, by its WHEEL file."""
    return {index: trace(found, known_culprits(), generator) for index, found in clues.items()}


def _components(opened: OpenInput) -> tuple[Component, ...]:
    """What the wheel's bills of materials name."""
    return tuple(dict.fromkeys(component for text in opened.bills_of_materials() for component in components_in(text)))
