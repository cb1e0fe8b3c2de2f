r"""The code that stands in for a read: it calls the slot's descriptor and changes nothing but the register that the read changed.

A descriptor function gives the variable's distance from the thread pointer in x0, which is what the slot held, and keeps all registers
but x0, x1 and the flags (ELF for the Arm 64-bit Architecture, "TLS descriptors"). glibc's keeps all vector registers up to 128 bits too.
There is no red zone, and the stack pointer is a multiple of 16. A thunk is entered by a direct branch, so it needs no ``bti``.

    stp    x0, x30, [sp, #-32]!
    mrs    x30, nzcv
    stp    x1, x30, [sp, #16]
    adrp   x0, descriptor
    ldr    x1, [x0, #:lo12:descriptor]
    add    x0, x0, #:lo12:descriptor
    blr    x1
    mov    xM, x0
    ldp    x1, x30, [sp, #16]
    msr    nzcv, x30
    ldp    x0, x30, [sp], #32
    b      site + 4

Where xM is x0, x1 or x30, its old value is not loaded again.
"""

from __future__ import annotations

import struct

from tls_wheel_guard.repair.machine import Flavour, Piece, Site, Step
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["redirect", "thunk"]

FRAME = 32
"""Bytes of stack that a thunk takes."""
RETURN_AT = 8
STP_X0_X30 = 0xA9BE7BE0
MRS_X30_NZCV = 0xD53B421E
STP_X1_X30 = 0xA9017BE1
BLR_X1 = 0xD63F0020
LDP_X1_X30 = 0xA9417BE1
MSR_NZCV_X30, MSR_NZCV_X1 = 0xD51B421E, 0xD51B4201
LDP_X0_X30_OFF = 0xA8C27BE0
LDR_X30_24, LDR_X30_8 = 0xF9400FFE, 0xF94007FE
LDR_X1_24, LDR_X1_16 = 0xF9400FE1, 0xF9400BE1
LDR_X0_OFF = 0xF84207E0
ADD_SP_32 = 0x910083FF


def _branch(target: int, at: int) -> int:
    distance = target - at
    if not -(1 << 27) <= distance < 1 << 27:
        raise CannotRepair("too-far", f"{abs(distance)} bytes between a read and the new code: a branch spans 128 MiB", address=at)
    return 0x14000000 | distance >> 2 & 0x3FFFFFF


def redirect(site: Site, thunk_address: int) -> bytes:
    """``b thunk`` over the read."""
    return struct.pack("<I", _branch(thunk_address, site.address))


def _page_of(target: int, at: int) -> int:
    """``adrp x0`` of a target's page."""
    distance = (target >> 12) - (at >> 12)
    if not -(1 << 20) <= distance < 1 << 20:
        raise CannotRepair("too-far", f"{abs(distance) << 12} bytes between the new code and a descriptor: adrp spans 4 GiB", address=at)
    return 0x90000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5


def thunk(site: Site, flavour: Flavour, at: int, descriptor: int, guard_address: int) -> Piece:
    """The thunk of a site at an address; its length depends on the site's register alone."""
    del flavour, guard_address
    rest = descriptor & 0xFFF
    words = [
        STP_X0_X30,
        MRS_X30_NZCV,
        STP_X1_X30,
        _page_of(descriptor, at + 12),
        0xF9400001 | rest >> 3 << 10,  # ldr x1, [x0, #rest]
        0x91000000 | rest << 10,  # add x0, x0, #rest
        BLR_X1,
    ]
    ends = _end(site.register)
    words += ends
    words.append(_branch(site.address + site.size, at + 4 * len(words)))
    steps = (Step(0, 0), Step(4, FRAME, return_at=RETURN_AT), Step(4 * (len(words) - 1), 0))
    return Piece(struct.pack(f"<{len(words)}I", *words), steps)


def _end(register: int) -> list[int]:
    """From the answer in x0 to the old registers; the last of them gives the stack back."""
    if register == 0:
        return [LDR_X30_24, MSR_NZCV_X30, LDR_X1_16, LDR_X30_8, ADD_SP_32]
    moved = 0xAA0003E0 | register
    if register == 1:
        return [moved, LDR_X30_24, MSR_NZCV_X30, LDP_X0_X30_OFF]
    if register == 30:
        return [moved, LDR_X1_24, MSR_NZCV_X1, LDR_X1_16, LDR_X0_OFF]
    return [moved, LDP_X1_X30, MSR_NZCV_X30, LDP_X0_X30_OFF]
