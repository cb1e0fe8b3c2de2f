"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.findings import Finding, ModuleReport, Report, Severity
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.report.style import Colour, Style, printable, wrap
from tls_wheel_guard.rules.phrases import count_of, describe_target

if TYPE_CHECKING:
    from tls_wheel_guard.culprits.clues import ReachedVariable
from tls_wheel_guard.report.block import bar, different

__all__ = ["facts", "passed", "summary", "write"]

_COLOURS: dict[Severity, Colour] = {"error": "red", "warning": "yellow", "note": "cyan"}
_FORMATS = {"mach-o": "Mach-O", "pe": "PE", "wasm": "WebAssembly"}


def write(reports: Sequence[Report], style: Style) -> str:
    """The whole report, with a summary line at the end."""
    lines = [line for report in reports for line in _wheel(report, style)]
    if style.verbosity >= 0 or lines:
        lines.append(summary(reports, style))
    return "\n".join(lines) + "\n" if lines else ""


def summary(reports: Sequence[Report], style: Style) -> str:
    """Counts of files, modules and findings in one line."""
    counts = {severity: sum(report.count(severity) for report in reports) for severity in _COLOURS}
    words = ", ".join(style.paint(count_of(n, severity), *([_COLOURS[severity]] if n else [])) for severity, n in counts.items())
    modules = sum(len(report.modules) for report in reports)
    trees = sum(report.is_tree for report in reports)
    inputs = [count_of(n, noun) for n, noun in ((len(reports) - trees, "file"), (trees, "folder")) if n] or ["0 files"]
    line = f"{' and '.join(inputs)}, {count_of(modules, 'ELF module')}" + (f": {words}" if style.judged else "")
    allowed = sum(len(report.allowed) for report in reports)
    unread = sum(report.error is not None for report in reports)
    return line + (f"; {allowed} allowed" if allowed else "") + (f"; {count_of(unread, 'file')} could not be read" if unread else "")


def _wheel(report: Report, style: Style) -> Iterator[str]:
    if report.error is not None:
        # The edge has said why on stderr, in every format.
        return
    quiet = style.verbosity < 0
    if quiet and not report.findings:
        return
    verdict = ": " + style.paint("ok", "green") + _what([report]) if style.judged and not report.findings else ""
    yield style.paint(printable(report.path), "bold") + verdict
    if not report.findings and style.verbosity < 1:
        yield from _asides(report, style)
        return
    if report.targets:
        yield from wrap("for " + ", ".join(describe_target(t) for t in report.targets), style.width, "      ", "  ")
    if style.verbosity >= 1:
        for module in report.modules:
            yield from facts(module, style)
    yield from _asides(report, style)
    for finding in report.findings:
        yield ""
        yield from _finding(finding, style)
    yield ""


def passed(reports: Sequence[Report]) -> str:
    """One line for files without findings: which, ok, how many modules, for which systems."""
    names = reports[0].wheel if len(reports) == 1 else f"{reports[0].wheel} and {len(reports) - 1} more"
    return printable(f"{names}: ok{_what(reports)}")


def _what(reports: Sequence[Report]) -> str:
    modules = sum(len(report.modules) for report in reports)
    systems = dict.fromkeys(describe_target(target) for report in reports for target in report.targets) if modules else ()
    return f" ({count_of(modules, 'ELF module') if modules else 'no ELF module'}{', for ' if systems else ''}{', '.join(systems)})"


def _asides(report: Report, style: Style) -> Iterator[str]:
    if style.verbosity < 0:
        return
    if report.not_applicable:
        formats = ", ".join(f"{count_of(n, f'{_FORMATS[name]} file')}" for name, n in report.not_applicable)
        yield from wrap(f"does not apply to {formats}: those systems have no static TLS block", style.width, "    ", "  ")
    if report.nested:
        names = ", ".join(report.nested[:3]) + (", ..." if len(report.nested) > 3 else "")
        yield from wrap(f"not entered: {count_of(len(report.nested), 'nested archive')} ({names})", style.width, "    ", "  ")
    for finding in report.allowed:
        yield from wrap(f"allowed: {finding.rule} in {finding.module or 'the wheel'}: {finding.allowed}", style.width, "    ", "  ")


def _finding(finding: Finding, style: Style) -> Iterator[str]:
    head = style.paint(f"{finding.severity}: {finding.rule}", _COLOURS[finding.severity], "bold")
    yield f"  {head}" + (f"  {printable(finding.module)}" if finding.module else "")
    yield from wrap(finding.parts[0], style.width, "    ")
    for part in finding.parts[1:]:
        yield from wrap(part, style.width, "      ", "    - ")
    if style.width >= 60:
        for verdict in different(finding.verdicts):
            yield from bar(verdict, style)
    for number, step in enumerate(finding.hints):
        yield from wrap(step, style.width, "          ", "    hint: " if number == 0 else "          ")


def facts(module: ModuleReport, style: Style) -> Iterator[str]:
    """What ``show`` says of one module."""
    so, ie, tls = module.shared_object, module.shared_object.initial_exec, module.shared_object.tls_segment
    yield f"  {style.paint(printable(module.path), 'bold')}"
    segment = f"{tls.memsz:,} bytes ({tls.filesz:,} initialised), aligned to {tls.align}" if tls else "none"
    yield f"    {so.kind}, {so.machine_name}; TLS segment: {segment}; DF_STATIC_TLS {'set' if so.df_static_tls else 'not set'}"
    types = ", ".join(f"{count} x {name}" for name, count in ie.types) or "none"
    owner = f" ({ie.own} own, {ie.foreign} foreign)" if ie.count else ""
    yield f"    initial-exec: {types}{owner}; dynamic: {so.dynamic.dtpmod} DTPMOD, {so.dynamic.tlsdesc} TLSDESC"
    yield f"    {count_of(so.dynamic_relocations, 'dynamic relocation')}; needs {printable(', '.join(so.needed)) or 'nothing'}"
    for suspect in module.traced.suspects:
        yield from wrap(_suspect_line(suspect), style.width, "      ", "    ")
    for reached in module.traced.reached if module.sites is None else ():
        yield from wrap(_reached_line(reached), style.width, "      ", "    ")
    yield from access_sites(module, style)
    for verdict in module.verdicts:
        yield from wrap(_verdict_line(verdict), style.width, "      ", "    ")
    if ie.count and module.kind == "program":
        yield "    initial-exec is harmless in a program"


def _suspect_line(suspect: Suspect) -> str:
    match = suspect.match
    version = f" {match.version}" if match.version else ""
    return f"{match.confidence} culprit: {match.culprit.name}{version}: {'; '.join(match.evidence)}"


def _reached_line(reached: ReachedVariable) -> str:
    """A variable and who reads it, as far as that shows without decoding."""
    name = f"`{reached.name}`" if reached.name else f"the variable at offset {reached.offset:#x} of the TLS segment"
    where = " of another module" if reached.offset is None else ""
    text = f"reaches {name}{where}"
    if reached.reads:
        text += f", read {count_of(reached.reads, 'time')}"
    if reached.readers:
        more = f" and {len(reached.readers) - 4} more" if len(reached.readers) > 4 else ""
        text += f", in {', '.join(f'`{reader}`' for reader in reached.readers[:4])}{more}"
    return text


def access_sites(module: ModuleReport, style: Style) -> Iterator[str]:
    """Which functions read which slot, and where."""
    found = module.sites
    if found is None:
        return
    if not found.decoded:
        yield f"    sites: not decoded for {module.shared_object.machine_name}"
        return
    yield f"    {count_of(len(found.sites), 'access site')} in {count_of(len({s.function for s in found.sites}), 'function')}"
    for slot, variable in found.variables:
        here = [site for site in found.sites if site.slot == slot]
        yield from wrap(f"slot {slot:#x}, {variable}: {count_of(len(here), 'site')}", style.width, "        ", "      ")
        for function in dict.fromkeys(site.function for site in here):
            yield f"        {printable(str(function)) if function else 'no function is known'}"
            for site in here:
                if site.function == function:
                    line = f"    {printable(site.line)}" if site.line else ""
                    yield f"          {site.address:#x}  {site.text}{line}"
    for doubt in found.doubts:
        yield from wrap(f"in doubt: {doubt}", style.width, "        ", "      ")


def _verdict_line(verdict: Verdict) -> str:
    outcome = verdict.outcome
    text = f"{verdict.target.tag}: {outcome.word}"
    if outcome.taken:
        text += f", takes {outcome.taken:,}"
    if outcome.takes_at_most:
        text += f", may take {outcome.takes_at_most:,} for descriptors"
    if (fit := outcome.fits_fresh_process) is not None:
        text += f", fits a fresh process: oldest {_yes(fit.oldest)}, current {_yes(fit.current)}"
    return text


def _yes(value: bool) -> str:
    return "yes" if value else "no"
