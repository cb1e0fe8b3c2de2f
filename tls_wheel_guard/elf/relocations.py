"""The table of TLS relocations: a row a machine, the number and psABI name of every dynamic TLS relocation.

Numbers: each machine's psABI, as in glibc's and LLVM's elf.h. Every row is proved against GNU readelf on an object that
a real cross compiler made (tests/ground_truth/test_machines.py); a machine without a row is ``unknown-machine``.

``TPOFF`` is initial-exec: the loader must know the distance from the thread pointer, so the block must be static.
``DTPMOD`` and ``DTPOFF`` are the two words of global- and local-dynamic, ``TLSDESC`` the descriptor dialect of the same.
Some machines let a linker keep TPOFF in instruction fields (text relocations); they need static room just as well.
"""

from __future__ import annotations

from typing import Literal

from tls_wheel_guard.elf.constants import (
    EM_68K,
    EM_386,
    EM_AARCH64,
    EM_ALPHA,
    EM_ARC_COMPACT2,
    EM_ARM,
    EM_LOONGARCH,
    EM_MIPS,
    EM_PARISC,
    EM_PPC,
    EM_PPC64,
    EM_RISCV,
    EM_S390,
    EM_SH,
    EM_SPARC,
    EM_SPARC32PLUS,
    EM_SPARCV9,
    EM_X86_64,
)

__all__ = ["TLS_RELOCS", "RelocKind"]

RelocKind = Literal["TPOFF", "DTPMOD", "DTPOFF", "TLSDESC"]

_Row = dict[int, tuple[RelocKind, str]]


def _row(tpoff: dict[int, str], dtpmod: dict[int, str], dtpoff: dict[int, str], tlsdesc: dict[int, str] | None = None) -> _Row:
    kinds: tuple[tuple[RelocKind, dict[int, str]], ...] = (
        ("TPOFF", tpoff), ("DTPMOD", dtpmod), ("DTPOFF", dtpoff), ("TLSDESC", tlsdesc or {}),
    )  # fmt: skip
    return {number: (kind, name) for kind, names in kinds for number, name in names.items()}


def _family(prefix: str, numbers: dict[int, str]) -> dict[int, str]:
    return {number: prefix + name for number, name in numbers.items()}


_PPC_TPREL16 = {69: "TPREL16", 70: "TPREL16_LO", 71: "TPREL16_HI", 72: "TPREL16_HA"}

_X86_64 = _row(
    {18: "R_X86_64_TPOFF64", 23: "R_X86_64_TPOFF32"}, {16: "R_X86_64_DTPMOD64"},
    {17: "R_X86_64_DTPOFF64", 21: "R_X86_64_DTPOFF32"}, {36: "R_X86_64_TLSDESC"},
)  # fmt: skip
_I386 = _row(
    {14: "R_386_TLS_TPOFF", 37: "R_386_TLS_TPOFF32"}, {35: "R_386_TLS_DTPMOD32"}, {36: "R_386_TLS_DTPOFF32"}, {41: "R_386_TLS_DESC"},
)  # fmt: skip
_AARCH64 = _row(
    {1030: "R_AARCH64_TLS_TPREL64"}, {1028: "R_AARCH64_TLS_DTPMOD64"}, {1029: "R_AARCH64_TLS_DTPREL64"}, {1031: "R_AARCH64_TLSDESC"},
)  # fmt: skip
_ARM = _row({19: "R_ARM_TLS_TPOFF32"}, {17: "R_ARM_TLS_DTPMOD32"}, {18: "R_ARM_TLS_DTPOFF32"}, {13: "R_ARM_TLS_DESC"})
_PPC64 = _row(
    {
        73: "R_PPC64_TPREL64",
        **_family(
            "R_PPC64_",
            {
                **_PPC_TPREL16, 95: "TPREL16_DS", 96: "TPREL16_LO_DS", 97: "TPREL16_HIGHER", 98: "TPREL16_HIGHERA",
                99: "TPREL16_HIGHEST", 100: "TPREL16_HIGHESTA", 112: "TPREL16_HIGH", 113: "TPREL16_HIGHA", 146: "TPREL34",
            },
        ),
    },
    {68: "R_PPC64_DTPMOD64"}, {78: "R_PPC64_DTPREL64"},
)  # fmt: skip
_PPC = _row({73: "R_PPC_TPREL32", **_family("R_PPC_", _PPC_TPREL16)}, {68: "R_PPC_DTPMOD32"}, {78: "R_PPC_DTPREL32"})
_S390 = _row({56: "R_390_TLS_TPOFF"}, {54: "R_390_TLS_DTPMOD"}, {55: "R_390_TLS_DTPOFF"})
_RISCV = _row(
    {10: "R_RISCV_TLS_TPREL32", 11: "R_RISCV_TLS_TPREL64"}, {6: "R_RISCV_TLS_DTPMOD32", 7: "R_RISCV_TLS_DTPMOD64"},
    {8: "R_RISCV_TLS_DTPREL32", 9: "R_RISCV_TLS_DTPREL64"}, {12: "R_RISCV_TLSDESC"},
)  # fmt: skip
_LOONGARCH = _row(
    {10: "R_LARCH_TLS_TPREL32", 11: "R_LARCH_TLS_TPREL64"}, {6: "R_LARCH_TLS_DTPMOD32", 7: "R_LARCH_TLS_DTPMOD64"},
    {8: "R_LARCH_TLS_DTPREL32", 9: "R_LARCH_TLS_DTPREL64"}, {13: "R_LARCH_TLS_DESC32", 14: "R_LARCH_TLS_DESC64"},
)  # fmt: skip
_MIPS = _row(
    {47: "R_MIPS_TLS_TPREL32", 48: "R_MIPS_TLS_TPREL64"}, {38: "R_MIPS_TLS_DTPMOD32", 40: "R_MIPS_TLS_DTPMOD64"},
    {39: "R_MIPS_TLS_DTPREL32", 41: "R_MIPS_TLS_DTPREL64"},
)  # fmt: skip
_SPARC = _row(
    {72: "R_SPARC_TLS_LE_HIX22", 73: "R_SPARC_TLS_LE_LOX10", 78: "R_SPARC_TLS_TPOFF32", 79: "R_SPARC_TLS_TPOFF64"},
    {74: "R_SPARC_TLS_DTPMOD32", 75: "R_SPARC_TLS_DTPMOD64"}, {76: "R_SPARC_TLS_DTPOFF32", 77: "R_SPARC_TLS_DTPOFF64"},
)  # fmt: skip
_ALPHA = _row(
    {38: "R_ALPHA_TPREL64", 39: "R_ALPHA_TPRELHI", 40: "R_ALPHA_TPRELLO", 41: "R_ALPHA_TPREL16"},
    {31: "R_ALPHA_DTPMOD64"}, {33: "R_ALPHA_DTPREL64"},
)  # fmt: skip
_HPPA = _row(
    {153: "R_PARISC_TPREL32", 154: "R_PARISC_TPREL21L", 158: "R_PARISC_TPREL14R", 216: "R_PARISC_TPREL64"},
    {242: "R_PARISC_TLS_DTPMOD32", 243: "R_PARISC_TLS_DTPMOD64"}, {244: "R_PARISC_TLS_DTPOFF32", 245: "R_PARISC_TLS_DTPOFF64"},
)  # fmt: skip
_M68K = _row({42: "R_68K_TLS_TPREL32"}, {40: "R_68K_TLS_DTPMOD32"}, {41: "R_68K_TLS_DTPREL32"})
_SH = _row({151: "R_SH_TLS_TPOFF32"}, {149: "R_SH_TLS_DTPMOD32"}, {150: "R_SH_TLS_DTPOFF32"})
_ARC = _row({68: "R_ARC_TLS_TPOFF"}, {66: "R_ARC_TLS_DTPMOD"}, {67: "R_ARC_TLS_DTPOFF"})

TLS_RELOCS: dict[int, _Row] = {
    EM_X86_64: _X86_64, EM_386: _I386, EM_AARCH64: _AARCH64, EM_ARM: _ARM, EM_PPC64: _PPC64,
    EM_PPC: _PPC, EM_S390: _S390, EM_RISCV: _RISCV, EM_LOONGARCH: _LOONGARCH, EM_MIPS: _MIPS,
    EM_SPARC: _SPARC, EM_SPARC32PLUS: _SPARC, EM_SPARCV9: _SPARC, EM_ALPHA: _ALPHA, EM_PARISC: _HPPA,
    EM_68K: _M68K, EM_SH: _SH, EM_ARC_COMPACT2: _ARC,
}  # fmt: skip
"""e_machine -> relocation number -> (kind, psABI name)."""
