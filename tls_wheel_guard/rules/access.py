"""Rules about initial-exec accesses: one's own, other modules', and those without a flag."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.culprits import Traced
from tls_wheel_guard.findings import Finding, Hint
from tls_wheel_guard.loaders import judge
from tls_wheel_guard.records import replace
from tls_wheel_guard.rules.input import CURE, MAX_RELOCS, WHERE, RuleInput, hints, severity_of
from tls_wheel_guard.rules.phrases import bytes_of, count_of, sentences
from tls_wheel_guard.rules.today import steps_today

__all__ = ["cures_of", "foreign", "initial_exec", "local_exec", "unflagged"]


def initial_exec(case: RuleInput) -> Iterator[Finding]:
    """Initial-exec relocations for a module's own variables."""
    for module in case.shared:
        facts = module.shared_object.initial_exec
        if not facts.own:
            continue
        verdicts = [v for v in module.verdicts if v.verdict != "always"]
        traced = module.traced
        types = ", ".join(name for name, _ in facts.types)
        size = module.demand.block_size
        message = (
            f"{count_of(facts.count, 'initial-exec relocation')} ({types}): its thread-local variables, {bytes_of(size)}, must lie in"
            " the static TLS block, whose size is fixed when the process starts; a Python extension is loaded later."
        )
        yield Finding(
            "initial-exec-tls",
            severity_of(verdicts),
            module.path,
            (message, *_who(traced), *sentences(verdicts)),
            hints(*cures_of(traced), *steps_today(module, verdicts), module=module.path, rule="initial-exec-tls"),
            tuple(verdicts),
            tuple(v.target.tag for v in verdicts),
            facts.relocs[:MAX_RELOCS],
            facts.count,
            culprits=traced.suspects,
        )


def _who(traced: Traced) -> tuple[str, ...]:
    """A sentence for each culprit that is sure; where none is, for the first that is possible."""
    return tuple(_capital(s.sentence) for s in traced.sure or traced.suspects[:1])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith(("it ", "the ")) else text


def cures_of(traced: Traced) -> tuple[str | Hint, ...]:
    """What helps: the sure culprits' remedies, else the general cure."""
    if traced.interposer is not None:
        return (traced.interposer,)
    if len(traced.sure) > 1:
        return (*(f"for {s.match.culprit.name}: {line}" for s in traced.sure for line in s.advice), f"all {len(traced.sure)} need a cure")
    return tuple(dict.fromkeys(line for s in traced.sure for line in s.advice)) or (CURE, WHERE)


def foreign(case: RuleInput) -> Iterator[Finding]:
    """Initial-exec relocations for variables of other modules."""
    for module in case.shared:
        facts = module.shared_object.initial_exec
        if not facts.foreign:
            continue
        # Only the foreign part: its own initial-exec relocations have a rule of their own.
        demand = replace(module.demand, own_static=0, flagged=False)
        reaching = tuple(a for a in module.tls_module.accesses if a.kind == "TPOFF" and a.symbol is not None and not a.defined)
        verdicts = [
            judge(replace(module.tls_module, demand=demand, accesses=reaching), v.target, case.thresholds.starts(v.target, demand))
            for v in module.verdicts
        ]
        uses = ", ".join(f"{use.symbol.versioned_name} ({_where(use.definer.where, case.one_process)})" for use in demand.foreign[:8])
        harmless = all(v.verdict == "always" for v in verdicts)
        relocs = [r for r in facts.relocs if r.symbol is not None and not r.symbol.defined]
        yield Finding(
            "foreign-initial-exec",
            "note" if harmless else severity_of(verdicts),
            module.path,
            (f"{count_of(facts.foreign, 'initial-exec relocation')} for variables of other libraries: {uses}.", *sentences(verdicts)),
            hints(
                None if harmless else "declare the variable without tls_model(\"initial-exec\") and build with -ftls-model=global-dynamic",
                module=module.path,
                rule="foreign-initial-exec",
            ),
            tuple(verdicts),
            tuple(v.target.tag for v in verdicts),
            tuple(relocs[:MAX_RELOCS]),
            facts.foreign,
            culprits=() if facts.own else module.traced.suspects,
        )  # fmt: skip


def _where(definer: str, in_wheel: bool) -> str:
    place = "this wheel" if in_wheel else "this folder"
    return {"libc": "the C library's own", "wheel": f"defined in {place}", "unknown": f"defined outside {place}"}[definer]


def local_exec(case: RuleInput) -> Iterator[Finding]:
    """Local-exec code in a shared object, which a linker let through."""
    for module in case.shared:
        sites = module.shared_object.local_exec
        if sites:
            places = ", ".join(f"{at:#x}" for at in sites[:4]) + (", ..." if len(sites) > 4 else "")
            yield Finding(
                "local-exec-tls",
                "warning",
                module.path,
                (
                    (
                        f"{count_of(len(sites), 'place')} in its code ({places}) add a constant to the thread pointer: local-exec TLS, which is"
                        " for programs only. In a library that is opened late the constant leads into another module's variables."
                    ),
                    "It loads everywhere, and then reads and overwrites memory that is not its own; GNU ld for aarch64 does not refuse it.",
                ),
                hints(
                    'compile every object with -fPIC, without -ftls-model=local-exec and without tls_model("local-exec")',
                    module=module.path,
                    rule="local-exec-tls",
                ),
                tuple(module.verdicts),
                tuple(v.target.tag for v in module.verdicts),
            )


def unflagged(case: RuleInput) -> Iterator[Finding]:
    """Initial-exec relocations in a file without DF_STATIC_TLS."""
    for module in case.shared:
        if module.demand.own_static and not module.demand.flagged:
            yield Finding(
                "unflagged-static-tls",
                "note",
                module.path,
                (
                    ("it has initial-exec relocations, and its linker left DF_STATIC_TLS out of DT_FLAGS (GNU ld does so on aarch64)"
                    ": tools that look at the flag alone take it for safe."),
                ),
                hints("nothing breaks by this alone: cure the initial-exec access", module=module.path, rule="unflagged-static-tls"),
            )  # fmt: skip
