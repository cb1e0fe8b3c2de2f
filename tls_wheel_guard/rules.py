"""The rules: facts and verdicts in, findings out. One function a rule; its name is the command line's, the config's, the docs'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tls_wheel_guard.findings import Finding, ModuleReport, Severity
from tls_wheel_guard.loaders import Verdict, bionic, judge, load_together, others
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.words import bytes_of, count_of, sentence, today

__all__ = ["DEFAULTS", "RULES", "Case", "Rule", "Thresholds", "Unreadable", "run_rules"]

MAX_RELOCS = 32
"""Relocations that a finding lists; it counts all."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Numbers that decide. ``room``: bytes of static TLS that a glibc process is taken to have left; ``crowding``: the share
    of a loader's room from which one module is reported; ``strict``: what could not be analysed is an error."""

    room: int = 1664
    crowding: float = 0.25
    strict: bool = False


DEFAULTS = Thresholds()


class Unreadable(NamedTuple):
    """A member that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """All that the rules see of one wheel. ``needs``: a module's path -> the wheel's modules that it needs, itself first."""

    modules: tuple[ModuleReport, ...]
    unreadable: tuple[Unreadable, ...]
    needs: dict[str, tuple[ModuleReport, ...]]
    thresholds: Thresholds

    @property
    def shared(self) -> Iterator[ModuleReport]:
        """The modules that dlopen may open, of machines that are known."""
        return (m for m in self.modules if m.kind == "shared" and m.shared_object.machine is not None)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's name, what it finds in one line, its default severity in words, and the function that finds it."""

    name: str
    summary: str
    severity: str
    check: Callable[[Case], Iterator[Finding]]


def _hint(*steps: str | None, module: str | None, rule: str) -> str:
    path = f'module = "{module}", ' if module else ""
    allow = f'to accept it: [[tool.tls-wheel-guard.allow]] {path}rule = "{rule}", reason = "..."'
    return "; ".join([*(step for step in steps if step), allow])


CURE = (
    "build it with -ftls-model=global-dynamic in place of -ftls-model=initial-exec, as the last such flag; a tls_model attribute in"
    " the source beats the flag and must go, and every object needs -fPIC"
)


def _severity(verdicts: list[Verdict]) -> Severity:
    return "error" if any(v.refuses for v in verdicts) else "warning"


def _initial_exec(case: Case) -> Iterator[Finding]:
    for module in case.shared:
        facts = module.shared_object.initial_exec
        if not facts.own:
            continue
        verdicts = [v for v in module.verdicts if v.verdict != "always"]
        types = ", ".join(name for name, _ in facts.types)
        size = module.demand.block_size
        message = (
            f"{count_of(facts.count, 'initial-exec relocation')} ({types}): its thread-local storage, {bytes_of(size)}, must lie in"
            " the static TLS block, whose size is fixed when the process starts, and a Python extension is loaded later. "
            + " ".join(sentence(v) for v in verdicts)
        )
        cures = dict.fromkeys(step for v in verdicts if (step := today(v)))
        yield Finding(
            "initial-exec-tls",
            _severity(verdicts),
            module.path,
            message,
            _hint(CURE, *cures, module=module.path, rule="initial-exec-tls"),
            tuple(verdicts),
            tuple(v.target.tag for v in verdicts),
            facts.relocs[:MAX_RELOCS],
            facts.count,
        )


def _foreign(case: Case) -> Iterator[Finding]:
    for module in case.shared:
        facts = module.shared_object.initial_exec
        if not facts.foreign:
            continue
        # Only the foreign part: its own initial-exec relocations have a rule of their own.
        demand = replace(module.demand, own_static=0, flagged=False)
        verdicts = [judge(demand, v.target) for v in module.verdicts]
        uses = ", ".join(f"{use.symbol.versioned_name} ({_where(use.definer.where)})" for use in demand.foreign[:8])
        harmless = all(v.verdict == "always" for v in verdicts)
        relocs = [r for r in facts.relocs if r.symbol is not None and not r.symbol.defined]
        yield Finding(
            "foreign-initial-exec",
            "note" if harmless else _severity(verdicts),
            module.path,
            f"{count_of(facts.foreign, 'initial-exec relocation')} for variables of other libraries: {uses}. "
            + " ".join(sentence(v) for v in verdicts),
            _hint(
                None if harmless else "declare the variable without tls_model(\"initial-exec\") and build with -ftls-model=global-dynamic",
                module=module.path,
                rule="foreign-initial-exec",
            ),
            tuple(verdicts),
            tuple(v.target.tag for v in verdicts),
            tuple(relocs[:MAX_RELOCS]),
            facts.foreign,
        )  # fmt: skip


def _where(definer: str) -> str:
    return {"libc": "the C library's own", "wheel": "defined in this wheel", "unknown": "defined outside this wheel"}[definer]


def _targets(modules: Iterator[ModuleReport] | tuple[ModuleReport, ...]) -> list[Target]:
    return list(dict.fromkeys(v.target for m in modules for v in m.verdicts))


def _overflow(case: Case) -> Iterator[Finding]:
    reported: set[Target] = set()
    for module in case.shared:
        group = case.needs.get(module.path, (module,))
        for verdict in module.verdicts:
            target = verdict.target
            takers = [m for m in group if _takes(m, target)]
            if not takers or any(_refused_alone(m, target) for m in takers):
                continue
            fit = load_together([m.demand for m in takers], target, case.thresholds.room)
            if fit is None or fit[0]:
                continue
            reported.add(target)
            names = ", ".join(m.path for m in takers)
            yield Finding(
                "static-tls-overflow",
                "error",
                module.path,
                f"with what it needs ({names}) it asks for {fit[1]:,} bytes of static TLS, and {target.tag} leaves {fit[2]:,} "
                f"to all modules that come late. {sentence(_failing(verdict, takers, target))}",
                _hint("build one of them without initial-exec TLS", today(verdict), module=module.path, rule="static-tls-overflow"),
                (verdict,),
                (target.tag,),
            )
    yield from _overflow_together(case, reported)


def _overflow_together(case: Case, reported: set[Target]) -> Iterator[Finding]:
    shared = tuple(case.shared)
    for target in _targets(shared):
        takers = [m for m in shared if _takes(m, target) and any(v.target == target for v in m.verdicts)]
        if target in reported or len(takers) < 2 or any(_refused_alone(m, target) for m in takers):
            continue
        fit = load_together([m.demand for m in takers], target, case.thresholds.room)
        if fit is not None and not fit[0]:
            yield Finding(
                "static-tls-overflow",
                "warning",
                None,
                f"together its {len(takers)} modules with initial-exec TLS ask for {fit[1]:,} bytes of static TLS, and {target.tag} "
                f"leaves {fit[2]:,} to all modules that come late: who imports all of them in one process sees the last one fail.",
                _hint("build them without initial-exec TLS", module=None, rule="static-tls-overflow"),
                tuple(v for m in takers for v in m.verdicts if v.target == target),
                (target.tag,),
            )


def _takes(module: ModuleReport, target: Target) -> bool:
    return judge(module.demand, target).verdict in ("if-room", "never")


def _refused_alone(module: ModuleReport, target: Target) -> bool:
    # initial-exec-tls has said it already, unless no relocation asks and the flag alone takes the room.
    return module.demand.needs_static and judge(module.demand, target).refuses


def _failing(verdict: Verdict, takers: list[ModuleReport], target: Target) -> Verdict:
    return verdict if verdict.verdict != "always" else judge(takers[0].demand, target)


def _crowding(case: Case) -> Iterator[Finding]:
    for module in case.shared:
        crowded: list[tuple[Verdict, int]] = []
        for verdict in module.verdicts:
            room = case.thresholds.room if verdict.target.libc == "glibc" else verdict.outcome.room
            if verdict.verdict == "if-room" and not verdict.refuses and room and verdict.outcome.taken >= case.thresholds.crowding * room:
                crowded.append((verdict, room))
        if crowded:
            shares = "; ".join(
                f"{verdict.outcome.taken:,} of {room:,} bytes ({100 * verdict.outcome.taken / room:.0f} %) on {verdict.target.tag}"
                for verdict, room in crowded
            )
            yield Finding(
                "static-tls-crowding",
                "warning",
                module.path,
                f"it takes {shares} of the static TLS that all late libraries of a process share: other packages, imported after it,"
                " will fail for it.",
                _hint(CURE, module=module.path, rule="static-tls-crowding"),
                tuple(verdict for verdict, _ in crowded),
                tuple(verdict.target.tag for verdict, _ in crowded),
            )


def _unflagged(case: Case) -> Iterator[Finding]:
    for module in case.shared:
        if module.demand.own_static and not module.demand.flagged:
            yield Finding(
                "unflagged-static-tls",
                "note",
                module.path,
                "it has initial-exec relocations, and its linker left DF_STATIC_TLS out of DT_FLAGS (GNU ld and lld do so on aarch64):"
                " tools that look at the flag alone take it for safe.",
                _hint("nothing breaks by it; the flag goes when the initial-exec access goes", module=module.path, rule="unflagged-static-tls"),
            )  # fmt: skip


def _unsupported(case: Case) -> Iterator[Finding]:
    for module in case.shared:
        refusing = [
            v for v in module.verdicts if module.demand.block_size and _refuses_segments(v.target) and v.outcome.word == "never"
        ]
        if refusing:
            yield Finding(
                "unsupported-elf-tls",
                "error",
                module.path,
                f"it has a TLS segment of {bytes_of(module.demand.block_size)}, and the loader refuses any in a library that is opened"
                f" late. {' '.join(sentence(v) for v in refusing)}",
                _hint(
                    "compile with -femulated-tls for this system, or promise Android 29 and newer", module=module.path, rule="unsupported-elf-tls"
                ),
                tuple(refusing),
                tuple(v.target.tag for v in refusing),
            )  # fmt: skip


def _refuses_segments(target: Target) -> bool:
    if target.libc == "bionic":
        return bionic.refuses_segments(target)
    row = others.ROWS.get(target.libc)
    return row is not None and row.refuses_segments


def _unknown_machine(case: Case) -> Iterator[Finding]:
    for module in case.modules:
        facts = module.shared_object
        if module.kind == "shared" and facts.machine is None:
            order = "little" if facts.little_endian else "big"
            yield Finding(
                "unknown-machine",
                "error" if case.thresholds.strict else "warning",
                module.path,
                f"e_machine {facts.e_machine} ({facts.bits}-bit, {order}-endian) has no row in the table of relocations: whether it asks"
                " for static TLS is not known.",
                _hint("look at `readelf -Wr` for TPOFF or TPREL relocations", module=module.path, rule="unknown-machine"),
            )


def _unreadable(case: Case) -> Iterator[Finding]:
    for path, reason in case.unreadable:
        yield Finding(
            "unreadable-module",
            "error" if case.thresholds.strict else "warning",
            path,
            f"it can't be judged: {reason}.",
            _hint("build the wheel again; if the file is meant to be so", module=path, rule="unreadable-module"),
        )


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "initial-exec-tls", "initial-exec relocations in a shared object",
            "error where a target refuses it or it does not fit a fresh process; else warning", _initial_exec,
        ),
        Rule("static-tls-overflow", "more static TLS than a target leaves, counted with what a module needs", "error, warning", _overflow),
        Rule("static-tls-crowding", "so much of the room that others will fail", "warning", _crowding),
        Rule("unflagged-static-tls", "initial-exec without DF_STATIC_TLS", "note", _unflagged),
        Rule("foreign-initial-exec", "initial-exec on a variable of another module", "by the definer", _foreign),
        Rule("unsupported-elf-tls", "a TLS segment where the loader refuses any", "error", _unsupported),
        Rule("unknown-machine", "an ELF machine without a row in the table", "warning, error with --strict", _unknown_machine),
        Rule("unreadable-module", "an ELF member that can't be read in part or whole", "warning, error with --strict", _unreadable),
    )
}  # fmt: skip


def run_rules(case: Case, names: tuple[str, ...]) -> list[Finding]:
    """The findings of the named rules: those of a module together, in the order of the wheel's members."""
    found = [finding for name in names for finding in RULES[name].check(case)]
    order = {path: place for place, path in enumerate([m.path for m in case.modules] + [u.path for u in case.unreadable])}
    return sorted(found, key=lambda f: (order.get(f.module or "", len(order)), names.index(f.rule)))
