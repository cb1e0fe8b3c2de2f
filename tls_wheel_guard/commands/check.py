"""An opened input -> Report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.commands.allow import apply_allows
from tls_wheel_guard.commands.grafted import needed_outside, will_be_copied
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.culprits import Suspect, Traced
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError, bug_of
from tls_wheel_guard.findings import ModuleReport, Report
from tls_wheel_guard.inputs.contents import Contents, InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.loaders import judge, reached
from tls_wheel_guard.loaders.descriptors import KEEPS_REGISTERS_SINCE
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass, field, replace
from tls_wheel_guard.rules import Graft, LiveProcess, RuleInput, Thresholds, Unreadable, run_rules
from tls_wheel_guard.targets import promised_by, targets_for
from tls_wheel_guard.tls import demand_of, tls_module

if TYPE_CHECKING:
    from tls_wheel_guard.commands.descriptors import DescriptorLook
    from tls_wheel_guard.machine_code.access_sites import Sites
    from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites

__all__ = ["Asked", "SecondLook", "check_path", "check_wheel", "damaged_in", "descriptor_calls_of", "failed_report", "judge_contents"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What only a command line asks, beside the settings.

    ``own_tags``: whether the wheel's own tags are judged. ``tree``: whether a folder stands for the ELF files below it. ``live``: a
    process that was read. ``sites``: whether the code that reaches each slot is listed. ``on_file``: is told of each
    file of a folder before it is read; never in a worker process. ``threads``: how many may read the members of one wheel side by side.
    """

    own_tags: bool = True
    tree: bool = False
    live: LiveProcess | None = None
    sites: bool = False
    on_file: Callable[[str], None] | None = None
    threads: int = 1


def check_wheel(source: str | os.PathLike[str] | OpenInput, config: Config | None = None, asked: Asked = Asked()) -> Report:
    """Judge one wheel or one bare shared object, by its path or open already; raises UnreadableInput where nothing can be read."""
    config = config or Config()
    if isinstance(source, OpenInput):
        return _judged(source, config, asked)
    with open_input(source, config.bounds, tree=asked.tree, threads=asked.threads) as opened:
        if asked.on_file is not None:
            opened.on_file = asked.on_file
        return _judged(opened, config, asked)


def _judged(opened: OpenInput, config: Config, asked: Asked) -> Report:
    contents = opened.contents
    if contents.is_tree and not contents.modules and not contents.unreadable:
        raise UsageError("no ELF file below this folder", hint="give a folder such as site-packages, or the root of a package")
    sites = _sites(opened) if asked.sites else {}
    outside, copied, calls = needed_outside(opened), will_be_copied(opened), descriptor_calls_of(opened, _promised(contents, config, asked))
    looks = SecondLook(_traced(opened), damaged_in(opened), sites, outside, copied, calls)
    return judge_contents(contents, opened.path, looks, config, asked)


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What the second look found, by a module's index, and what was found on this machine.

    ``outside``: libraries of this machine that the modules need; ``copied``: whether auditwheel will copy them into the wheel.
    ``calls``: calls through TLS descriptors, and who chose them.
    """

    traced: Mapping[int, Traced] = field(default_factory=dict)
    damaged: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    sites: Mapping[int, Sites] = field(default_factory=dict)
    outside: tuple[Graft, ...] = ()
    copied: bool = False
    calls: Mapping[int, tuple[DescriptorSites | None, tuple[Suspect, ...]]] = field(default_factory=dict)


def judge_contents(contents: Contents, path: str, looks: SecondLook, config: Config, asked: Asked = Asked()) -> Report:
    """Judge what an input holds, however it was read."""
    promised = _promised(contents, config, asked)
    thresholds = config.thresholds(asked.live)
    modules = _module_reports(contents, promised, thresholds, looks)
    excluded = tuple(module.path for module in modules if config.excludes(module.path))
    modules = tuple(module for module in modules if module.path not in excluded)
    unreadable = tuple(Unreadable(path, reason) for path, reason in contents.unreadable if not config.excludes(path))
    case = RuleInput(modules, unreadable, _needs(modules), thresholds, one_process=not contents.is_tree)
    case = replace(case, grafts=looks.outside if looks.copied else (), needed_outside=() if looks.copied else looks.outside)
    case = replace(case, tagged=promised_by(contents.tags), asked=config.more_targets)
    findings, allowed = apply_allows(run_rules(case, config.rules), config)
    return Report(
        wheel=contents.name,
        path=path,
        tags=contents.tags,
        targets=_targets_of(promised, modules),
        modules=modules,
        findings=tuple(findings),
        allowed=tuple(allowed),
        excluded=excluded,
        not_applicable=tuple(sorted(contents.not_applicable.items())),
        nested=tuple(contents.nested),
        is_tree=contents.is_tree,
        settings_file=config.source,
    )


def _traced(opened: OpenInput) -> dict[int, Traced]:
    """Who brought initial-exec TLS in, by module. Nothing of this is loaded for an input without any."""
    if not opened.contents.initial_exec:
        return {}
    from tls_wheel_guard.commands.culprits import trace_input  # noqa: PLC0415

    return trace_input(opened)


def _sites(opened: OpenInput) -> dict[int, Sites]:
    """The code that reaches each slot, by module."""
    from tls_wheel_guard.commands.show import sites_in  # noqa: PLC0415

    return sites_in(opened)


def damaged_in(opened: OpenInput) -> dict[int, tuple[str, ...]]:
    """What is wrong with modules that were repaired."""
    asked = [module for module in opened.contents.modules if module.repaired]
    if not asked:
        return {}
    from tls_wheel_guard.commands.damage import damage_in  # noqa: PLC0415

    return {module.index: damage_in(opened, module) for module in asked}


def _promised(contents: Contents, config: Config, asked: Asked) -> tuple[Target, ...]:
    return (promised_by(contents.tags) if asked.own_tags else ()) + config.more_targets


def descriptor_calls_of(opened: OpenInput, promised: tuple[Target, ...] | None = None) -> dict[int, DescriptorLook]:
    """What code keeps over descriptor calls that an old glibc may lose: one that is promised, or any that may be.

    Nothing of this is loaded for an input without such calls.
    """
    if not any(module.facts.dynamic.tlsdesc for module in opened.contents.modules):
        return {}
    from tls_wheel_guard.commands.descriptors import descriptor_calls_in  # noqa: PLC0415

    def is_judged(module: InputModule) -> bool:
        targets = targets_for(module.facts, module.name, promised) if promised is not None else None
        return targets is None or _may_lose_registers(targets)

    return descriptor_calls_in(opened, is_judged)


def _may_lose_registers(targets: Iterable[Target]) -> bool:
    return any(t.libc == "glibc" and (t.oldest or ()) < KEEPS_REGISTERS_SINCE for t in targets)


def _module_reports(contents: Contents, promised: tuple[Target, ...], thresholds: Thresholds, looks: SecondLook) -> tuple[ModuleReport, ...]:
    demands = {module.index: demand_of(module.facts, module.name) for module in contents.modules}
    definers = {symbol: demands[index] for symbol, index in contents.definers.items()}
    reports = []
    for module in contents.modules:
        facts = module.facts
        demand = demand_of(facts, module.name, definers)
        exports = [symbol for symbol, index in contents.definers.items() if index == module.index]
        late = tls_module(facts, module.name, exports, demand)
        targets = targets_for(facts, module.name, promised) if module.is_shared else ()
        calling, suspects = looks.calls.get(module.index, (None, ()))
        if calling is not None and not _may_lose_registers(targets):
            # Stored facts are of no target.
            calling = None
        if calling is not None:
            late = replace(late, calls_that_keep=len(calling.kept))
        verdicts = tuple(judge(late, target, thresholds.starts(target, demand)) for target in targets)
        index = module.index
        more = (looks.traced.get(index, Traced()), looks.sites.get(index), looks.damaged.get(index, ()))
        reports.append(ModuleReport(module.name, facts, late, verdicts, *more, calling, suspects))
    return tuple(reports)


def _targets_of(promised: tuple[Target, ...], modules: tuple[ModuleReport, ...]) -> tuple[Target, ...]:
    """The promised targets, and those that modules' own evidence made."""
    judged = [v.target for module in modules for v in module.verdicts]
    tags = {t.tag for t in judged}
    return tuple(dict.fromkeys([*(t for t in promised if t.libc != "unknown" or t.tag not in tags), *judged]))


def _needs(modules: tuple[ModuleReport, ...]) -> dict[str, tuple[ModuleReport, ...]]:
    """Each shared module with those of the wheel's modules that its DT_NEEDED reach and that take static TLS: dependencies first."""
    closure: dict[str, tuple[ModuleReport, ...]] = {}
    asking = {m.path: m for m in modules if m.kind == "shared" and (m.demand.needs_static or m.demand.flagged or m.demand.descriptors)}
    for machine in {m.demand.machine for m in asking.values()}:
        same = [m for m in modules if m.kind == "shared" and m.demand.machine == machine]
        groups: dict[tuple[str, ...], tuple[ModuleReport, ...]] = {}
        for path, found in reached((m.tls_module for m in same), asking).items():
            closure[path] = groups.get(found) or groups.setdefault(found, tuple(asking[other] for other in found))
    return closure


def check_path(path: Path, config: Config, asked: Asked = Asked()) -> Report:
    """As :func:`check_wheel`, with whatever goes wrong as a report that says so: one file must not hide the others' results."""
    try:
        return check_wheel(path, config, asked)
    except Exception as error:
        return failed_report(path, error)


def failed_report(path: Path, error: Exception) -> Report:
    """What is said of an input that could not be judged: the error's own line, or that it is a bug, with where it arose."""
    if isinstance(error, TlsWheelGuardError):
        return Report(path.name, str(path), error=error.message, error_hint=error.hint, error_code=error.exit_code)
    import traceback  # noqa: PLC0415  (a bug of ours)

    bug, trace = bug_of(error), "".join(traceback.format_exception(error))
    return Report(path.name, str(path), error=bug.message, error_hint=bug.hint, error_code=bug.exit_code, error_trace=trace)
