r"""The code that stands in for a read: it calls the slot's descriptor and changes nothing but the register that the read changed.

A descriptor function gives the variable's distance from the thread pointer in rax, which is what the slot held, and keeps all registers
but rax and the flags (psABI). A site becomes a jump, not a call, which would write into the red zone of a leaf function.

    lea    -0x80(%rsp),%rsp            step over the red zone; lea keeps the flags
    push   %rax                        not where rax is what the read writes
    lahf; seto %al; push %rax          where flags may be read behind the site
    lea    descriptor(%rip),%rax
    call   guard                       plain: call *(%rax)
    mov    %rax,%register
    pop    %rax; add $0x7f,%al; sahf   the flags again: the sum overflows where al is 1
    pop    %rax
    lea    0x80(%rsp),%rsp
    jmp    site + 7

An ``add`` pushes room for the result first and adds it from there, so that its flags are those of the read. The same room serves a
``mov`` to rax that keeps flags.
"""

from __future__ import annotations

import struct

from tls_wheel_guard.repair.machine import Flavour, Piece, Site, Step
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.x86_64.sites import FORMS, SITE_SIZE

__all__ = ["GUARD", "GUARD_TEXT", "RED_ZONE", "guard", "redirect", "thunk"]

RED_ZONE = 128
"""Bytes below the stack pointer that a function may use (psABI 3.2.2)."""
RAX = 0

GUARD_TEXT = """
    mov %rcx, -16(%rsp)
    mov 8(%rax), %rcx               # the descriptor's argument: a distance below zero where the block is static,
    test %rcx, %rcx                 # else the address of glibc's {module, offset, generation}
    js 1f
    mov %rdx, -24(%rsp)
    mov %fs:8, %rdx                 # the DTV
    mov 16(%rcx), %rcx
    cmp (%rdx), %rcx                # older than the module?
    ja 2f
    mov 8(%rax), %rcx
    mov (%rcx), %rcx
    cmp -16(%rdx), %rcx             # too short for it?
    ja 2f
    shl $4, %rcx
    cmpq $-1, (%rdx,%rcx)           # no block yet?
    je 2f
    mov -24(%rsp), %rdx
1:  mov -16(%rsp), %rcx
    jmp *(%rax)
2:  push %rbp                       # the slow path: C code will run
    mov %rsp, %rbp
    sub $2880, %rsp
    and $-64, %rsp
    mov %rbx, -24(%rbp)
    mov %rax, -32(%rbp)
    mov $1, %eax
    cpuid
    bt $27, %ecx                    # OSXSAVE
    sbb %ebx, %ebx
    jnc 3f
    xor %edx, %edx
    mov %rdx, 512(%rsp)             # the header of the area
    mov %rdx, 520(%rsp)
    mov %rdx, 528(%rsp)
    mov $0xe7, %eax                 # x87, SSE, AVX, opmask, ZMM
    xsave (%rsp)
    jmp 4f
3:  fxsave (%rsp)
4:  mov -32(%rbp), %rax
    mov -8(%rbp), %rcx
    mov -16(%rbp), %rdx
    call *(%rax)
    mov %rax, -32(%rbp)
    test %ebx, %ebx
    je 5f
    mov $0xe7, %eax
    xor %edx, %edx
    xrstor (%rsp)
    jmp 6f
5:  fxrstor (%rsp)
6:  mov -32(%rbp), %rax
    mov -8(%rbp), %rcx
    mov -16(%rbp), %rdx
    mov -24(%rbp), %rbx
    leave
    ret
"""
GUARD = bytes.fromhex(
    "48894c24f0 488b4808 4885c9 7834 48895424e8 64488b142508000000 488b4910 483b0a 7724 488b4808 488b09 483b4af0 7717 48c1e104 48833c0aff 740c"
    "488b5424e8 488b4c24f0 ff20"
    "55 4889e5 4881ec400b0000 4883e4c0 48895de8 488945e0 b801000000 0fa2 0fbae11b 19db 7325 31d2 4889942400020000 4889942408020000"
    "4889942410020000 b8e7000000 0fae2424 eb04 0fae0424 488b45e0 488b4df8 488b55f0 ff10 488945e0 85db 740d b8e7000000 31d2 0fae2c24 eb04"
    "0fae0c24 488b45e0 488b4df8 488b55f0 488b5de8 c9 c3"
)
"""GUARD_TEXT assembled; a test assembles it again. glibc's private layout (sysdeps/x86_64/dl-tlsdesc.h: tlsdesc_dynamic_arg; dtv_t of 16 bytes,
its length before it) has been the same from 2.17 to 2.43. It only decides whether to save: the address always comes from glibc."""
_AFTER_PUSH, _AFTER_MOV, _AT_RET = 0x4A, 0x4D, 0xD0


def guard(flavour: Flavour) -> Piece:
    """The guard, one an object, with the rows of its own frame; nothing for the plain flavour."""
    if flavour == "plain":
        return Piece(b"")
    rows = (
        Step(0, 0, b"\x0c\x07\x08"),  # def_cfa rsp+8
        Step(_AFTER_PUSH, 0, b"\x0c\x07\x10\x86\x02"),  # def_cfa rsp+16; rbp at cfa-16
        Step(_AFTER_MOV, 0, b"\x0c\x06\x10\x86\x02\x83\x05"),  # def_cfa rbp+16; rbp at cfa-16; rbx at cfa-40
        Step(_AT_RET, 0, b"\x0c\x07\x08"),
    )
    return Piece(GUARD, rows)


def _rel32(target: int, end: int) -> bytes:
    distance = target - end
    if not -(1 << 31) <= distance < 1 << 31:
        raise CannotRepair("too-far", f"{abs(distance)} bytes between a read and the new code: a jump spans 2 GiB", address=target)
    return struct.pack("<i", distance)


def redirect(site: Site, thunk_address: int) -> bytes:
    """``jmp thunk`` and a two-byte nop over the read."""
    return b"\xe9" + _rel32(thunk_address, site.address + 5) + b"\x66\x90"


class _Writer:
    def __init__(self, at: int) -> None:
        self.at, self.code, self.pushed = at, bytearray(), 0
        self.steps: list[Step] = [Step(0, 0)]

    def add(self, code: bytes, pushed: int = 0) -> None:
        """Instructions; the last of them moves the stack pointer down by ``pushed``."""
        self.code += code
        if pushed:
            self.pushed += pushed
            self.steps.append(Step(len(self.code), self.pushed))

    def relative(self, opcode: bytes, target: int) -> None:
        self.code += opcode + _rel32(target, self.at + len(self.code) + len(opcode) + 4)


def thunk(site: Site, flavour: Flavour, at: int, descriptor: int, guard_address: int) -> Piece:
    """The thunk of a site at an address; its length depends on the site and the flavour alone."""
    out = _Writer(at)
    to_rax = site.form == "mov" and site.register == RAX
    room = site.form == "add" or (to_rax and site.keep_flags)
    out.add(b"\x48\x8d\x64\x24\x80", RED_ZONE)
    if room:
        out.add(b"\x50", 8)
    if not to_rax:
        out.add(b"\x50", 8)
    if site.keep_flags:
        out.add(b"\x9f\x0f\x90\xc0\x50", 8)
    out.relative(b"\x48\x8d\x05", descriptor)
    if flavour == "guarded":
        out.relative(b"\xe8", guard_address)
    else:
        out.add(b"\xff\x10")
    if room:
        out.add(b"\x48\x89\x44\x24\x08")
    elif not to_rax:
        out.add(bytes((0x49 if site.register & 8 else 0x48, 0x89, 0xC0 | site.register & 7)))
    if site.keep_flags:
        out.add(b"\x58", -8)
        out.add(b"\x04\x7f\x9e")
    if not to_rax or room:
        out.add(b"\x58", -8)
    if site.form == "add":
        opcode = next(code for code, form in FORMS.items() if form == "add")
        out.add(bytes((0x4C if site.register & 8 else 0x48, opcode, 0x44 | (site.register & 7) << 3, 0x24, 0)))
    out.add(b"\x48\x8d\xa4\x24" + struct.pack("<i", out.pushed), -out.pushed)
    out.relative(b"\xe9", site.address + SITE_SIZE)
    return Piece(bytes(out.code), tuple(out.steps))
