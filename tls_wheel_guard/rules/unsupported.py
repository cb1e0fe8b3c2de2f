"""Rules about what a loader, or the guard, can't read."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.rules.input import RuleInput, hints
from tls_wheel_guard.rules.phrases import bytes_of, sentences

__all__ = ["unknown_machine", "unreadable", "unsupported"]


def unsupported(case: RuleInput) -> Iterator[Finding]:
    """TLS segments where the loader refuses any."""
    for module in case.shared:
        refusing = [v for v in module.verdicts if v.outcome.reason == "segment"]
        if refusing:
            yield Finding(
                "unsupported-elf-tls",
                "error",
                module.path,
                (
                    f"it has a TLS segment of {bytes_of(module.demand.block_size)}, and the loader refuses any in a late library.",
                    *sentences(refusing),
                ),
                hints(
                    "compile with -femulated-tls for this system, or promise Android 29 and newer", module=module.path, rule="unsupported-elf-tls"
                ),
                tuple(refusing),
                tuple(v.target.tag for v in refusing),
            )  # fmt: skip


def unknown_machine(case: RuleInput) -> Iterator[Finding]:
    """Shared objects of a machine without a row in the table."""
    for module in case.modules:
        facts = module.shared_object
        if module.kind == "shared" and facts.machine is None:
            order = "little" if facts.little_endian else "big"
            yield Finding(
                "unknown-machine",
                "error" if case.thresholds.strict else "warning",
                module.path,
                (
                    (
                        f"{_machine_words(facts.e_machine)} ({facts.bits}-bit, {order}-endian) has no row in the table of relocations: whether"
                        " it asks for static TLS is not known."
                    ),
                ),
                hints("look at `readelf -Wr` for TPOFF or TPREL relocations", module=module.path, rule="unknown-machine"),
            )


def _machine_words(e_machine: int) -> str:
    # pyelftools knows the registry's names; its import costs 30 ms, and hardly any wheel needs it.
    from elftools.elf.enums import ENUM_E_MACHINE  # noqa: PLC0415

    name = next((name for name, number in ENUM_E_MACHINE.items() if number == e_machine), None)
    return f"machine {name}" if name else f"e_machine {e_machine}"


def unreadable(case: RuleInput) -> Iterator[Finding]:
    """Members that could not be read in part or whole."""
    step = "build the wheel again" if case.one_process else "check that you may read it, and install again what is damaged"
    for path, reason in case.unreadable:
        yield Finding(
            "unreadable-module",
            "error" if case.thresholds.strict else "warning",
            path,
            (f"it can't be judged: {reason}.",),
            hints(f"{step}; if it is meant to be so", module=path, rule="unreadable-module"),
        )
