"""What helps against one refusal, now and on this machine: each remedy is simulated, run in a child, and only then advised."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from tls_wheel_guard.doctor.refusal import Refusal
from tls_wheel_guard.doctor.result import Advice
from tls_wheel_guard.doctor.settings_search import MANY, Tuning, best_order, first_refused, least_extra, least_tuning, orders, preloaded
from tls_wheel_guard.doctor.stages import name_of, statement
from tls_wheel_guard.loaders import freebsd

__all__ = ["advise"]


def advise(refusal: Refusal) -> Iterator[Advice]:
    """All that was looked at, what helps now first."""
    found = [*_import_order(refusal), *_tunables(refusal), *_preload(refusal), *_extra(refusal)]
    yield from (advice for advice in found if advice.helps)
    yield from (advice for advice in found if not advice.helps)


def _import_order(refusal: Refusal) -> Iterator[Advice]:
    stages, last = refusal.runner.stages, len(refusal.first.stages) - 1
    name = name_of(refusal.failing)
    if refusal.first.live.libc in ("musl", "bionic") or refusal.too_aligned:
        return
    if refusal.alone is None or not refusal.alone.is_past(refusal.first.refused_file):
        why = "nothing is imported before it" if len(stages) == 1 else "it fails as the first import too"
        if refusal.observed is not None and any(each.taken and each.stage == last for each in refusal.observed.replay.happened):
            why += f"; the order in which {name} opens its own files is up to the package"
        yield Advice("import-order", False, f"no other order of imports helps: {why}")
        return
    order: tuple[int, ...] | None = next(orders(len(stages), last))
    if refusal.observed is not None:
        order = best_order(refusal.observed.start, refusal.groups, last)
        if order is None:
            what = f"{len(stages)} imports in any order" if len(stages) <= MANY else "any of the imports put first"
            yield Advice("import-order", False, f"no other order of imports helps: {what} leave too little room", simulated=False)
            return
    simulated = refusal.observed is not None or None
    ordered = [stages[place] for place in order or ()]
    spelled = ", ".join(map(name_of, ordered))
    trial = refusal.tried(ordered)
    if trial.cures:
        command = f"python -c {shlex.quote(statement(ordered))}"
        yield Advice("import-order", True, f"import in this order: {spelled}", command, simulated=simulated, ran=True, then=trial.then)
    else:
        yield Advice("import-order", False, f"the order {spelled} was tried, and fails too", simulated=simulated, ran=False)


def _tunables(refusal: Refusal) -> Iterator[Advice]:
    live, now = refusal.first.live, refusal.now
    if live.libc != "glibc":
        return
    if refusal.too_aligned:
        facts = refusal.files.facts(refusal.definer)
        align = facts.tls_segment.align if facts and facts.tls_segment else 0
        yield Advice("tunables", False, f"no tunable helps: {refusal.name} wants an alignment of {align}, and this process allows {live.align}")
        return
    if now is None:
        yield Advice("tunables", False, f"this glibc ({live.libc_version}) has no tunables for it: 2.32 and newer have, and Debian 11's 2.31")
        return
    if refusal.observed is None or not refusal.observed.start.is_known:
        yield from _tunables_unknown(refusal, now)
        return
    found = least_tuning(refusal.observed.start, refusal.opens)
    if found is None:
        yield Advice("tunables", False, "no values of the tunables were found that help")
        return
    least, padded = found
    tried = {tuning: refusal.tried(refusal.runner.stages, refusal.tunables(tuning)) for tuning in dict.fromkeys(found)}
    good = [tuning for tuning, trial in tried.items() if trial.cures]
    if least not in good:
        yield Advice("tunables", False, f"{_spelled(least, now)} was simulated and tried, and does not help", simulated=True, ran=False)
        return
    best = padded if padded in good else least
    text = f"more room: {_spelled(least, now)} is the least that works"
    text += f"; {_spelled(best, now)} leaves room for others" if best != least else ""
    yield Advice(
        "tunables",
        True,
        text,
        f"{_assigned(refusal.tunables(best))} python ...",
        least.changed(now),
        best.changed(now),
        True,
        True,
        tried[best].then,
    )


def _tunables_unknown(refusal: Refusal, now: Tuning) -> Iterator[Advice]:
    """Without exact numbers: values with much room that were tried, and no least value."""
    if refusal.ample is not None and refusal.ample.is_past(refusal.first.refused_file):
        for tuning in (Tuning(max(8, now.nns), now.optional), *refusal.roomy):
            trial = refusal.tried(refusal.runner.stages, refusal.tunables(tuning))
            if not trial.cures:
                continue
            text = f"more room: {_spelled(tuning, now)}; how much is needed can't be computed here"
            yield Advice(
                "tunables", True, text, f"{_assigned(refusal.tunables(tuning))} python ...", None, tuning.changed(now), None, True, trial.then
            )
            return
    yield Advice("tunables", False, "the tunables were tried with the largest useful values, and do not help", ran=False)


def _spelled(tuning: Tuning, now: Tuning) -> str:
    return ", ".join(f"glibc.{name}={value}" for name, value in tuning.changed(now).items())


def _assigned(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())


def _preload(refusal: Refusal) -> Iterator[Advice]:
    library = refusal.files.modules().get(refusal.definer)
    if library is None or refusal.first.live.libc not in ("glibc", "musl", "freebsd", "bionic", "netbsd", "dragonfly"):
        return
    there = refusal.runner.environment.get("LD_PRELOAD", "")
    variables = {"LD_PRELOAD": f"{there}:{refusal.definer}" if there else refusal.definer}
    simulated = None
    if refusal.observed is not None and refusal.observed.program is not None:
        before = [m for word in there.replace(":", " ").split() if (m := refusal.observed.given.find(word.rsplit("/", 1)[-1])) is not None]
        state = preloaded(refusal.observed.start, refusal.observed.program, before, library, refusal.observed.given)
        if state is not None:
            simulated = first_refused(refusal.observed.start.loader, state, refusal.opens) is None
    trial = refusal.tried(refusal.runner.stages, variables)
    if not trial.cures:
        yield Advice("preload", False, f"LD_PRELOAD of {refusal.name} was tried, and does not help", simulated=simulated, ran=False)
        return
    text = f"LD_PRELOAD of {refusal.name}: what is loaded at the start has a place of its own, and takes nothing from the room for late modules"
    yield Advice(
        "preload", True, ". ".join([text, *_cautions(refusal)]), f"{_assigned(variables)} python ...", None, None, simulated, True, trial.then
    )


def _cautions(refusal: Refusal) -> Iterator[str]:
    """When not to preload."""
    linkage = refusal.linkage
    if linkage.needs_python:
        yield "It is an extension module and needs Python's own symbols: any other program that is started with this variable stops"
    if "malloc" in linkage.defined:
        yield "It defines malloc, and so replaces the allocator of the whole process"
    yield "Programs that gain privileges (setuid) ignore it"


def _extra(refusal: Refusal) -> Iterator[Advice]:
    if refusal.first.live.libc != "freebsd":
        return
    observed = refusal.observed
    words = refusal.runner.environment.get("LD_STATIC_TLS_EXTRA", "")
    if (wrong := refusal.first.live.warning) is not None:
        trial = refusal.tried(refusal.runner.stages, {"LD_STATIC_TLS_EXTRA": "1024"})
        command = "LD_STATIC_TLS_EXTRA=1024 python ..." if trial.cures else None
        yield Advice("extra", trial.cures, wrong, command, ran=trial.cures, then=trial.then)
        return
    if observed is not None and observed.start.state.rules < freebsd.TUNABLE_SINCE:
        yield Advice("extra", False, f"FreeBSD {refusal.first.live.libc_version} has no LD_STATIC_TLS_EXTRA: 14 and newer have")
        return
    found = None
    if observed is not None:
        found = least_extra(observed.start, freebsd.extra_from(words, observed.start.state.rules), refusal.opens)
    if found is None:
        yield Advice("extra", False, "how much LD_STATIC_TLS_EXTRA is needed can't be computed here; on FreeBSD 14 and newer, try 4096")
        return
    tried = {value: refusal.tried(refusal.runner.stages, {"LD_STATIC_TLS_EXTRA": str(value)}) for value in found}
    good = [value for value, trial in tried.items() if trial.cures]
    least, padded = ({"LD_STATIC_TLS_EXTRA": value} for value in found)
    if not good:
        yield Advice("extra", False, f"LD_STATIC_TLS_EXTRA={found[1]} was simulated and tried, and does not help", simulated=True, ran=False)
        return
    text = f"more room, as a plain decimal number: LD_STATIC_TLS_EXTRA={found[0]} is the least, {found[1]} leaves room for others"
    yield Advice("extra", True, text, f"LD_STATIC_TLS_EXTRA={good[-1]} python ...", least, padded, True, True, tried[good[-1]].then)
