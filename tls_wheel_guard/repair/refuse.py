"""What is refused before any code is looked at: files that are no plain shared object, and code that a descriptor's call could break.

An initial-exec read gives the same number in every thread of a process and calls nothing. A descriptor's number is the thread's own, and a
thread's first call may allocate memory. Code that depends on either is left alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tls_wheel_guard.elf.constants import DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_SONAME, ET_DYN, PF_W, PF_X, PT_INTERP
from tls_wheel_guard.elf.symbol_tables import Names
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.repair.elf_file import ElfFile
from tls_wheel_guard.repair.machine import Flavour, MachineRepair
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.whole import header_faults, table_faults

__all__ = ["flavour_of", "refuse_code", "refuse_file", "refuse_targets"]

ALLOCATE = frozenset("malloc calloc realloc memalign posix_memalign aligned_alloc".split())
SWITCH = frozenset(
    "swapcontext makecontext setcontext jump_fcontext make_fcontext ontop_fcontext co_switch coro_transfer __splitstack_getcontext".split()
)
GO_SECTIONS = frozenset((".gopclntab", ".go.buildinfo", ".note.go.buildid"))
SIGNATURE_SECTIONS = frozenset((".gnupg.sig", ".module_sig", ".sig"))
RSEQ_SECTIONS = frozenset(("__rseq_cs", "__rseq_cs_ptr_array"))
FIRST_MUSL = (1, 1)
"""musl has had descriptors on x86-64 and aarch64 since 1.1.3; the tag musllinux_1_1 stands for Alpine 3.12, which has 1.1.24."""


def refuse_file(file: ElfFile) -> None:
    """Raise CannotRepair for a file that is no plain shared object."""
    flags = file.tag(DT_FLAGS_1)
    if file.e_type != ET_DYN or flags & DF_1_PIE or (file.segment(PT_INTERP) and not file.tag(DT_SONAME)):
        raise CannotRepair("program", "it is a program and no shared object")
    if not file.sections or not 0 < file.names_index < len(file.sections):
        raise CannotRepair("no-section-headers", "it has no section headers, which tell code from data")
    writable = next((s for s in file.loads if s.flags & PF_X and s.flags & PF_W), None)
    if writable is not None or b"UPX!" in file.data[:512]:
        where = writable.vaddr if writable is not None else None
        raise CannotRepair("self-modifying", "its code is writable or packed, so that what runs is not what is in the file", address=where)
    fault = next(itertools.chain(header_faults(file), table_faults(file)), None)
    if fault is not None:
        raise CannotRepair("layout", f"its headers contradict each other: {fault}")
    names = {section.name for section in file.sections}
    if found := sorted(names & SIGNATURE_SECTIONS):
        raise CannotRepair("signed", f"it is signed (section {found[0]}), and a change would break the signature")
    if found := sorted(names & GO_SECTIONS):
        reason = "Go code reads its slot in the runtime's assembler, and goroutines move between threads"
        raise CannotRepair("go", f"{reason} (section {found[0]})")
    if found := sorted(names & RSEQ_SECTIONS):
        raise CannotRepair("rseq", f"it has restartable sequences (section {found[0]}), which must not call anything")


def refuse_code(names: Names) -> None:
    """Raise CannotRepair for functions that a descriptor's call could break."""
    exported = {function.name for function in names.functions if function.exported}
    if "free" in exported and (found := sorted(exported & ALLOCATE)):
        name = "malloc" if "malloc" in found else found[0]
        reason = f"it exports {name} and free: a thread's first access would allocate memory by its own functions, and so without end"
        raise CannotRepair("interposer", reason)
    known = names.imports | {function.name for function in names.functions}
    if found := sorted(known & SWITCH):
        reason = f"{found[0]} switches stacks: code that goes on in another thread would keep the first one's number"
        raise CannotRepair("stack-switcher", reason)
    if "__rseq_abi" in known or any(variable.name == "__rseq_abi" for variable in names.variables):
        raise CannotRepair("rseq", "it has restartable sequences (__rseq_abi), which must not call anything")


def refuse_targets(targets: Sequence[Target], machine: MachineRepair) -> None:
    """Raise CannotRepair where a target's loader knows no descriptors."""
    for target in targets:
        system = machine.no_descriptors.get(target.libc)
        if system is not None:
            raise CannotRepair("target", f"{target.tag}: the loader of {system} on {machine.name} knows no TLS descriptors")
        if target.libc not in ("glibc", "musl"):
            raise CannotRepair("target", f"{target.tag}: no repaired module has been run on {target.libc}")
        if target.libc == "musl" and target.oldest is not None and target.oldest < FIRST_MUSL:
            raise CannotRepair("target", f"{target.tag}: musl of that age knows no TLS descriptors")


def flavour_of(file: ElfFile, machine: MachineRepair, targets: Sequence[Target]) -> Flavour:
    """``plain`` where nothing but musl loads the module; else ``guarded``, which is right everywhere."""
    if not machine.needs_guard:
        return "plain"
    needed = {file.string(index) for index in file.tags(DT_NEEDED)}
    libcs = {target.libc for target in targets}
    if "libc.so.6" in needed or "glibc" in libcs:
        return "guarded"
    names_musl = any(name == "libc.so" or name.startswith("libc.musl-") for name in needed)
    return "plain" if names_musl or libcs == {"musl"} else "guarded"
