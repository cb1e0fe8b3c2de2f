"""x86 instructions by name: which parts of their vector operands they read and write. Tables only.

Sources: Intel's manual (volume 2) and AMD's (volumes 4 and 5). A row is written for the form before AVX, where the target is the first
source too. The VEX and EVEX form follows from it: what the old form reads of its target, the new one reads of its first source; what
the old form leaves of its target, the new one takes from its first source; all above is zeroed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tls_wheel_guard.machine_code.vector_registers import DOUBLE, FLOAT, HIGH, XMM, ZMM

__all__ = [
    "BITWISE",
    "BROADCASTS",
    "FIRST_ARGUMENT",
    "FORMS",
    "FUSED",
    "LANES",
    "MOVES",
    "NO_TARGET",
    "SAME_IS_CONSTANT",
    "STORES",
    "TARGET_IS_SOURCE",
    "WIDENING",
    "Form",
]


class Form(NamedTuple):
    """Parts of vector_registers: what is read of the target, what of it is written, what is read of the other operands."""

    target: int
    written: int
    source: int = ZMM


def _rows(names: str, form: Form) -> dict[str, Form]:
    return dict.fromkeys(names.split(), form)


_CONDITIONS = """
    eq lt le unord neq nlt nle ord eq_uq nge ngt false neq_oq ge gt true eq_os
    lt_oq le_oq unord_s neq_us nlt_uq nle_uq ord_s eq_us nge_uq ngt_uq false_os neq_os ge_oq gt_oq true_us
"""
_COMPARES = [f"cmp{condition}" for condition in ("", *_CONDITIONS.split())]
_SCALAR = "add sub mul div min max scalef range reduce fixupimm"
_UNARY = "sqrt rcp rsqrt round rcp14 rsqrt14 rndscale getexp getmant"

FORMS: dict[str, Form] = {
    **{f"{name}ss": Form(FLOAT, FLOAT, FLOAT) for name in (*_SCALAR.split(), *_COMPARES)},
    **{f"{name}sd": Form(DOUBLE, DOUBLE, DOUBLE) for name in (*_SCALAR.split(), *_COMPARES)},
    **{f"{name}ss": Form(0, FLOAT, FLOAT) for name in _UNARY.split()},
    **{f"{name}sd": Form(0, DOUBLE, DOUBLE) for name in _UNARY.split()},
    **_rows("cvtsi2ss cvtusi2ss", Form(0, FLOAT)),
    **_rows("cvtsi2sd cvtusi2sd", Form(0, DOUBLE)),
    **_rows("cvtss2sd", Form(0, DOUBLE, FLOAT)),
    **_rows("cvtsd2ss", Form(0, FLOAT, DOUBLE)),
    **_rows("cvtpi2ps movlps movlpd", Form(0, DOUBLE)),
    **_rows("movhps movhpd", Form(0, HIGH)),
    **_rows("movss", Form(0, FLOAT, FLOAT)),
    **_rows("movsd", Form(0, DOUBLE, DOUBLE)),
    **_rows("movlhps unpcklpd punpcklqdq", Form(0, HIGH, DOUBLE)),
    **_rows("movhlps", Form(0, DOUBLE, HIGH)),
    **_rows("unpcklps punpcklbw punpcklwd punpckldq", Form(DOUBLE, XMM, DOUBLE)),
    **_rows("unpckhps unpckhpd punpckhbw punpckhwd punpckhdq punpckhqdq", Form(HIGH, XMM, HIGH)),
    **_rows("movd", Form(0, XMM, FLOAT)),
    **_rows("movq movddup", Form(0, XMM, DOUBLE)),
    **_rows("movaps movups movapd movupd movdqa movdqu movntdqa lddqu movq2dq movshdup movsldup", Form(0, XMM)),
    **_rows("movdqa32 movdqa64 movdqu8 movdqu16 movdqu32 movdqu64", Form(0, XMM)),
    **_rows("pshufd pshufhw pshuflw pabsb pabsw pabsd pabsq sqrtps sqrtpd rcpps rsqrtps roundps roundpd", Form(0, XMM)),
    **_rows("phminposuw aesimc aeskeygenassist cvtdq2ps cvtps2dq cvttps2dq cvtpd2ps cvtpd2dq cvttpd2dq cvtpi2pd", Form(0, XMM)),
    **_rows("cvtdq2pd cvtps2pd pmovsxbw pmovsxwd pmovsxdq pmovzxbw pmovzxwd pmovzxdq cvtph2ps cvtudq2pd", Form(0, XMM, DOUBLE)),
    **_rows("pmovsxbd pmovsxwq pmovzxbd pmovzxwq pmovsxbq pmovzxbq", Form(0, XMM, FLOAT)),
    **_rows("comiss ucomiss cvtss2si cvttss2si cvtss2usi cvttss2usi", Form(FLOAT, 0, FLOAT)),
    **_rows("comisd ucomisd cvtsd2si cvttsd2si cvtsd2usi cvttsd2usi", Form(DOUBLE, 0, DOUBLE)),
    **_rows("cvtps2pi cvttps2pi movdq2q", Form(0, 0, DOUBLE)),
    **_rows("pinsrb pinsrw", Form(0, 0)),
    **_rows("insertps", Form(0, 0)),
}
"""Name without ``v`` -> form. An instruction without a row reads all of its operands and writes all of its target."""

LANES = {("pinsrd", 0): FLOAT, ("pinsrd", 1): DOUBLE & ~FLOAT, ("pinsrq", 0): DOUBLE, ("pinsrq", 1): HIGH}
"""(Name, lane) -> the part that an insertion writes whole. Others write a piece of a part, so that the part stays needed."""

STORES = {**FORMS, **_rows("movhps movhpd", Form(0, 0, HIGH)), **_rows("movlps movlpd", Form(0, 0, DOUBLE))}
"""The same where the target is memory or a general register."""

WIDENING = {
    **dict.fromkeys("cvtps2pd cvtdq2pd cvtudq2pd pmovsxbw pmovsxwd pmovsxdq pmovzxbw pmovzxwd pmovzxdq cvtph2ps".split(), 2),
    **dict.fromkeys("pmovsxbd pmovsxwq pmovzxbd pmovzxwq".split(), 4),
    **dict.fromkeys("pmovsxbq pmovzxbq".split(), 8),
}
"""Name -> how much narrower the source is than the target."""

BROADCASTS = {
    **dict.fromkeys("broadcastss pbroadcastb pbroadcastw pbroadcastd".split(), FLOAT),
    **dict.fromkeys("broadcastsd pbroadcastq".split(), DOUBLE),
}
"""Name -> the part of a source register that is spread."""

MOVES = re.compile(r"v?mov(?:[au]p[sd]|dq[au](?:8|16|32|64)?)")
BITWISE = re.compile(r"v?(?:p?andn?|p?x?or)(?:p[sd]|[dq])?")
"""Each part of the target depends on the same part of its sources alone: copies, and forms that join the bits of two."""

FUSED = re.compile(r"vfn?m(?:add|sub)(?:132|213|231)(s[sd])")
TARGET_IS_SOURCE = re.compile(
    r"vfn?m(?:add|sub)(?:132|213|231)\w+|vfm(?:addsub|subadd)(?:132|213|231)\w+|vpermi2\w+|vpermt2\w+|vpternlog[dq]|vpdp\w+|vpmadd52\w+|vfixupimm\w+"
    r"|vp?gather\w+|v4fn?madd\w+|vp4dpwssds?|vpsh[lr]dv\w+|vdpbf16ps|vdpphps|vfc?maddc\w+|vsha512\w+|vsm3\w+"
)
"""Forms with VEX or EVEX whose target is a source too."""

NO_TARGET = re.compile(r"v?u?comis[sd]|v?ptest|vtestp[sd]|kortest[bwdq]|ktest[bwdq]|v?pcmp[ei]str[im]|v?maskmovdqu|v?p?scatter\w+")
"""Instructions that write none of their vector operands."""

SAME_IS_CONSTANT = re.compile(r"v?(?:pxor[dq]?|xorp[sd]|psub[bwdq]|psubu?s[bw]|pcmpgt[bwdq]|pandn[dq]?|andnp[sd]|pcmpeq[bwdq])|kxn?or[bwdq]")
"""Of one register with itself: a constant, whatever the register held."""

FIRST_ARGUMENT = frozenset({"pblendvb", "blendvps", "blendvpd", "sha256rnds2"})
"""Forms before AVX that read xmm0 without naming it."""
