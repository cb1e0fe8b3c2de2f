"""What a check says: values only, for any writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tls_wheel_guard.culprits import Suspect, Traced
from tls_wheel_guard.elf import InitialExec, SharedObject, TlsReloc
from tls_wheel_guard.loaders import FreshFit, Verdict
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand, TlsModule

if TYPE_CHECKING:
    from tls_wheel_guard.machine_code.access_sites import Sites

__all__ = ["SEVERITIES", "Finding", "ModuleReport", "Report", "Severity", "at_or_above"]

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


def at_or_above(severity: Severity, threshold: str) -> bool:
    """Whether a severity reaches ``threshold`` (a severity, or ``never``)."""
    return threshold != "never" and SEVERITIES.index(severity) >= SEVERITIES.index(threshold)


MAX_LISTED = 32
"""Relocations, symbols and addends that a document lists; it counts all."""


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
    return found


def _version(oldest: tuple[int, ...] | None) -> str | None:
    return ".".join(map(str, oldest)) if oldest else None


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """One ELF file: its facts, what it asks for, and each loader's verdict (none for what dlopen never opens).

    ``traced``: who brought initial-exec TLS in. ``sites``: where its code reads the slots, where that was asked.
    """

    path: str
    shared_object: SharedObject
    tls_module: TlsModule
    verdicts: tuple[Verdict, ...] = ()
    traced: Traced = Traced()
    sites: Sites | None = None

    @property
    def demand(self) -> TlsDemand:
        """What it asks of static TLS."""
        return self.tls_module.demand

    @property
    def kind(self) -> str:
        """shared, program, object or debug."""
        return self.shared_object.kind

    def to_dict(self) -> dict[str, Any]:
        """An entry of ``modules`` in the JSON document."""
        facts, ie = self.shared_object, self.shared_object.initial_exec
        tls = facts.tls_segment
        more = {"access_sites": self.sites.to_dict()} if self.sites is not None else {}
        return {
            **more,
            "path": self.path,
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
            "verdicts": [_verdict(verdict) for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found. ``module``: the member's path, None for the wheel as a whole.

    ``parts``: what was found, then what happens on each system, a sentence or two each. ``hints``: next steps, the cure first.
    ``verdicts``: the verdicts that it rests on, in the order of the targets. ``relocs``: the first relocations behind it,
    ``relocs_total`` all of them. ``allowed``: the reason for which the user allows it, None when it counts. ``culprits``: who brought it in.
    """

    rule: str
    severity: Severity
    module: str | None
    parts: tuple[str, ...]
    hints: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()
    targets: tuple[str, ...] = ()
    relocs: tuple[TlsReloc, ...] = ()
    relocs_total: int = 0
    allowed: str | None = None
    culprits: tuple[Suspect, ...] = ()

    @property
    def message(self) -> str:
        """All that was found, as one paragraph."""
        return " ".join(self.parts)

    @property
    def hint(self) -> str:
        """The next steps, as one line."""
        return "; ".join(self.hints)

    def to_dict(self) -> dict[str, Any]:
        """An entry of ``findings`` in the JSON document."""
        found: dict[str, Any] = {
            "rule": self.rule,
            "severity": self.severity,
            "module": self.module,
            "targets": list(self.targets),
            "message": self.message,
            "hint": self.hint,
            "relocations": [
                {"type": r.name, "offset": r.offset, "addend": r.addend, "symbol": r.symbol.versioned_name if r.symbol else None}
                for r in self.relocs[:MAX_LISTED]
            ],
            "relocations_total": self.relocs_total,
            "culprits": [suspect.to_dict() for suspect in self.culprits],
        }
        if self.allowed is not None:
            found["allowed"] = self.allowed
        return found


@dataclass(frozen=True, slots=True)
class Report:
    """What ``check`` knows of one wheel, or of one bare file.

    ``not_applicable``: formats without static TLS and how many members have them. ``nested``: archives that were not entered.
    ``error``: why nothing could be read, None when it could; ``error_code``: the exit code for it; ``error_trace``: where a bug of
    ours arose.
    """

    wheel: str
    path: str
    tags: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    modules: tuple[ModuleReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    allowed: tuple[Finding, ...] = ()
    not_applicable: tuple[tuple[str, int], ...] = ()
    nested: tuple[str, ...] = ()
    error: str | None = None
    error_hint: str | None = None
    error_code: int = 3
    error_trace: str | None = None

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings, None without any."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default=None)

    def count(self, severity: Severity) -> int:
        """How many findings have that severity."""
        return sum(f.severity == severity for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """One entry of ``wheels`` in the JSON document."""
        if self.error is not None:
            return {"wheel": self.wheel, "path": self.path, "error": self.error, "hint": self.error_hint}
        return {
            "wheel": self.wheel,
            "path": self.path,
            "tags": list(self.tags),
            "targets": [{"tag": t.tag, "machine": t.machine, "libc": t.libc, "oldest": _version(t.oldest)} for t in self.targets],
            "modules": [module.to_dict() for module in self.modules],
            "findings": [finding.to_dict() for finding in self.findings],
            "allowed": [finding.to_dict() for finding in self.allowed],
            "not_applicable": dict(self.not_applicable),
            "nested_archives": list(self.nested),
        }
