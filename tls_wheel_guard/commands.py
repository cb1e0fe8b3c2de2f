"""The recipes: open files, call the parts in order. No command line, no printing."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from tls_wheel_guard.config import Allow, Config
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError
from tls_wheel_guard.findings import Finding, ModuleReport, Report
from tls_wheel_guard.inspection import Contents, inspect_file
from tls_wheel_guard.loaders import Given, dependencies, judge
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.rules import RULES, Case, Unreadable, run_rules
from tls_wheel_guard.targets import promised_by, targets_for
from tls_wheel_guard.tls import demand_of, late_module

__all__ = ["check_many", "check_path", "check_wheel", "expand"]

WORKERS_PAY_FROM = 24 << 20
"""Bytes of wheels from which starting worker processes is cheaper than one process doing all."""


def expand(path: Path) -> list[Path]:
    """The files that one argument stands for: itself, or the wheels in a folder; raises UsageError."""
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: no such file or folder", hint="check the path; a shell pattern that matches nothing stays as it is")
    if not path.is_dir():
        return [path]
    wheels = sorted(child for child in path.iterdir() if child.suffix == ".whl")
    if not wheels:
        raise UsageError(f"{path}: no wheel in this folder", hint="build one first, or give the folder that holds the *.whl files")
    return wheels


def check_wheel(path: str | os.PathLike[str], config: Config | None = None) -> Report:
    """Judge one wheel, or one bare shared object; raises UnreadableInput where nothing can be read."""
    config = config or Config()
    contents = inspect_file(Path(path))
    promised = (promised_by(contents.tags) if config.own_tags else ()) + config.more_targets
    modules = _module_reports(contents, promised)
    unreadable = tuple(Unreadable(path, reason) for path, reason in contents.unreadable)
    case = Case(modules, unreadable, _needs(modules), config.thresholds)
    findings, allowed = _allow(run_rules(case, config.rules), config)
    return Report(
        wheel=contents.name,
        path=str(path),
        tags=contents.tags,
        targets=_targets_of(promised, modules),
        modules=modules,
        findings=tuple(findings),
        allowed=tuple(allowed),
        not_applicable=tuple(sorted(contents.not_applicable.items())),
        nested=tuple(contents.nested),
    )


def _module_reports(contents: Contents, promised: tuple[Target, ...]) -> tuple[ModuleReport, ...]:
    facts = dict(contents.modules)
    demands = {path: demand_of(module, path) for path, module in facts.items()}
    definers = {symbol: demands[path] for symbol, path in contents.definers.items()}
    reports = []
    for path, module in contents.modules:
        demand = demand_of(module, path, definers)
        verdicts = tuple(judge(demand, t) for t in targets_for(module, path, promised)) if module.kind == "shared" else ()
        exports = [symbol for symbol, definer in contents.definers.items() if definer == path]
        reports.append(ModuleReport(path, module, late_module(module, path, exports, demand), verdicts))
    return tuple(reports)


def _targets_of(promised: tuple[Target, ...], modules: tuple[ModuleReport, ...]) -> tuple[Target, ...]:
    """The promised targets, and those that modules' own evidence made."""
    judged = [v.target for module in modules for v in module.verdicts]
    tags = {t.tag for t in judged}
    return tuple(dict.fromkeys([*(t for t in promised if t.libc != "unknown" or t.tag not in tags), *judged]))


def _needs(modules: tuple[ModuleReport, ...]) -> dict[str, tuple[ModuleReport, ...]]:
    """Each shared module with the wheel's modules that its DT_NEEDED reach: dependencies first, itself last.

    Only for machines of which some module asks for static TLS: else nobody wants to know.
    """
    closure: dict[str, tuple[ModuleReport, ...]] = {}
    for machine in {m.demand.machine for m in modules if m.kind == "shared" and (m.demand.needs_static or m.demand.flagged)}:
        same = {m.path: m for m in modules if m.kind == "shared" and m.demand.machine == machine}
        given = Given(m.late for m in same.values())
        for module in same.values():
            found, _ = dependencies(module.late, {}, given)
            closure[module.path] = tuple(same[path] for path in reversed(found))
    return closure


def _allow(findings: list[Finding], config: Config) -> tuple[list[Finding], list[Finding]]:
    """Findings that count, and those that the user allows; notes about allows that explain or match nothing are added."""
    counted: list[Finding] = []
    allowed: list[Finding] = []
    used: set[Allow] = set()
    for finding in findings:
        matching = [allow for allow in config.allow if allow.matches(finding)]
        used.update(matching)
        if matching:
            allowed.append(replace(finding, allowed=matching[0].reason or "no reason given"))
        else:
            counted.append(finding)
    notes = [*_allow_notes(config, used)]
    return counted + [note for note in notes if note.rule not in config.ignore], allowed


def _allow_notes(config: Config, used: set[Allow]) -> Iterator[Finding]:
    for allow in config.allow:
        what = f'allow of {allow.rule} for "{allow.module}"'
        if allow.rule in RULES and allow not in used and allow.rule in config.rules:
            yield Finding(
                "unused-allow",
                "note",
                None,
                (f"the {what} matched nothing in this wheel.",),
                ("take it out if no wheel needs it",),
            )
        elif allow in used and not allow.reason:
            yield Finding("unexplained-allow", "note", None, (f"the {what} has no reason.",), ('add reason = "..."',))


def check_path(path: Path, config: Config) -> Report:
    """As :func:`check_wheel`, with an unreadable file as a report that says so."""
    try:
        return check_wheel(path, config)
    except TlsWheelGuardError as error:
        return Report(wheel=path.name, path=str(path), error=error.message, error_hint=error.hint)


def check_many(paths: Sequence[Path], config: Config, jobs: int, on_done: Callable[[Report], None] | None = None) -> Iterator[Report]:
    """Judge many files, in parallel where that pays; reports come in the order of ``paths``."""
    if jobs > 1 and len(paths) > 1 and sum(_size(path) for path in paths) >= WORKERS_PAY_FROM:
        # spawn: fork is not safe where threads run, and does not exist on Windows.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(paths)), mp_context=context) as pool:
            futures = [pool.submit(check_path, path, config) for path in paths]
            try:
                for future in futures:
                    yield _told(future.result(), on_done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    else:
        for path in paths:
            yield _told(check_path(path, config), on_done)


def _told(report: Report, on_done: Callable[[Report], None] | None) -> Report:
    if on_done is not None:
        on_done(report)
    return report


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
