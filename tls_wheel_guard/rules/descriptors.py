"""Rules about TLS descriptors: loaders that know none, a libc that lacks a version for them, registers that old ones lose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tls_wheel_guard.findings import Finding, Hint, ModuleReport, Severity
from tls_wheel_guard.loaders import Verdict, registers_lost
from tls_wheel_guard.loaders.descriptors import KEEPS_REGISTERS_SINCE
from tls_wheel_guard.loaders.glibc import OPTIONAL
from tls_wheel_guard.rules.input import RuleInput, hints
from tls_wheel_guard.rules.phrases import bytes_of, count_of, sentences

if TYPE_CHECKING:
    from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites

__all__ = ["clobber", "missing_version", "unsupported_descriptors"]

_TRADITIONAL = {
    "x86_64": "-mtls-dialect=gnu", "x32": "-mtls-dialect=gnu", "i386": "-mtls-dialect=gnu", "arm": "-mtls-dialect=gnu",
    "aarch64": "-mtls-dialect=trad", "riscv64": "-mtls-dialect=trad", "riscv32": "-mtls-dialect=trad", "loongarch64": "-mtls-dialect=trad",
}  # fmt: skip
"""Machine -> the flag for calls of __tls_get_addr in place of descriptors."""


def _cure(module: ModuleReport) -> str:
    flag = _TRADITIONAL.get(module.demand.machine, "-mtls-dialect=gnu")
    rewrite = '; action = "rewrite" does so' if flag == "-mtls-dialect=gnu" and module.demand.machine == "x86_64" else ""
    return f"compile it with {flag} as the last such flag{rewrite}"


def unsupported_descriptors(case: RuleInput) -> Iterator[Finding]:
    """Descriptors where the loader knows none on this machine."""
    for module in case.shared:
        refusing = [v for v in module.verdicts if v.outcome.reason == "descriptors" or _jumps_into_nothing(v)]
        count = module.shared_object.dynamic.tlsdesc
        if refusing and count:
            table = "DT_JMPREL" if module.shared_object.dynamic.descriptors_in_plt else "DT_RELA"
            yield Finding(
                "unsupported-descriptors",
                "error",
                module.path,
                (
                    f"it reaches thread-local variables by {count_of(count, 'TLS descriptor')} ({table}), which the loader does not know.",
                    *sentences(refusing),
                ),
                hints(_cure(module), module=module.path, rule="unsupported-descriptors"),
                tuple(refusing),
                tuple(v.target.tag for v in refusing),
                culprits=module.traced_descriptors,
            )


def _jumps_into_nothing(verdict: Verdict) -> bool:
    """NetBSD takes a descriptor in DT_JMPREL for a function, without any message."""
    return verdict.verdict == "unsafe" and verdict.target.libc == "netbsd" and "descriptor" in (verdict.outcome.error or "")


def missing_version(case: RuleInput) -> Iterator[Finding]:
    """A version of libc.so.6 that the linker asked for and that older releases lack."""
    for module in case.shared:
        refusing = [v for v in module.verdicts if v.outcome.reason == "version"]
        if refusing:
            marker = module.shared_object.markers[0]
            yield Finding(
                "missing-libc-version",
                "error",
                module.path,
                (
                    (
                        f"it needs version {marker} of libc.so.6, which its linker added: glibc before 2.43 has it only where"
                        " 2.38 to 2.42 were updated since August 2025."
                    ),
                    *sentences(refusing),
                ),
                hints(_cure(module), module=module.path, rule="missing-libc-version"),
                tuple(refusing),
                tuple(v.target.tag for v in refusing),
                culprits=module.traced_descriptors,
            )


def clobber(case: RuleInput) -> Iterator[Finding]:
    """Vector registers that code keeps over descriptor calls, on a glibc that may lose them."""
    lost_together = _lost_together(case)
    for module in case.shared:
        sites = module.descriptor_sites
        old = [v for v in module.verdicts if v.target.libc == "glibc" and (v.target.oldest or ()) < KEEPS_REGISTERS_SINCE]
        if sites is None or not old:
            continue
        if sites.trouble is not None:
            yield _unchecked(module, sites.trouble, old)
        elif sites.kept:
            lost = any(v.computes_wrong_values for v in old)
            together = module.path in lost_together
            severity: Severity = "note" if not (lost or together) else "error" if case.thresholds.strict else "warning"
            yield Finding(
                "descriptor-clobber",
                severity,
                module.path,
                (_what(module, sites, lost, together), _so(sites)),
                hints(_cure(module), _tunable(module), module=module.path, rule="descriptor-clobber"),
                tuple(old),
                tuple(v.target.tag for v in old),
            )


def _what(module: ModuleReport, sites: DescriptorSites, lost: bool, together: bool) -> str:
    functions = {site.function: site.name for site in sites.kept}
    name = next((f"`{name}`" for name in functions.values() if name), f"at {sites.kept[0].function:#x}")
    return (
        f"it keeps values in vector registers over {len(sites.kept):,} of {count_of(len(sites.sites), 'TLS descriptor call')}"
        f" ({count_of(len(functions), 'function')}, such as {name}), and glibc before 2.40 may lose them in a thread's first such call"
        f" (glibc bug 31372). {_when(module, lost, together)}"
    )


def _when(module: ModuleReport, lost: bool, together: bool) -> str:
    size, kept = bytes_of(module.demand.block_size), f"the {OPTIONAL} bytes that glibc keeps for descriptors"
    if lost:
        return f"It happens in every process: its {size} of thread-local variables do not fit {kept}."
    if together:
        return f"It happens where all modules here are loaded: the others leave too little of {kept}."
    return f"It happens only where other libraries have used up {kept}, of which it takes {size}."


def _so(sites: DescriptorSites) -> str:
    unread = f" {count_of(len(sites.unread), 'place')} that may also call one could not be read." if sites.unread else ""
    return (
        "The result is then wrong, or the process crashes, without any message; a second call is right. Some distributions have"
        f" fixed it in older versions.{unread}"
    )


def _tunable(module: ModuleReport) -> Hint:
    room = OPTIONAL
    while room < OPTIONAL + module.demand.block_size + module.demand.block_align:
        room *= 2
    return Hint(f"start Python with GLIBC_TUNABLES=glibc.rtld.optional_static_tls={room} in its environment (glibc 2.32 and newer)", "today")


def _unchecked(module: ModuleReport, trouble: str, verdicts: list[Verdict]) -> Finding:
    count = count_of(module.shared_object.dynamic.tlsdesc, "TLS descriptor")
    return Finding(
        "descriptor-clobber",
        "note",
        module.path,
        (f"it uses {count}, and whether its code keeps vector registers over them was not checked: {trouble}.",),
        hints(module=module.path, rule="descriptor-clobber"),
        (),
        tuple(v.target.tag for v in verdicts),
    )


def _lost_together(case: RuleInput) -> set[str]:
    """Paths of the modules that lose registers where all modules of the wheel come into one process, or into the one that was read."""
    asking = [m for m in case.shared if m.tls_module.calls_that_keep]
    found: set[str] = set()
    for target in dict.fromkeys(v.target for m in asking for v in m.verdicts if v.target.libc == "glibc"):
        same = [m for m in case.shared if case.one_process and m.tls_module.accesses and any(v.target == target for v in m.verdicts)]
        for machine in {m.demand.machine for m in asking}:
            modules = [m.tls_module for m in same if m.demand.machine == machine]
            found |= registers_lost(modules, target, case.thresholds.live_state("glibc", machine))
    return found
