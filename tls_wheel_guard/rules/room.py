"""Rules about room: what modules ask for together, and what they leave to others."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Finding, ModuleReport
from tls_wheel_guard.loaders import MAX_SIMULATED, Together, Verdict, block_of, glibc, judge, load_together
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.rules.access import cures_of
from tls_wheel_guard.rules.input import RuleInput, hints
from tls_wheel_guard.rules.phrases import bytes_of, sentences
from tls_wheel_guard.rules.today import steps_today

__all__ = ["crowding", "overflow"]

MAX_NAMES = 12
"""Modules that a finding names; it counts all."""


def _targets(modules: Iterator[ModuleReport] | tuple[ModuleReport, ...]) -> list[Target]:
    return list(dict.fromkeys(v.target for m in modules for v in m.verdicts))


class _Takes:
    """Which modules take room on which target, and which groups of them fit together. Each question is computed once: modules may be many."""

    def __init__(self, case: RuleInput) -> None:
        self._case = case
        self._asked: dict[tuple[str, Target], bool] = {}
        self._alone: dict[tuple[str, Target], bool] = {}
        self._groups: dict[tuple[int, Target], tuple[list[ModuleReport], Together | None]] = {}
        self._fits: dict[tuple[Target, str, tuple[object, ...]], Together | None] = {}

    def __call__(self, module: ModuleReport, target: Target) -> bool:
        """Whether the target's loader gives the module static TLS."""
        key = (module.path, target)
        if key not in self._asked:
            verdict = judge(module.tls_module, target)
            self._asked[key] = verdict.verdict in ("if-room", "never") or verdict.outcome.takes_at_most > 0
        return self._asked[key]

    def of(self, group: tuple[ModuleReport, ...], target: Target) -> tuple[list[ModuleReport], Together | None]:
        """The modules of a group that take room, and whether they fit; None where one is refused by itself.

        Many modules need the same group, so each group is kept once.
        """
        key = (id(group), target)
        if key not in self._groups:
            takers = [m for m in group if self(m, target)]
            silent = not any(m.demand.needs_static or m.demand.flagged for m in takers) or any(self._refused(m, target) for m in takers)
            self._groups[key] = takers, None if silent else self.together(takers, target)
        return self._groups[key]

    def _refused(self, module: ModuleReport, target: Target) -> bool:
        key = (module.path, target)
        if key not in self._alone:
            self._alone[key] = _refused_alone(module, target)
        return self._alone[key]

    def together(self, modules: list[ModuleReport], target: Target) -> Together | None:
        """Whether the modules load one after another; None where the loader has no room to share."""
        thresholds = self._case.thresholds
        # Where there are many modules only their blocks are placed, so modules with the same blocks have the same answer.
        many = len(modules) > MAX_SIMULATED
        key = (target, modules[0].demand.machine, tuple(block_of(m.tls_module) if many else m.path for m in modules))
        if key not in self._fits:
            live = thresholds.live_state(target.libc, modules[0].demand.machine)
            self._fits[key] = load_together([m.tls_module for m in modules], target, thresholds.room, live)
        return self._fits[key]


def overflow(case: RuleInput) -> Iterator[Finding]:
    """More static TLS than a target leaves: of one module with what it needs, or of all together."""
    reported: set[Target] = set()
    said: set[tuple[object, ...]] = set()
    takes = _Takes(case)
    alone = {module.path: (module,) for module in case.shared if module.path not in case.needs}
    for module in case.shared:
        group = case.needs[module.path] if module.path in case.needs else alone[module.path]
        for verdict in module.verdicts:
            target = verdict.target
            takers, fit = takes.of(group, target)
            if fit is None or fit.fits:
                continue
            reported.add(target)
            # Many modules need the same libraries: the same failure is reported once.
            same = (target, *(m.path for m in takers))
            if module not in takers and same in said:
                continue
            said.add(same)
            names = ", ".join(m.path for m in takers[:MAX_NAMES]) + (f" and {len(takers) - MAX_NAMES} more" if len(takers) > MAX_NAMES else "")
            yield Finding(
                "static-tls-overflow",
                "error",
                module.path,
                (
                    (
                        f"with what it needs ({names}) it asks for {bytes_of(fit.asked)} of static TLS, and {_place(case, module, target)} "
                        f"leaves {fit.room:,} to all modules that come late."
                    ),
                    *sentences([_failing(verdict, takers, target)]),
                ),
                hints(
                    "build one of them without initial-exec TLS",
                    *steps_today(module, [verdict], alone=False),
                    module=module.path,
                    rule="static-tls-overflow",
                ),
                (verdict,),
                (target.tag,),
            )
    if case.one_process:
        yield from _overflow_together(case, takes, reported)


def _place(case: RuleInput, module: ModuleReport, target: Target) -> str:
    """Who leaves this room: the interpreter that was read, or the target."""
    live = case.thresholds.live
    if live is not None and case.thresholds.live_state(target.libc, module.demand.machine) is not None:
        return live.python
    return target.tag


def _overflow_together(case: RuleInput, takes: _Takes, reported: set[Target]) -> Iterator[Finding]:
    shared = tuple(case.shared)
    for target in _targets(shared):
        takers = [m for m in shared if takes(m, target) and any(v.target == target for v in m.verdicts)]
        if target in reported or len(takers) < 2 or any(_refused_alone(m, target) for m in takers):
            continue
        fit = takes.together(takers, target)
        if fit is not None and not fit.fits:
            yield Finding(
                "static-tls-overflow",
                "warning",
                None,
                (_together(len(takers), fit, _place(case, takers[0], target)),),
                hints("build them without initial-exec TLS", module=None, rule="static-tls-overflow"),
                tuple(v for m in takers for v in m.verdicts if v.target == target),
                (target.tag,),
            )


def _together(count: int, fit: Together, place: str) -> str:
    if fit.too_many:
        return (
            f"importing its {count} modules with TLS in one process makes the last import fail on {place}: glibc up to 2.21 refuses a module with"
            " initial-exec TLS as soon as it has a number above 14 and the process has threads."
        )
    return (
        f"together its {count} modules with initial-exec TLS ask for {bytes_of(fit.asked)} of static TLS, and {place} leaves {fit.room:,} to all"
        " late modules: importing all of them in one process makes the last import fail."
    )


def _refused_alone(module: ModuleReport, target: Target) -> bool:
    # initial-exec-tls has said it already, unless no relocation asks and the flag alone takes the room.
    known = next((verdict for verdict in module.verdicts if verdict.target == target), None)
    return module.demand.needs_static and (known or judge(module.tls_module, target)).refuses


def _failing(verdict: Verdict, takers: list[ModuleReport], target: Target) -> Verdict:
    return verdict if verdict.verdict != "always" else judge(takers[0].tls_module, target)


def crowding(case: RuleInput) -> Iterator[Finding]:
    """Modules that load, and take so much of the room that others will not load."""
    for module in case.shared:
        crowded: list[tuple[Verdict, int, int]] = []
        for verdict in module.verdicts:
            room, taken = case.thresholds.room_for(verdict, module.demand.machine), _takes_always(verdict)
            if room and taken and not verdict.refuses and taken >= case.thresholds.crowding * room:
                crowded.append((verdict, taken, room))
        if crowded:
            shares = "; ".join(
                f"{taken:,} of {room:,} bytes ({100 * taken / room:.0f} %) on {verdict.target.tag}"
                + (", by descriptors, which glibc before 2.32 lets take everything" if verdict.verdict == "always" else "")
                for verdict, taken, room in crowded
            )
            yield Finding(
                "static-tls-crowding",
                "warning",
                module.path,
                (f"it takes {shares}, of the static TLS that all late libraries share: later ones fail where the rest is too little.",),
                hints(
                    *(
                        cures_of(module.traced)
                        if any(v.verdict != "always" for v, _, _ in crowded)
                        else ("promise glibc 2.32 or newer, or make its variables smaller",)
                    ),
                    module=module.path,
                    rule="static-tls-crowding",
                ),
                tuple(verdict for verdict, _, _ in crowded),
                tuple(verdict.target.tag for verdict, _, _ in crowded),
                culprits=module.traced.suspects,
            )


def _takes_always(verdict: Verdict) -> int:
    """Bytes that the module takes when it loads: by initial-exec, or by descriptors where the loader sets no limit for them."""
    if verdict.verdict == "if-room":
        return verdict.outcome.taken
    target = verdict.target
    shares = target.libc == "glibc" and target.oldest is not None and not glibc.has_optional(target.oldest)
    return verdict.outcome.takes_at_most if shares and verdict.verdict == "always" else 0
