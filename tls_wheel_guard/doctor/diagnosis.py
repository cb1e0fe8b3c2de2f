"""The recipe of ``doctor``: import in a child, and when that fails for static TLS, say who took the room and what helps now.

What is advised was simulated by the loader's model where that can be done, and then really run in a child.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tls_wheel_guard.doctor.author import author_advice
from tls_wheel_guard.doctor.observed import Files, Observed, observe
from tls_wheel_guard.doctor.recording import Recording
from tls_wheel_guard.doctor.refusal import Refusal, Runner
from tls_wheel_guard.doctor.remedies import advise
from tls_wheel_guard.doctor.replay import Taken
from tls_wheel_guard.doctor.result import Advice, Asked, Diagnosis, Outcome, Share
from tls_wheel_guard.doctor.stages import name_of, stage_of
from tls_wheel_guard.elf import SharedObject
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.live.reading import interpreter
from tls_wheel_guard.loaders.link_map import definer_of, dependencies, global_scope
from tls_wheel_guard.loaders.refusals import is_static_tls, named_in
from tls_wheel_guard.tls import TlsModule

__all__ = ["examine"]


def examine(
    python: str | Path,
    word: str,
    imports: Sequence[str] = (),
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
    *,
    arguments: Sequence[str] = (),
    on_run: Callable[[str], None] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Diagnosis:
    """Import a module, open a shared object or run a script in a child of an interpreter, after ``imports``; what came of it, and what helps.

    ``timeout``: seconds for each child. ``environment``: all variables of the children; None for those of this process.
    ``arguments``: those of the script. ``on_run``: is told what is tried, before each child. ``limits``: how much of each file is read.
    Raises UsageError, UnreadableInterpreter.
    """
    stages = tuple(stage_of(name) for name in (*imports, word))
    if arguments and not stages[-1].startswith("script "):
        raise UsageError(f"{word} takes no arguments: {' '.join(arguments)}", hint="only a script does; options of doctor itself stand before --")
    variables = dict(os.environ if environment is None else environment)
    runner = Runner(interpreter(python), stages, timeout, variables, tuple(arguments), on_run or (lambda _: None))
    with Files(limits) as files:
        return _examined(runner, files)


def _examined(runner: Runner, files: Files) -> Diagnosis:
    stages = runner.stages
    first = runner.record(stages)
    files.read(first.files)
    _same_machine(first, files, stages)
    failed = first.failed is not None
    rest = tuple(name_of(stage) for stage in stages[len(first.stages) :])
    if first.refusal is None:
        hint = _hint(first, stages) if failed else None
        return replace(_of(first, observe(first, files), "fails" if failed else "loads"), not_tried=rest, hint=hint)
    refusal = Refusal(runner, first, files, *_culprit(first, files))
    refusal.learn()
    observed = observe(first, files)
    asked = _asked(refusal, observed)
    disagrees = refusal.settle(observed)
    advice = (*advise(refusal), *author_advice(refusal, asked.asking, asked.used_before))
    return replace(_of(first, observed, "static-tls", asked, advice), not_tried=rest, disagrees=disagrees)


_MISSING = re.compile(
    r"(ModuleNotFoundError|PackageNotFoundError): (No module named '(?P<module>[^']+)'|(No package metadata was found for )?(?P<name>\S+)$)"
)


def _hint(recording: Recording, stages: Sequence[str]) -> str | None:
    """Where a module that is not there may be."""
    stage = stages[len(recording.stages) - 1]
    match = _MISSING.match(recording.stages[-1].error or "")
    asked = name_of(stage)
    if match and (match["name"] == asked or match["module"] == asked.split(".")[0]):
        return f"{asked} is not installed for {recording.live.python}; --python EXE names the interpreter that has it"
    return None


def _same_machine(recording: Recording, files: Files, stages: Sequence[str]) -> None:
    for stage in stages:
        kind, _, path = stage.partition(" ")
        if kind == "file":
            files.read([path])
            facts = files.facts(path)
            if facts is not None and facts.machine_name != recording.live.machine != "unknown":
                raise UsageError(
                    f"{path}: it is for {facts.machine_name}, and {recording.live.python} is a process of {recording.live.machine}",
                    hint="--python names an interpreter of the module's machine",
                )


def _culprit(recording: Recording, files: Files) -> tuple[str, str]:
    """The file that defines the variable, and the one that asks for it, as far as the loader's words say it."""
    asking = recording.refused_file
    definer, named = named_in(recording.refusal or "")
    definer = definer or asking or ""
    if definer and os.sep in definer:
        definer = os.path.realpath(definer)
        files.read([definer])
    return definer, named or asking or definer


def _asked(refusal: Refusal, observed: Observed | None) -> Asked:
    facts: SharedObject | None = refusal.files.facts(refusal.definer)
    segment = facts.tls_segment if facts else None
    asking = _asking(refusal, observed) if observed else ()
    opened = refusal.first.refused_file
    size, align = (segment.memsz, segment.align) if segment else (None, None)
    used = bool(observed and observed.replay.used)
    return Asked(asking or (refusal.asking,), refusal.definer, size, align, opened, used_before=used)


def _asking(refusal: Refusal, observed: Observed) -> tuple[str, ...]:
    """Of what the refused dlopen brings: the files with initial-exec code for the variable."""
    refused = next((each for each in reversed(observed.replay.happened) if not each.step.loads), None)
    if refused is None:
        return ()
    table = {row.module.path: row for row in observed.replay.state.loaded}
    found = dependencies(refused.event.module, table, observed.given).modules
    scope = [*global_scope(table), *found.values()]

    def asks(module: TlsModule) -> bool:
        accesses = (access for access in module.accesses if access.kind == "TPOFF" and not access.by_libc)
        return any((definer := definer_of(access, module, scope)) is not None and definer.path == refusal.definer for access in accesses)

    return tuple(path for path, module in found.items() if asks(module))


def _of(
    recording: Recording, observed: Observed | None, outcome: Outcome, asked: Asked | None = None, advice: tuple[Advice, ...] = ()
) -> Diagnosis:
    refused = tuple(dict.fromkeys(s.error for s in recording.segments if s.error is not None and is_static_tls(s.error)))
    return Diagnosis(
        live=recording.live,
        outcome=outcome,
        stages=recording.stages,
        took=_shares(observed) if observed else (),
        room=observed.room if observed else None,
        refused=refused if outcome != "static-tls" else (),
        swallowed=swallowed.error if outcome == "static-tls" and (swallowed := recording.swallowed) else None,
        asked=asked,
        has_model=observed is not None,
        disagrees=observed.replay.difference if observed else None,
        advice=advice,
    )


def _shares(observed: Observed) -> tuple[Share, ...]:
    """Who has room: the start-up set, then what came late, in order."""
    if observed.start.loader.name != "glibc":
        return ()
    start = [row.module for row in observed.start.state.loaded if row.module.demand.block_size]
    shares = [Share(None, module.path, module.demand.block_size) for module in start]
    for each in observed.replay.happened:
        shares += [_share(observed, each.stage, taken) for taken in each.taken]
    return tuple(shares)


def _share(observed: Observed, stage: int, taken: Taken) -> Share:
    return Share(observed.recording.stages[stage].name, taken.module.path, taken.size)
