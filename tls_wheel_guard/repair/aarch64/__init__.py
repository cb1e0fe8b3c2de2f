"""aarch64's row: R_AARCH64_TLS_TPREL64 becomes R_AARCH64_TLSDESC (psABI), and each ``ldr`` of a slot a branch to its thunk."""

from __future__ import annotations

from tls_wheel_guard.elf.constants import EM_AARCH64
from tls_wheel_guard.repair.aarch64.proof import prove
from tls_wheel_guard.repair.aarch64.reading import is_redirected, read_thunks
from tls_wheel_guard.repair.aarch64.sites import SITE_SIZE, find_left, find_sites
from tls_wheel_guard.repair.aarch64.thunks import redirect, thunk
from tls_wheel_guard.repair.machine import FrameNumbers, MachineRepair, Piece

__all__ = ["MACHINE"]

MACHINE = MachineRepair(
    name="aarch64",
    e_machine=EM_AARCH64,
    tpoff=1030,
    tlsdesc=1031,
    page=0,
    # Bit 54 is no tag, and in no address of a process.
    poison=(1 << 54).to_bytes(8, "little"),
    site_size=SITE_SIZE,
    needs_guard=False,
    no_descriptors={"netbsd": "NetBSD", "openbsd": "OpenBSD"},
    frame=FrameNumbers(
        code_align=4,
        stack_register=31,
        return_register=30,
        initial=b"\x0c\x1f\x00",  # DW_CFA_def_cfa sp+0
        returns_on_stack=False,
        stack_opcodes=b"\x8f\x6f\x92\x9c",  # DW_OP_breg31, DW_OP_reg31, DW_OP_bregx, DW_OP_call_frame_cfa
    ),
    find_sites=find_sites,
    find_left=find_left,
    guard=lambda _: Piece(b""),
    thunk=thunk,
    redirect=redirect,
    prove=prove,
    read_thunks=read_thunks,
    is_redirected=is_redirected,
)
