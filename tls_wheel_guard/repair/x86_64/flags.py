"""Whether flags that were set before an instruction may be read behind it: a straight walk, with a table of its own.

A decoder's flag tables have gaps (capstone 5 says nothing of ``cmc``, ``rcl`` and ``kortest``). Here only what is known to be harmless is
passed over, and whatever is not known counts as a reader: saving the flags costs a tenth of a nanosecond.
Intel SDM volume 2, "Flags Affected"; a flag that an instruction leaves undefined is gone as well.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["LIMIT", "flags_live"]

LIMIT = 64
"""Instructions that are walked."""
_WRITES_ALL = frozenset(
    "add sub cmp test and or xor neg xadd cmpxchg comisd comiss ucomisd ucomiss vcomisd vcomiss vucomisd vucomiss ptest popcnt".split()
)
"""They set, clear or leave undefined all of CF PF AF ZF SF OF, whatever their operands, and read none."""
_NEUTRAL = frozenset(
    "lea push pop nop endbr64 not bswap cdq cqo cdqe cwde inc dec imul mul shl shr sar "
    "addsd addss addpd addps subsd subss subpd subps mulsd mulss mulpd mulps divsd divss divpd divps sqrtsd sqrtss "
    "vaddsd vaddss vsubsd vsubss vmulsd vmulss vdivsd vdivss xorps xorpd andps andpd orps orpd pxor por pand paddd paddq "
    "vxorps vxorpd vpxor unpcklps unpcklpd punpckldq punpcklqdq cvtsi2sd cvtsi2ss cvttsd2si cvttss2si cvtss2sd cvtsd2ss".split()
)
"""They read no flag; what they write is not counted on."""


def flags_live(behind: Sequence[tuple[int, int, str, str]]) -> bool:
    """Whether a flag may be read that none of these instructions (address, size, mnemonic, operands) has written before."""
    for _, _, name, _ in behind[:LIMIT]:
        if name in _WRITES_ALL:
            return False
        if name not in _NEUTRAL and not name.startswith(("mov", "vmov")):
            return True
    return True
