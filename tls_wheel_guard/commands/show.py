"""Where the code of an input reaches its initial-exec variables: a look that decodes."""

from __future__ import annotations

from tls_wheel_guard.culprits.collect import reached_slots
from tls_wheel_guard.elf import BytesSource, SharedObject, Source
from tls_wheel_guard.elf.section_headers import read_sections
from tls_wheel_guard.elf.symbol_tables import read_names
from tls_wheel_guard.errors import MalformedElf, UnreadableMember
from tls_wheel_guard.findings import Report
from tls_wheel_guard.inputs.contents import InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over
from tls_wheel_guard.machine_code import FunctionMap, read_code
from tls_wheel_guard.machine_code.access_sites import Sites, find_sites
from tls_wheel_guard.machine_code.disassembly import MACHINES, Disassembler
from tls_wheel_guard.machine_code.eh_frame import function_ranges
from tls_wheel_guard.machine_code.source_lines import lines_of
from tls_wheel_guard.records import replace

__all__ = ["sites_in", "with_sites"]


def sites_in(opened: OpenInput) -> dict[int, Sites]:
    """Module's index -> its access sites, for each with initial-exec TLS; raises UnreadableInput, and UsageError without capstone."""
    wanted = opened.contents.initial_exec
    if any(module.facts.machine_name in MACHINES for module in wanted):
        Disassembler("x86_64")
    return {module.index: _sites(opened, module) for module in wanted}


def with_sites(report: Report, limits: Limits = DEFAULT_LIMITS) -> Report:
    """A report that was made without them, with the access sites of its modules: its input is opened once more. Raises as ``sites_in``."""
    with open_input(report.path, limits) as opened:
        found = {module.name: module.index for module in reversed(opened.contents.initial_exec)}
        sites = sites_in(opened) if found else {}
    modules = tuple(replace(module, sites=sites.get(found[module.path]) if module.path in found else None) for module in report.modules)
    return replace(report, modules=modules)


def _sites(opened: OpenInput, module: InputModule) -> Sites:
    try:
        with opened.open_module(module) as source:
            return _module_sites(module.facts, source, opened.limits)
    except (MalformedElf, UnreadableMember) as error:
        return Sites(True, doubts=(f"not decoded: {error.message}",))


def _module_sites(facts: SharedObject, source: Source, limits: Limits) -> Sites:
    if source.size > limits.traced_size:
        return Sites(True, doubts=(f"not decoded: it has {source.size:,} bytes; {over(limits, 'traced-size')}",))
    data = source.read(0, source.size)
    whole = BytesSource(data)
    sections = read_sections(whole)
    names = read_names(whole, sections)
    code = read_code(whole, facts.machine_name)
    frames = next(((s.address, s.size) for s in sections if s.name == ".eh_frame"), None)
    ranges = function_ranges(code, facts.bits // 8, facts.little_endian, frames)
    functions = FunctionMap(names.functions, ranges, [(s.address, s.address + s.size) for s in sections if s.is_code])
    slots = reached_slots(facts, whole, names)
    found = find_sites(code, slots, functions)
    lines = lines_of(data, [site.address for site in found.sites])
    return replace(found, sites=tuple(replace(s, line=lines.get(s.address)) for s in found.sites), variables=tuple(sorted(slots.items())))
