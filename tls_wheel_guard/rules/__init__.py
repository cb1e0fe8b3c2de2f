"""The rules: facts and verdicts in, findings out. One function a rule; its name is the same on the command line and in the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.rules import access, descriptors, grafted, outside, repaired, room, unsupported
from tls_wheel_guard.rules.input import DEFAULTS, Graft, LiveProcess, RuleInput, Thresholds, Unreadable

__all__ = ["DEFAULTS", "RULES", "Graft", "LiveProcess", "Rule", "RuleInput", "Thresholds", "Unreadable", "run_rules"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's name, what it finds in one line, its default severity in words, and the function that finds it."""

    name: str
    summary: str
    severity: str
    check: Callable[[RuleInput], Iterator[Finding]]


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "initial-exec-tls", "initial-exec relocations in a shared object",
            "error where a target refuses it or it does not fit a fresh process; else warning", access.initial_exec,
        ),
        Rule("static-tls-overflow", "more static TLS than a target leaves, counted with what a module needs", "error, warning", room.overflow),
        Rule("static-tls-crowding", "a module that takes so much of the room that others will fail", "warning", room.crowding),
        Rule("unflagged-static-tls", "initial-exec without DF_STATIC_TLS", "note", access.unflagged),
        Rule("foreign-initial-exec", "initial-exec on a variable of another module", "depends on the definer", access.foreign),
        Rule("local-exec-tls", "code for programs only that a linker let into a shared object", "warning", access.local_exec),
        Rule("grafted-initial-exec", "a library with initial-exec TLS that auditwheel will copy into the wheel", "note", grafted.grafts),
        Rule("needed-initial-exec", "a library outside the wheel that a module needs and that has initial-exec TLS", "note", outside.needed),
        Rule("foreign-machine", "another machine than the wheel's tags name, or a target that judged nothing", "note", outside.foreign_machine),
        Rule("unsupported-elf-tls", "a TLS segment where the loader refuses any", "error", unsupported.unsupported),
        Rule("damaged-repair", "a repaired module that another tool broke afterwards", "error", repaired.damaged),
        Rule("unsupported-descriptors", "TLS descriptors where the loader knows none", "error", descriptors.unsupported_descriptors),
        Rule(
            "descriptor-clobber", "vector registers kept over TLS descriptor calls that glibc before 2.40 may lose",
            "warning where the block is never static, error with --strict; else note", descriptors.clobber,
        ),
        Rule("missing-libc-version", "a version of libc.so.6 for TLS that the promised one lacks", "error", descriptors.missing_version),
        Rule("unknown-machine", "an ELF machine without a row in the table", "warning, error with --strict", unsupported.unknown_machine),
        Rule("unreadable-module", "an ELF member that can't be read in part or whole", "warning, error with --strict", unsupported.unreadable),
    )
}  # fmt: skip


def run_rules(case: RuleInput, names: tuple[str, ...]) -> list[Finding]:
    """The findings of the named rules: those of a module together, in the order of the wheel's members."""
    found = [finding for name in names for finding in RULES[name].check(case)]
    order = {path: place for place, path in enumerate([m.path for m in case.modules] + [u.path for u in case.unreadable])}
    return sorted(found, key=lambda f: (order.get(f.module or "", len(order)), names.index(f.rule)))
