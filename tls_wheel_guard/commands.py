"""The recipes: open files, call the parts in order. No command line, no printing."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.config.model import Allow, Config
from tls_wheel_guard.culprits import Traced
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError, bug_of
from tls_wheel_guard.findings import Finding, ModuleReport, Report
from tls_wheel_guard.grafting import grafts_of
from tls_wheel_guard.inspection import Contents, inspect_file
from tls_wheel_guard.loaders import judge, reached
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.rules import RULES, RuleInput, Unreadable, run_rules
from tls_wheel_guard.targets import promised_by, targets_for
from tls_wheel_guard.tls import demand_of, tls_module
from tls_wheel_guard.tree import inspect_tree

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

__all__ = ["check_many", "check_path", "check_wheel", "expand"]

WORKERS_PAY_FROM = 128 << 20
"""Bytes of wheels from which worker processes are worth their start: two cost 0.3 s of CPU time, which one process needs for 90 MB."""


def expand(path: Path, tree: bool = False) -> list[Path]:
    """What one argument stands for: itself, or the wheels in a folder, unless it is a tree; raises UsageError."""
    try:
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"{path}: no such file or folder", hint="check the path; a shell pattern that matches nothing stays as it is")
        if tree or not path.is_dir():
            return [path]
        wheels = sorted(child for child in path.iterdir() if child.suffix == ".whl")
    except OSError as error:
        raise UsageError(f"{path}: it can't be looked at: {error.strerror}", hint="check the path and its permissions") from error
    if not wheels:
        raise UsageError(f"{path}: no wheel in this folder", hint="build one first, or give the folder that holds the *.whl files")
    return wheels


def check_wheel(path: str | os.PathLike[str], config: Config | None = None) -> Report:
    """Judge one wheel, or one bare shared object, or with ``config.tree`` a folder; raises UnreadableInput where nothing can be read."""
    config = config or Config()
    contents = _inspect(Path(path), config)
    promised = (promised_by(contents.tags) if config.own_tags else ()) + config.more_targets
    modules = _module_reports(contents, promised, _traced(Path(path), contents, config))
    unreadable = tuple(Unreadable(path, reason) for path, reason in contents.unreadable)
    grafts = grafts_of(contents)
    case = RuleInput(modules, unreadable, _needs(modules), config.thresholds, grafts, one_process=not contents.is_tree)
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


def _traced(path: Path, contents: Contents, config: Config) -> dict[str, Traced]:
    """Who brought initial-exec TLS in. Nothing of this is loaded for a file without any."""
    if not any(facts.kind == "shared" and facts.initial_exec.count for _, facts in contents.modules):
        return {}
    from tls_wheel_guard.suspects import trace_file  # noqa: PLC0415

    return trace_file(path, contents, config.bounds)


def _inspect(path: Path, config: Config) -> Contents:
    if not (config.tree and path.is_dir()):
        return inspect_file(path, config.bounds)
    contents = inspect_tree(path, config.bounds)
    if not contents.modules and not contents.unreadable:
        raise UsageError("no ELF file below this folder", hint="give a folder such as site-packages, or the root of a package")
    return contents


def _module_reports(contents: Contents, promised: tuple[Target, ...], traced: dict[str, Traced]) -> tuple[ModuleReport, ...]:
    facts = dict(contents.modules)
    demands = {path: demand_of(module, path) for path, module in facts.items()}
    definers = {symbol: demands[path] for symbol, path in contents.definers.items()}
    reports = []
    for path, module in contents.modules:
        demand = demand_of(module, path, definers)
        verdicts = tuple(judge(demand, t) for t in targets_for(module, path, promised)) if module.kind == "shared" else ()
        exports = [symbol for symbol, definer in contents.definers.items() if definer == path]
        late = tls_module(module, path, exports, demand)
        reports.append(ModuleReport(path, module, late, verdicts, traced.get(path, Traced())))
    return tuple(reports)


def _targets_of(promised: tuple[Target, ...], modules: tuple[ModuleReport, ...]) -> tuple[Target, ...]:
    """The promised targets, and those that modules' own evidence made."""
    judged = [v.target for module in modules for v in module.verdicts]
    tags = {t.tag for t in judged}
    return tuple(dict.fromkeys([*(t for t in promised if t.libc != "unknown" or t.tag not in tags), *judged]))


def _needs(modules: tuple[ModuleReport, ...]) -> dict[str, tuple[ModuleReport, ...]]:
    """Each shared module with those of the wheel's modules that its DT_NEEDED reach and that ask for static TLS: dependencies first."""
    closure: dict[str, tuple[ModuleReport, ...]] = {}
    asking = {m.path: m for m in modules if m.kind == "shared" and (m.demand.needs_static or m.demand.flagged)}
    for machine in {m.demand.machine for m in asking.values()}:
        same = [m for m in modules if m.kind == "shared" and m.demand.machine == machine]
        groups: dict[tuple[str, ...], tuple[ModuleReport, ...]] = {}
        for path, found in reached((m.tls_module for m in same), asking).items():
            closure[path] = groups.get(found) or groups.setdefault(found, tuple(asking[other] for other in found))
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
    """As :func:`check_wheel`, with whatever goes wrong as a report that says so: one file must not hide the others' results."""
    try:
        return check_wheel(path, config)
    except TlsWheelGuardError as error:
        return Report(path.name, str(path), error=error.message, error_hint=error.hint, error_code=error.exit_code)
    except Exception as error:
        bug = bug_of(error)
        trace = traceback.format_exc()
        return Report(path.name, str(path), error=bug.message, error_hint=bug.hint, error_code=bug.exit_code, error_trace=trace)


def check_many(paths: Sequence[Path], config: Config, jobs: int, on_done: Callable[[Path], None] | None = None) -> Iterator[Report]:
    """Judge many files, in parallel where that pays; reports come in the order of ``paths``.

    ``on_done`` is called with each path as soon as it is done, from another thread where there are workers.
    """
    done = on_done or (lambda _: None)
    if jobs > 1 and len(paths) > 1 and sum(_size(path) for path in paths) >= WORKERS_PAY_FROM:
        yield from _by_workers(paths, config, min(jobs, len(paths)), done)
    else:
        for path in paths:
            report = check_path(path, config)
            done(path)
            yield report


def _by_workers(paths: Sequence[Path], config: Config, workers: int, done: Callable[[Path], None]) -> Iterator[Report]:
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    with _pool(workers) as pool:
        futures: list[Future[Report]] = []
        before = set(multiprocessing.active_children())
        try:
            for path in paths:
                with _interrupts_ignored():
                    future = pool.submit(check_path, path, config)
                future.add_done_callback(lambda _, path=path: done(path))  # type: ignore[misc]  # a default that binds
                futures.append(future)
            for path, future in zip(paths, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # Any of the files may have killed the worker; all that were under way are lost with it.
                    yield _alone(path, config)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal: a worker that is started meanwhile leaves it to this process, which ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Imported where there are workers: one wheel should not wait 25 ms for them.
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

    # spawn: fork is not safe where threads run, and does not exist on Windows.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _alone(path: Path, config: Config) -> Report:
    """Judge a file in a process of its own, so that the one that kills its worker does not hide the others' results."""
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    with _pool(1) as pool:
        try:
            return pool.submit(check_path, path, config).result()
        except BrokenProcessPool:
            died = "the process that read it was killed, perhaps for want of memory"
            return Report(path.name, str(path), error=died, error_hint="check it by itself, on a machine with more memory")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
