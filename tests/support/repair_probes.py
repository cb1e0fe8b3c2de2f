"""Assembler probes: one read of a slot each, with every register, all flags and the red zone holding known values before it.

A probe writes what it finds behind the read to ``probe_dump``: general registers, stack pointer, flags, red zone, vector registers. The register
that the read wrote is replaced by the value of the variable that it leads to, since addresses differ from thread to thread.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

__all__ = ["FLAGS", "REGISTERS", "WORDS", "Probe", "all_probes", "few_probes", "probe_source"]

REGISTERS = "rax rcx rdx rbx rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
FLAGS = {"clear": 0x202, "set": 0xAD7, "mixed": 0x297, "overflow": 0xA02}
"""Names of states of CF PF AF ZF SF OF -> the flags register."""
VARIABLE = 0x1122334455667788
WORDS = (
    "every register but the stack pointer, `mov` and `add`, all states of the flags, both alignments of the stack, with the red zone and every"
    " vector register holding known values"
)
CALLEE_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")


@dataclass(frozen=True)
class Probe:
    """``form``: mov or add; ``flags``: a key of FLAGS, not for ``add``, whose sum sets them; ``shift``: bytes off the 16-byte alignment.

    ``dead``: a compare behind the read, so that no flag needs to be kept.
    """

    form: str
    register: str
    flags: str
    shift: int
    dead: bool = False


def all_probes() -> list[Probe]:
    """270 probes: every register, both forms, all flag states, both alignments."""
    movs = [Probe("mov", r, f, s) for r, f, s in itertools.product(REGISTERS, FLAGS, (0, 8))]
    dead = [Probe("mov", r, "mixed", s, dead=True) for r, s in itertools.product(REGISTERS, (0, 8))]
    adds = [Probe("add", r, f, s) for r, f, s in itertools.product(REGISTERS, ("clear", "set", "mixed", "overflow"), (0, 8))]
    return movs + dead + adds


def few_probes() -> list[Probe]:
    """A fifth of the probes, and all of two registers; the long proof runs them all."""
    return [probe for number, probe in enumerate(all_probes()) if number % 5 == 0 or probe.register in ("rax", "rbp")]


def probe_source(probes: list[Probe], wide: int, trap: bool = False, room: int = 1000) -> str:
    """The assembler of probes. ``wide``: 0 for xmm, 1 for ymm, 2 for zmm and masks; ``trap``: flags for a single step behind each instruction.

    Names of the latter begin with step, so that one object can have both. ``room``: bytes that make the block larger than what glibc gives
    a descriptor statically; a fresh process must still have room for it.
    """
    names = (["xmm", "ymm", "zmm"][wide], 16 << wide)
    count = 32 if wide == 2 else 16
    masks = (1, 2, 7) if wide == 2 else ()
    size = 16 * 8 + 8 + 8 + 16 * 8 + count * names[1] + 8 * len(masks)
    name = "step" if trap else "probe"
    lines = [".text"]
    for number, probe in enumerate(probes):
        lines += _probe(number, probe, names, count, masks, trap)
    lines += [".section .rodata", *_object(f"{name}_dump_size", "dump_size", 8), f".quad {size}", ".balign 64", "patterns:"]
    lines += [f".quad {0x0101010101010101 * (n % 200 + 1) + n:#x}" for n in range(count * 8 + 16)]
    lines += [".bss", ".balign 64", *_object(f"{name}_dump", "dump", size), f".zero {size}", "saved_stack:", ".zero 8"]
    lines += [
        '.section .tdata,"awT",@progbits',
        ".balign 16",
        "variable:",
        f".quad {VARIABLE:#x}",
        '.section .tbss,"awT",@nobits',
        f".zero {room}",
    ]
    lines += ['.section .note.GNU-stack,"",@progbits', ""]
    return "\n".join(lines)


def _object(name: str, local: str, size: int) -> list[str]:
    return [f".globl {name}", f".type {name}, @object", f".size {name}, {size}", f"{name}:", f"{local}:"]


def _probe(number: int, probe: Probe, names: tuple[str, int], count: int, masks: tuple[int, ...], trap: bool) -> list[str]:
    vector, width = names
    move = "movups" if vector == "xmm" else "vmovups"
    name = f"{'step' if trap else 'probe'}_{number}"
    out = [f".globl {name}", f".type {name}, @function", f"{name}:", ".cfi_startproc"]
    for place, register in enumerate(CALLEE_SAVED):
        out += [f"push %{register}", f".cfi_def_cfa_offset {16 + 8 * place}", f".cfi_offset {register}, -{16 + 8 * place}"]
    # Six pushes and the return address: eight bytes more or less are the two alignments.
    room = 8 + 256 + probe.shift
    out += [f"sub ${room}, %rsp", f".cfi_def_cfa_offset {8 + 8 * len(CALLEE_SAVED) + room}", "mov %rsp, saved_stack(%rip)"]
    out += [f"{move} patterns+{n * width % 512}(%rip), %{vector}{n}" for n in range(count)]
    out += [f"kmovq patterns+{8 * k}(%rip), %k{k}" for k in masks]
    out += [
        f"movq ${FLAGS[probe.flags] | (0x100 if trap else 0):#x}, %rax",
        "push %rax",
        ".cfi_adjust_cfa_offset 8",
        "popfq",
        ".cfi_adjust_cfa_offset -8",
    ]
    out += [f"movabs ${0x1000 + n:#x}, %rax\nmov %rax, -{8 * (n + 1)}(%rsp)" for n in range(16)]
    out += [f"movabs ${0x7000000000000000 + 0x11 * n:#x}, %{register}" for n, register in enumerate(REGISTERS)]
    if probe.form == "add":
        out.append(f"mov %fs:0, %{probe.register}")
    out.append(f"{probe.form} variable@gottpoff(%rip), %{probe.register}")
    if probe.dead:
        out.append("cmpl $7, dump_size(%rip)")
    out += _dump(probe, vector, width, count, masks)
    out += [f"add ${room}, %rsp", f".cfi_def_cfa_offset {8 + 8 * len(CALLEE_SAVED)}"]
    for place, register in reversed(list(enumerate(CALLEE_SAVED))):
        out += [f"pop %{register}", f".cfi_def_cfa_offset {8 + 8 * place}", f".cfi_restore {register}"]
    return [*out, *(["vzeroupper"] if vector != "xmm" else []), "ret", ".cfi_endproc", f".size {name}, .-{name}"]


def _dump(probe: Probe, vector: str, width: int, count: int, masks: tuple[int, ...]) -> list[str]:
    """Store everything by moves, which change no flag, then the flags, then what the written register leads to."""
    move = "movups" if vector == "xmm" else "vmovups"
    at = 0
    out = []
    for register in REGISTERS:
        out.append(f"mov %{register}, dump+{at}(%rip)")
        at += 8
    out += [f"mov %rsp, %rax\nlea saved_stack(%rip), %rcx\nmov (%rcx), %rcx\nmov %rax, dump+{at}(%rip)"]
    at += 8
    stack = at - 8
    for n in range(16):
        out.append(f"mov -{8 * (n + 1)}(%rsp), %rax\nmov %rax, dump+{at}(%rip)")
        at += 8
    for n in range(count):
        out.append(f"{move} %{vector}{n}, dump+{at}(%rip)")
        at += width
    for k in masks:
        out.append(f"kmovq %k{k}, dump+{at}(%rip)")
        at += 8
    out += ["pushfq", ".cfi_adjust_cfa_offset 8", "pop %rax", ".cfi_adjust_cfa_offset -8"]
    own = 8 * REGISTERS.index(probe.register)
    out.append(f"mov dump+{own}(%rip), %rcx")
    if probe.form == "add":
        # The sum's flags depend on the address: they must be those of the same sum done here.
        out += ["mov %rcx, %rdx", "sub %fs:0, %rdx", "mov %fs:0, %rsi", "add %rdx, %rsi", "pushfq", ".cfi_adjust_cfa_offset 8", "pop %rsi"]
        out += [".cfi_adjust_cfa_offset -8", "xor %rsi, %rax", "mov (%rcx), %rcx"]
    else:
        out.append("mov %fs:(%rcx), %rcx")
    out += ["and $0x8d5, %rax", f"mov %rax, dump+{at}(%rip)", f"mov %rcx, dump+{own}(%rip)"]
    out += ["mov saved_stack(%rip), %rax", f"sub dump+{stack}(%rip), %rax", f"mov %rax, dump+{stack}(%rip)"]
    return out
