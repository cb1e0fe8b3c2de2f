"""x86-64's row: R_X86_64_TPOFF64 becomes R_X86_64_TLSDESC (psABI), and each ``mov`` or ``add`` of a slot a jump to its thunk."""

from __future__ import annotations

from tls_wheel_guard.elf.constants import EM_X86_64
from tls_wheel_guard.repair.machine import FrameNumbers, MachineRepair
from tls_wheel_guard.repair.x86_64.proof import prove
from tls_wheel_guard.repair.x86_64.reading import is_redirected, read_thunks
from tls_wheel_guard.repair.x86_64.sites import SITE_SIZE, find_sites
from tls_wheel_guard.repair.x86_64.thunks import guard, redirect, thunk

__all__ = ["MACHINE"]

MACHINE = MachineRepair(
    name="x86_64",
    e_machine=EM_X86_64,
    tpoff=18,
    tlsdesc=36,
    page=4096,
    # %fs with this added is no canonical address.
    poison=(0x4000000000000000).to_bytes(8, "little"),
    site_size=SITE_SIZE,
    needs_guard=True,
    no_descriptors={
        "freebsd": "FreeBSD before 16",
        "bionic": "Android",
        "netbsd": "NetBSD",
        "openbsd": "OpenBSD",
        "dragonfly": "DragonFly",
    },
    frame=FrameNumbers(
        code_align=1,
        stack_register=7,
        return_register=16,
        initial=b"\x0c\x07\x08\x90\x01",  # DW_CFA_def_cfa rsp+8; DW_CFA_offset rip at cfa-8
        returns_on_stack=True,
        stack_opcodes=b"\x77\x57\x92\x9c",  # DW_OP_breg7, DW_OP_reg7, DW_OP_bregx, DW_OP_call_frame_cfa
    ),
    find_sites=find_sites,
    find_left=find_sites,
    guard=guard,
    thunk=thunk,
    redirect=redirect,
    prove=prove,
    read_thunks=read_thunks,
    is_redirected=is_redirected,
)
