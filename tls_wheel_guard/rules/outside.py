"""Rules about modules of another machine than the wheel's tags name, and about libraries outside the wheel."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.rules.input import RuleInput, hints
from tls_wheel_guard.rules.phrases import bytes_of, describe_target

__all__ = ["foreign_machine", "needed"]


def needed(case: RuleInput) -> Iterator[Finding]:
    """Libraries of this machine that a module needs from outside and that ask for static TLS."""
    for library in case.needed_outside:
        yield Finding(
            "needed-initial-exec",
            "note",
            library.needed_by,
            (
                (
                    f"it needs {library.library}, which is not among these files: on this machine {library.path} asks for"
                    f" {bytes_of(library.size)} of static TLS by initial-exec, and the import fails where others took the room."
                ),
            ),
            hints(
                f"nothing in the wheel cures it: it comes with each system's {library.library}; tls-wheel-guard simulate --python EXE counts it",
                module=library.needed_by,
                rule="needed-initial-exec",
            ),
            relocs_total=library.relocations,
        )


def foreign_machine(case: RuleInput) -> Iterator[Finding]:
    """Modules of a machine that no tag of the wheel names, and targets of a machine that no module has."""
    promised = {t.machine for t in case.tagged if t.has_static_tls}
    if promised and None not in promised:
        for module in case.shared:
            if module.demand.machine not in promised:
                names = ", ".join(sorted(str(machine) for machine in promised))
                yield Finding(
                    "foreign-machine",
                    "note",
                    module.path,
                    (f"it is for {module.demand.machine}, and the wheel's tags are for {names}: no target of the wheel loads it.",),
                    hints("leave it out, or put it into a wheel of its own machine", module=module.path, rule="foreign-machine"),
                )
    there = {m.demand.machine for m in case.shared}
    for target in case.asked:
        if there and target.machine is not None and target.has_static_tls and target.machine not in there:
            yield Finding(
                "foreign-machine",
                "note",
                None,
                (f"{describe_target(target)} judged nothing: no module of this machine; there are {', '.join(sorted(there))}.",),
                hints("give --target a tag of the modules' machine", module=None, rule="foreign-machine"),
                targets=(target.tag,),
            )
