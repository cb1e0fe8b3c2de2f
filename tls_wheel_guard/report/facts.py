"""What `show` says of one module: facts and verdicts, without a judgement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.findings import ModuleReport
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.report.style import Style, printable, wrap
from tls_wheel_guard.rules.phrases import count_of

if TYPE_CHECKING:
    from tls_wheel_guard.culprits.clues import ReachedVariable
    from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSite

__all__ = ["access_sites", "descriptor_calls", "facts", "reached_line"]

MAX_FUNCTIONS = 16
"""Functions that are named without -v."""


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
        yield from wrap(reached_line(reached), style.width, "      ", "    ")
    yield from access_sites(module, style)
    yield from descriptor_calls(module, style)
    for verdict in module.verdicts:
        yield from wrap(_verdict_line(verdict), style.width, "      ", "    ")
    if ie.count and module.kind == "program":
        yield "    initial-exec is harmless in a program"


def _suspect_line(suspect: Suspect) -> str:
    match = suspect.match
    version = f" {match.version}" if match.version else ""
    return f"{match.confidence} culprit: {match.culprit.name}{version}: {'; '.join(match.evidence)}"


def reached_line(reached: ReachedVariable) -> str:
    """A variable and who reads it, as far as that shows without decoding."""
    # A variable of another module has no offset here, and in a broken file no name either.
    name = f"`{reached.name}`" if reached.name or reached.offset is None else f"the variable at offset {reached.offset:#x} of the TLS segment"
    where = " of another module" if reached.offset is None else ""
    text = f"reaches {name}{where}"
    if reached.reads:
        text += f", read {count_of(reached.reads, 'time')}"
    if reached.readers:
        more = f" and {len(reached.readers) - 4} more" if len(reached.readers) > 4 else ""
        text += f", in {', '.join(f'`{reader}`' for reader in reached.readers[:4])}{more}"
    return text


def descriptor_calls(module: ModuleReport, style: Style) -> Iterator[str]:
    """Over which descriptor calls which functions keep vector registers, and what could not be read."""
    found = module.descriptor_sites
    if found is None:
        return
    if found.trouble is not None:
        yield from wrap(f"descriptor calls: not checked: {printable(found.trouble)}", style.width, "      ", "    ")
        return
    yield f"    {count_of(len(found.sites), 'descriptor call')}; vector registers are kept over {len(found.kept):,}"
    functions: dict[int, list[DescriptorSite]] = {}
    for site in found.kept:
        functions.setdefault(site.function, []).append(site)
    shown = list(functions.items())[: None if style.verbosity > 0 else MAX_FUNCTIONS]
    for start, sites in shown:
        registers = ", ".join(dict.fromkeys(register for site in sites for register in site.kept))
        name = printable(sites[0].name) if sites[0].name else f"function at {start:#x}"
        yield from wrap(
            f"{name}: {count_of(len(sites), 'call')}, first at {sites[0].address:#x} ({registers})", style.width, "        ", "      "
        )
    if len(functions) > len(shown):
        yield f"      and {count_of(len(functions) - len(shown), 'more function')} (-v)"
    for address, reason in found.unread[: None if style.verbosity > 0 else 4]:
        yield from wrap(f"could not be read: {address:#x}: {reason}", style.width, "        ", "      ")


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
