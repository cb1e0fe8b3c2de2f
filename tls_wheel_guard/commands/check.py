"""An opened input -> Report."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from tls_wheel_guard.commands.allow import apply_allows
from tls_wheel_guard.commands.grafted import grafts_of
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.culprits import Traced
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError, bug_of
from tls_wheel_guard.findings import ModuleReport, Report
from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.folder import inspect_tree
from tls_wheel_guard.inputs.wheel import inspect_file
from tls_wheel_guard.loaders import judge, reached
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.rules import RuleInput, Unreadable, run_rules
from tls_wheel_guard.targets import promised_by, targets_for
from tls_wheel_guard.tls import demand_of, tls_module

__all__ = ["check_path", "check_wheel"]


def check_wheel(path: str | os.PathLike[str], config: Config | None = None) -> Report:
    """Judge one wheel, or one bare shared object, or with ``config.tree`` a folder; raises UnreadableInput where nothing can be read."""
    config = config or Config()
    contents = _inspect(Path(path), config)
    promised = (promised_by(contents.tags) if config.own_tags else ()) + config.more_targets
    modules = _module_reports(contents, promised, _traced(Path(path), contents, config))
    unreadable = tuple(Unreadable(path, reason) for path, reason in contents.unreadable)
    grafts = grafts_of(contents)
    case = RuleInput(modules, unreadable, _needs(modules), config.thresholds, grafts, one_process=not contents.is_tree)
    findings, allowed = apply_allows(run_rules(case, config.rules), config)
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
        is_tree=contents.is_tree,
        settings_file=config.source,
    )


def _traced(path: Path, contents: Contents, config: Config) -> dict[str, Traced]:
    """Who brought initial-exec TLS in. Nothing of this is loaded for a file without any."""
    if not any(facts.kind == "shared" and facts.initial_exec.count for _, facts in contents.modules):
        return {}
    from tls_wheel_guard.commands.culprits import trace_file  # noqa: PLC0415

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
        exports = [symbol for symbol, definer in contents.definers.items() if definer == path]
        late = tls_module(module, path, exports, demand)
        verdicts = tuple(judge(late, t) for t in targets_for(module, path, promised)) if module.kind == "shared" else ()
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
