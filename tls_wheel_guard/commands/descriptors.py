"""A second look at a module: which registers its code keeps over TLS descriptor calls. Only where a target may lose them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tls_wheel_guard.culprits import Suspect
from tls_wheel_guard.culprits.data_files import descriptor_vocabulary, known_culprits
from tls_wheel_guard.culprits.descriptors import descriptor_suspects
from tls_wheel_guard.culprits.search import said_in
from tls_wheel_guard.elf import BytesSource, SharedObject, Source
from tls_wheel_guard.elf.got_entries import read_got_entries
from tls_wheel_guard.elf.section_headers import read_sections
from tls_wheel_guard.elf.symbol_tables import read_names
from tls_wheel_guard.errors import MalformedElf, UnreadableMember, UsageError
from tls_wheel_guard.inputs.contents import InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.limits import Limits, over
from tls_wheel_guard.machine_code import FunctionMap, read_code
from tls_wheel_guard.machine_code.descriptor_clobber import MACHINES, DescriptorSites, find_descriptor_sites
from tls_wheel_guard.records import replace

__all__ = ["DescriptorLook", "descriptor_calls_in"]

_X86 = (*MACHINES, "i386")
"""Machines where descriptors are a choice of the build; elsewhere they are the compilers' default."""


class DescriptorLook(NamedTuple):
    """What a second look at a module with descriptors gave: its calls, None where no target may lose registers, and who chose descriptors."""

    sites: DescriptorSites | None
    suspects: tuple[Suspect, ...]


def descriptor_calls_in(opened: OpenInput, is_judged: Callable[[InputModule], bool] = lambda _: True) -> dict[int, DescriptorLook]:
    """Module's index -> its descriptor calls, where it is on x86-64 and ``is_judged`` wants them; raises InputReadError."""
    wanted = [module for module in opened.contents.modules if module.is_shared and module.facts.dynamic.tlsdesc]
    return {
        module.index: DescriptorLook(_look(opened, module) if _may_keep_registers(module) and is_judged(module) else None, _who(opened, module))
        for module in wanted
    }


def _who(opened: OpenInput, module: InputModule) -> tuple[Suspect, ...]:
    if module.facts.machine_name not in _X86 or module.facts.size > opened.limits.traced_size:
        return ()
    said = opened.look(module, lambda source: said_in(source, descriptor_vocabulary()))
    return descriptor_suspects(said.strings, known_culprits(), opened.generator) if said is not None else ()


def _may_keep_registers(module: InputModule) -> bool:
    """Whether a module calls through descriptors, by its relocations; one that needs the marker version never meets an old glibc."""
    facts = module.facts
    return facts.machine_name in MACHINES and not facts.markers


def _look(opened: OpenInput, module: InputModule) -> DescriptorSites:
    try:
        with opened.open_module(module) as source:
            return _sites(module.facts, source, opened.limits)
    except (MalformedElf, UnreadableMember) as error:
        return DescriptorSites(trouble=error.message)
    except UsageError as error:
        return DescriptorSites(trouble=error.line())


def _sites(facts: SharedObject, source: Source, limits: Limits) -> DescriptorSites:
    if source.size > limits.traced_size:
        return DescriptorSites(trouble=f"it has {source.size:,} bytes; {over(limits, 'traced-size')}")
    whole = BytesSource(source.read(0, source.size))
    entries = read_got_entries(whole, limits)
    functions = dict(entries.functions)
    code = read_code(whole, facts.machine_name)
    found = find_descriptor_sites(code, entries.descriptors, entries.own, lambda slot: functions.get(slot, (None, "")), limits.followed_code)
    names = FunctionMap(read_names(whole, read_sections(whole)).functions, ())
    return replace(found, sites=tuple(replace(site, name=getattr(names.at(site.function), "name", None)) for site in found.sites))
