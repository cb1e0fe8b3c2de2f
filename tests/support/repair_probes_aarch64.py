"""The assembler probes of repair_probes.py for aarch64: one read of a slot each, with every register and all flags holding known values.

A probe writes what it finds behind the read to ``probe_dump``: general registers, stack pointer, flags, the bytes above the stack pointer, the
vector registers. The register that the read wrote is replaced by the value of the variable that it leads to, since addresses differ from
thread to thread. Where another register has the slot's page, a second read through that one shows that it was kept: a page itself must not
be stored.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

__all__ = ["WORDS", "Probe", "all_probes", "few_probes", "probe_source"]

REGISTERS = range(31)
VARIABLE = 0x1122334455667788
KEPT, ROOM, SPILL = 160, 160 + 128 + 16, 160 + 128
"""Bytes from the stack pointer to sixteen words that must not change, of the whole frame, and to the room for two registers."""
WORDS = (
    "every register with the slot's page in itself and in another one, all sixteen states of N Z C V, with the bytes above the stack pointer"
    " and q0 to q31 holding known values"
)
SIZE = 31 * 8 + 8 + 8 + 128 + 32 * 16


@dataclass(frozen=True)
class Probe:
    """``base``: the register with the slot's page; ``register``: the one that is read into; ``flags``: N Z C V, as the upper four bits."""

    base: int
    register: int
    flags: int


def _pairs() -> list[tuple[int, int]]:
    return [pair for number in REGISTERS for pair in ((number, number), ((number + 7) % 31, number))]


def all_probes() -> list[Probe]:
    """992 probes: every register, with its own page and with another register's, in all states of the flags."""
    return [Probe(base, register, flags) for (base, register), flags in itertools.product(_pairs(), range(16))]


def few_probes() -> list[Probe]:
    """62 probes: every register both ways, and every state of the flags several times."""
    return [Probe(base, register, number * 5 % 16) for number, (base, register) in enumerate(_pairs())]


def probe_source(probes: list[Probe], wide: int = 0, trap: bool = False, room: int = 1000) -> str:
    """The assembler of probes. ``trap``: for single steps; their names begin with step. ``room``: bytes that make the block larger than what
    glibc gives a descriptor statically. ``wide`` is other machines': all vector registers are kept here."""
    name = "step" if trap else "probe"
    lines = [".arch armv8-a", ".text"]
    for number, probe in enumerate(probes):
        lines += _probe(f"{name}_{number}", probe, signed=number % 3 == 1)
    lines += [".section .rodata", *_object(f"{name}_dump_size", "dump_size", 8), f".quad {SIZE}", ".balign 16", "patterns:"]
    lines += [f".quad {0x0101010101010101 * (n % 200 + 1) + n:#x}" for n in range(64)]
    lines += [".bss", ".balign 16", *_object(f"{name}_dump", "dump", SIZE), f".zero {SIZE}", ".balign 8", "saved_stack:", ".zero 8"]
    lines += ['.section .tdata,"awT",%progbits', ".balign 16", "variable:", f".quad {VARIABLE:#x}", '.section .tbss,"awT",%nobits']
    return "\n".join([*lines, f".zero {room}", '.section .note.GNU-stack,"",%progbits', ""])


def _object(name: str, local: str, size: int) -> list[str]:
    return [f".globl {name}", f".type {name}, %object", f".size {name}, {size}", f"{name}:", f"{local}:"]


def _at(register: str, label: str) -> list[str]:
    return [f"adrp {register}, {label}", f"add {register}, {register}, :lo12:{label}"]


def _probe(name: str, probe: Probe, signed: bool) -> list[str]:
    """``signed``: the return address is, as -mbranch-protection=pac-ret has it, and an unwinder must know that."""
    # hint #34 is bti c, #25 paciasp, #29 autiasp: a call by register may land on either of the first.
    out = [".p2align 2", f".globl {name}", f".type {name}, %function", f"{name}:", ".cfi_startproc"]
    out += ["hint #25", ".cfi_negate_ra_state"] if signed else ["hint #34"]
    out += [f"stp x29, x30, [sp, #-{ROOM}]!", f".cfi_def_cfa_offset {ROOM}", f".cfi_offset 29, -{ROOM}", f".cfi_offset 30, -{ROOM - 8}"]
    pairs = [("x", n, 16 + 8 * (n - 19)) for n in range(19, 29, 2)] + [("d", n, 96 + 8 * (n - 8)) for n in range(8, 16, 2)]
    for kind, number, place in pairs:
        out.append(f"stp {kind}{number}, {kind}{number + 1}, [sp, #{place}]")
        for more in (0, 1):
            out.append(f".cfi_offset {number + more + (64 if kind == 'd' else 0)}, {place + 8 * more - ROOM}")
    out += [*_at("x0", "saved_stack"), "mov x1, sp", "str x1, [x0]", *_at("x0", "patterns")]
    out += [f"ldr q{n}, [x0, #{16 * n}]" for n in range(32)]
    out += [line for n in range(16) for line in (f"mov x0, #{0x1000 + n:#x}", f"str x0, [sp, #{KEPT + 8 * n}]")]
    out += [f"mov x0, #{probe.flags << 28:#x}", "msr nzcv, x0"]
    out += [line for n in REGISTERS for line in (f"movz x{n}, #0x7000, lsl #48", f"movk x{n}, #{0x11 * n:#x}")]
    out += [f"adrp x{probe.base}, :gottprel:variable", f"ldr x{probe.register}, [x{probe.base}, #:gottprel_lo12:variable]"]
    if probe.base != probe.register:
        out.append(f"ldr x{probe.base}, [x{probe.base}, #:gottprel_lo12:variable]")
    out += _dump(probe)
    out += [f"ldp {kind}{number}, {kind}{number + 1}, [sp, #{place}]" for kind, number, place in pairs]
    out += [f"ldp x29, x30, [sp], #{ROOM}", ".cfi_restore 29", ".cfi_restore 30", ".cfi_def_cfa_offset 0"]
    out += ["hint #29", ".cfi_negate_ra_state"] if signed else []
    return [*out, "ret", ".cfi_endproc", f".size {name}, .-{name}"]


def _dump(probe: Probe) -> list[str]:
    """Store everything by instructions that change no flag, then what the written register leads to."""
    out = [f"stp x0, x1, [sp, #{SPILL}]", *_at("x0", "dump")]
    out += [f"str x{n}, [x0, #{8 * n}]" for n in range(2, 31)]
    out += ["mrs x2, nzcv", f"ldp x3, x4, [sp, #{SPILL}]", "stp x3, x4, [x0]", "mov x5, sp", *_at("x6", "saved_stack"), "ldr x6, [x6]"]
    out += ["sub x5, x5, x6", f"str x5, [x0, #{31 * 8}]", f"str x2, [x0, #{32 * 8}]"]
    at = 33 * 8
    for n in range(16):
        out += [f"ldr x3, [sp, #{KEPT + 8 * n}]", f"str x3, [x0, #{at + 8 * n}]"]
    out.append(f"add x3, x0, #{at + 128}")
    out += [f"str q{n}, [x3, #{16 * n}]" for n in range(32)]
    out.append("mrs x4, tpidr_el0")
    for number in sorted({probe.base, probe.register}):
        out += [f"ldr x3, [x0, #{8 * number}]", "ldr x3, [x4, x3]", f"str x3, [x0, #{8 * number}]"]
    return out
