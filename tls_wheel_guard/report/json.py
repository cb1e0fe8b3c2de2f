"""Every document for programs, as values and as text. The schema of ``check``'s is ``schema.json`` beside this file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.elf import InitialExec
from tls_wheel_guard.findings import SEVERITIES, Finding, ModuleReport, Report
from tls_wheel_guard.loaders import FreshFit, Verdict
from tls_wheel_guard.report.style import Style
from tls_wheel_guard.version import __version__

if TYPE_CHECKING:
    from tls_wheel_guard.doctor.result import Advice, Asked, Diagnosis, Share
    from tls_wheel_guard.live.model import Live
    from tls_wheel_guard.loaders.simulation import Simulation, StepReport
    from tls_wheel_guard.machine_code.access_sites import Site, Sites
    from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites

__all__ = ["diagnosis_document", "document", "live_document", "report_entry", "simulation_document", "to_text", "write"]

MAX_LISTED = 32
"""Relocations, symbols and addends that a document lists; it counts all."""


def write(reports: Sequence[Report], style: Style) -> str:
    """The document of ``check`` as text."""
    del style
    return to_text(document(reports))


def to_text(found: Mapping[str, Any]) -> str:
    """A document as text; ASCII, so that any output encoding carries it."""
    return json.dumps(found, indent=2) + "\n"


def document(reports: Sequence[Report]) -> dict[str, Any]:
    """The document of ``check --format json``."""
    return {
        "version": 1,
        "tool": {"name": "tls-wheel-guard", "version": __version__},
        "wheels": [report_entry(report) for report in reports],
        "summary": {
            "wheels": len(reports),
            "modules": sum(len(report.modules) for report in reports),
            **{severity: sum(report.count(severity) for report in reports) for severity in reversed(SEVERITIES)},
        },
    }


def report_entry(report: Report) -> dict[str, Any]:
    """One entry of ``wheels``."""
    if report.error is not None:
        return {"wheel": report.wheel, "path": report.path, "error": report.error, "hint": report.error_hint}
    return {
        "wheel": report.wheel,
        "path": report.path,
        "tags": list(report.tags),
        "targets": [{"tag": t.tag, "machine": t.machine, "libc": t.libc, "oldest": _version(t.oldest)} for t in report.targets],
        "modules": [_module(module) for module in report.modules],
        "findings": [_finding(finding) for finding in report.findings],
        "allowed": [_finding(finding) for finding in report.allowed],
        "known": [_finding(finding) for finding in report.known],
        "excluded": list(report.excluded),
        "not_applicable": dict(report.not_applicable),
        "nested_archives": list(report.nested),
        "settings_file": report.settings_file,
    }


def _version(oldest: tuple[int, ...] | None) -> str | None:
    return ".".join(map(str, oldest)) if oldest else None


def _module(module: ModuleReport) -> dict[str, Any]:
    """An entry of ``modules``."""
    facts, ie = module.shared_object, module.shared_object.initial_exec
    tls = facts.tls_segment
    more = {"access_sites": _sites(module.sites)} if module.sites is not None else {}
    if module.descriptor_sites is not None:
        more["descriptor_calls"] = _descriptor_calls(module.descriptor_sites)
    return {
        **more,
        "path": module.path,
        "kind": facts.kind,
        "machine": facts.machine_name,
        "soname": facts.soname,
        "needed": list(facts.needed),
        "tls_segment": {"filesz": tls.filesz, "memsz": tls.memsz, "align": tls.align} if tls else None,
        "initial_exec": {
            "count": ie.count,
            "types": dict(ie.types),
            "own": ie.own,
            "foreign": ie.foreign,
            "symbols": _symbols(ie),
            "addends": list(ie.addends)[:MAX_LISTED],
        },
        "dynamic": {"dtpmod": facts.dynamic.dtpmod, "tlsdesc": facts.dynamic.tlsdesc},
        "df_static_tls": facts.df_static_tls,
        "dynamic_relocations": facts.dynamic_relocations,
        "verdicts": [_verdict(verdict) for verdict in module.verdicts],
    }


def _descriptor_calls(found: DescriptorSites) -> dict[str, Any]:
    """``descriptor_calls`` of a module: what its code keeps over them. Addresses are virtual."""
    return {
        "count": len(found.sites),
        "kept_total": len(found.kept),
        "kept": [
            {"address": site.address, "function": site.name, "function_start": site.function, "registers": list(site.kept)}
            for site in found.kept[:MAX_LISTED]
        ],
        "unread": [{"address": address, "reason": reason} for address, reason in found.unread[:MAX_LISTED]],
        "unread_total": len(found.unread),
        "not_checked": found.trouble,
    }


def _symbols(ie: InitialExec) -> list[str]:
    """The names of the symbols behind initial-exec relocations, the file's own first."""
    named = {r.symbol.versioned_name: None for r in ie.relocs if r.symbol is not None and r.symbol.defined and r.symbol.name}
    named.update((symbol.versioned_name, None) for symbol, _ in ie.foreign_symbols)
    return list(named)[:MAX_LISTED]


def _verdict(verdict: Verdict) -> dict[str, Any]:
    outcome = verdict.outcome
    found: dict[str, Any] = {
        "target": verdict.target.tag, "loader": verdict.loader, "verdict": outcome.word, "taken": outcome.taken, "error": outcome.error,
    }  # fmt: skip
    if outcome.takes_at_most:
        found["takes_at_most"] = outcome.takes_at_most
    if verdict.loader == "glibc":
        fit = outcome.fits_fresh_process
        fits = fit if fit is not None else FreshFit(outcome.word == "always", outcome.word == "always")
        found["fits_fresh_process"] = {"oldest": fits.oldest, "current": fits.current}
    if outcome.fits_start is not None:
        found["fits_start"] = outcome.fits_start
    return found


def _finding(finding: Finding) -> dict[str, Any]:
    """An entry of ``findings``."""
    found: dict[str, Any] = {
        "rule": finding.rule,
        "severity": finding.severity,
        "module": finding.module,
        "targets": list(finding.targets),
        "message": finding.message,
        "hint": finding.hint,
        "hints": [hint.line() for hint in finding.hints],
        "relocations": [
            {"type": r.name, "offset": r.offset, "addend": r.addend, "symbol": r.symbol.versioned_name if r.symbol else None}
            for r in finding.relocs[:MAX_LISTED]
        ],
        "relocations_total": finding.relocs_total,
        "culprits": [_culprit(suspect) for suspect in finding.culprits],
    }
    if finding.allowed is not None:
        found["allowed"] = finding.allowed
    return found


def _culprit(suspect: Suspect) -> dict[str, Any]:
    """An entry of ``culprits``."""
    match = suspect.match
    return {
        "id": match.culprit.id,
        "confidence": match.confidence,
        "version": match.version,
        "evidence": list(match.evidence),
        "remedies": list(suspect.advice),
    }


def _sites(sites: Sites) -> dict[str, Any]:
    """``access_sites`` of a module."""
    return {
        "decoded": sites.decoded,
        "variables": [{"slot": slot, "variable": text} for slot, text in sites.variables],
        "sites": [_site(site) for site in sites.sites],
        "doubts": list(sites.doubts),
    }


def _site(site: Site) -> dict[str, Any]:
    return {
        "address": site.address,
        "slot": site.slot,
        "instruction": site.text,
        "function": site.function.name if site.function else None,
        "function_start": site.function.start if site.function else None,
        "line": site.line,
    }


def live_document(live: Live) -> dict[str, Any]:
    """The document of ``env --format json``."""
    start = {"used": live.used, "limit": live.limit, "align": live.align, "optional": live.optional}
    return {
        "version": 1,
        "python": live.python,
        "implementation": live.implementation,
        "libc": live.libc,
        "libc_version": live.libc_version,
        "machine": live.machine,
        "start": None if live.used is None else start,
        "room": live.room,
        "method": live.method,
        "tunables": dict(live.tunables),
        **({"warning": live.warning} if live.warning else {}),
        "imported": list(live.imported),
    }


def simulation_document(simulation: Simulation) -> dict[str, Any]:
    """The document of ``simulate --format json``."""
    loader = {"name": simulation.loader.name, "version": simulation.loader.spelling, "machine": simulation.loader.machine}
    document: dict[str, Any] = {"version": 1, "loader": loader, "start": simulation.start, "room": simulation.room}
    document["steps"] = [_step(report) for report in simulation.steps]
    document["assumed"] = [{"kind": each.kind, "name": each.name, "module": each.module} for each in simulation.assumed]
    if simulation.order:
        document["order_that_works"] = list(simulation.order)
    return document


def _step(report: StepReport) -> dict[str, Any]:
    """An entry of ``steps``."""
    found: dict[str, Any] = {
        "module": report.module,
        "loads": report.step.loads,
        "taken": report.step.taken,
        "used": report.used,
        "room": report.room,
        "error": report.step.error,
    }
    if report.deed != "open":
        found["event"] = report.deed
    if report.step.unsafe:
        found["unsafe"] = report.step.unsafe
    return found


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """The document of ``doctor --format json``."""
    live = live_document(diagnosis.live)
    return {
        "version": 1,
        "outcome": diagnosis.outcome,
        "stages": [{"name": stage.name, "error": stage.error} for stage in diagnosis.stages],
        "not_tried": list(diagnosis.not_tried),
        "error": diagnosis.error,
        "hint": diagnosis.hint,
        "loader_says": diagnosis.swallowed or diagnosis.stages[-1].static_tls,
        "swallowed": diagnosis.swallowed is not None,
        **{name: live[name] for name in ("python", "implementation", "libc", "libc_version", "machine", "start", "method", "tunables")},
        "room_at_start": diagnosis.live.room,
        "room": diagnosis.room,
        "took": [_share(share) for share in diagnosis.took],
        "refused": list(diagnosis.refused),
        "asked": _asked(diagnosis.asked) if diagnosis.asked else None,
        "model": {
            "known": diagnosis.has_model, "agrees": diagnosis.has_model and diagnosis.disagrees is None, "difference": diagnosis.disagrees,
        },
        "advice": [_advice(advice) for advice in diagnosis.advice],
    }  # fmt: skip


def _share(share: Share) -> dict[str, Any]:
    """An entry of ``took``."""
    return {"module": share.path, "import": share.stage, "taken": share.size}


def _asked(asked: Asked) -> dict[str, Any]:
    return {
        "modules": list(asked.asking),
        "definer": asked.definer,
        "opened": asked.opened,
        "size": asked.size,
        "align": asked.align,
        "used_before": asked.used_before,
    }


def _advice(advice: Advice) -> dict[str, Any]:
    """An entry of ``advice``."""
    values = {name: dict(found) if found is not None else None for name, found in (("least", advice.least), ("padded", advice.padded))}
    return {
        "kind": advice.kind, "helps": advice.helps, "text": advice.text, "command": advice.command, **values,
        "simulated": advice.simulated, "ran": advice.ran, "then": advice.then,
    }  # fmt: skip
