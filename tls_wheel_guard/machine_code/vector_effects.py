"""What one x86 instruction does to the vector registers: reads, writes, and what it passes on. The forms are rows of ``vector_forms``.

Rules of the encodings (Intel's manual, volume 1, 14 and 15): before AVX the first operand is read and written and what lies above
it stays; with VEX and EVEX the first operand is only written and what lies above it is zeroed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from tls_wheel_guard.machine_code.vector_forms import (
    BITWISE,
    BROADCASTS,
    FIRST_ARGUMENT,
    FORMS,
    FUSED,
    LANES,
    MOVES,
    NO_TARGET,
    SAME_IS_CONSTANT,
    STORES,
    TARGET_IS_SOURCE,
    WIDENING,
    Form,
)
from tls_wheel_guard.machine_code.vector_registers import (
    DOUBLE,
    FLOAT,
    PARTS,
    UPPER,
    XMM,
    YMM,
    ZMM,
    mask_bit,
    of_register,
    register_bits,
    vectors,
)

__all__ = ["NOTHING", "Effect", "effect_of", "live_before"]


class Effect(NamedTuple):
    """Sets of bits of vector_registers.

    ``passes``: (bits of the target, how many registers its source lies above it): the source's parts become the target's unchanged.
    """

    reads: int = 0
    writes: int = 0
    passes: tuple[tuple[int, int], ...] = ()


NOTHING = Effect()


def live_before(effect: Effect, live: int) -> int:
    """What is live before an instruction, from what is live behind it."""
    before = live & ~effect.writes | effect.reads
    for target, distance in effect.passes:
        wanted = live & target
        before |= wanted << PARTS * distance if distance >= 0 else wanted >> PARTS * -distance
    return before


class _Operand(NamedTuple):
    """``number`` of a vector register with the ``parts`` of its width, of a mask register with 0; None for memory and all others.

    ``mask``: the bit of EVEX's mask register. ``merging``: a masked target that keeps what the mask leaves out. ``indexed_by``: vector index.
    """

    number: int | None
    parts: int
    memory: bool
    mask: int
    merging: bool
    indexed_by: int

    def low(self, parts: int = ZMM) -> int:
        """Some parts of the register; the whole of a mask register; nothing for others."""
        if self.number is None:
            return 0
        return register_bits(self.number, self.parts & parts) if self.parts else mask_bit(self.number)


_MASK = re.compile(r"\{k([1-7])\}")
_INDEX = re.compile(r"[xyz]mm\d+")


def _operand(text: str) -> _Operand:
    masked = _MASK.search(text)
    mask = mask_bit(32 + int(masked[1])) if masked else 0
    if "[" in text:
        index = _INDEX.search(text)
        found = of_register(index[0]) if index else None
        return _Operand(None, 0, True, mask, False, register_bits(*found) if found else 0)
    number, parts = of_register(text.split(" ", 1)[0]) or (None, 0)
    return _Operand(number, parts, False, mask, bool(mask) and "{z}" not in text, 0)


@functools.lru_cache(maxsize=1 << 16)
def effect_of(mnemonic: str, text: str) -> Effect:
    """The effect of an instruction in capstone's words: Intel's order, the target first."""
    name = mnemonic.rsplit(" ", 1)[-1]
    if name in ("vzeroupper", "vzeroall"):
        return Effect(0, UPPER if name == "vzeroupper" else vectors(0, 16))
    if "mm" not in text and "k" not in text:
        return NOTHING
    operands = [_operand(part) for part in text.split(", ")]
    effect = _effect(name, operands, text)
    return effect._replace(reads=effect.reads | _union(o.indexed_by | o.mask for o in operands))


def _effect(name: str, operands: list[_Operand], text: str) -> Effect:
    target = operands[0]
    if NO_TARGET.fullmatch(name) or target.number is None:
        form = (FORMS if NO_TARGET.fullmatch(name) else STORES).get(name.removeprefix("v"), Form(ZMM, 0))
        result = vectors(0, 1) if name.endswith(("pcmpestrm", "pcmpistrm")) else 0
        return Effect(_union(o.low(form.source) for o in operands), result)
    if not target.merging and _is_constant(name, operands, text):
        return Effect(0, _whole(target, name))
    if target.parts and not target.mask and (MOVES.fullmatch(name) or BITWISE.fullmatch(name)):
        return _by_parts(name, operands)
    if name[0] == "v" or not target.parts:
        return _vex(name, operands, text)
    form = _form(name, operands, text)
    implied = register_bits(0, XMM) if name in FIRST_ARGUMENT else 0
    return Effect(target.low(form.target) | _union(o.low(form.source) for o in operands[1:]) | implied, target.low(form.written))


def _by_parts(name: str, operands: list[_Operand]) -> Effect:
    """A part of a source is needed where the same part of the target is: ``andps`` for fabs reads no upper half that nobody reads later."""
    target = operands[0]
    sources = operands if len(operands) == 2 and BITWISE.fullmatch(name) else operands[1:]
    distances = [o.number - (target.number or 0) for o in sources if o.number is not None]
    return Effect(0, _whole(target, name), tuple((target.low(), distance) for distance in distances))


def _union(sets: Iterable[int]) -> int:
    total = 0
    for bits in sets:
        total |= bits
    return total


def _is_constant(name: str, operands: list[_Operand], text: str) -> bool:
    """Zeros or ones, whatever the sources hold."""
    if name.startswith("vpternlog"):
        return text.endswith((", 0xff", ", 0"))
    sources = operands if len(operands) == 2 else operands[1:]
    return len(sources) == 2 and len({o.low() for o in sources} - {0}) == 1 and not sources[1].memory and bool(SAME_IS_CONSTANT.fullmatch(name))


def _whole(target: _Operand, name: str) -> int:
    """All of a register with VEX; 16 bytes before AVX."""
    if target.number is None or not target.parts:
        return target.low()
    return register_bits(target.number, ZMM if name[0] == "v" else XMM)


def _form(name: str, operands: list[_Operand], text: str) -> Form:
    """The row of a name, for these operands: loads write the whole register, an insertion the part of its lane."""
    plain = name.removeprefix("v")
    if plain in ("movss", "movsd") and operands[-1].memory:
        return Form(0, XMM)
    if plain in BROADCASTS:
        return Form(0, XMM, BROADCASTS[plain])
    form = FORMS.get(plain, Form(XMM, XMM))
    if plain in ("pinsrd", "pinsrq"):
        last = text.rsplit(", ", 1)[-1]
        lane = int(last, 0) if last.isalnum() else 0
        return Form(0, LANES.get((plain, lane & (1 if plain == "pinsrq" else 3)), 0))
    return form


_WIDTH_IN_BYTES = {XMM: 16, YMM: 32, ZMM: 64}


def _vex(name: str, operands: list[_Operand], text: str) -> Effect:
    """The target is written whole. The first source gives what the form before AVX leaves of its target."""
    target, sources = operands[0], operands[1:]
    fused = FUSED.fullmatch(name)
    plain = name.removeprefix("v")
    if fused:
        form = Form(*[FLOAT if fused[1] == "ss" else DOUBLE] * 3)
    elif plain in WIDENING:
        form = Form(0, ZMM, _narrowed(target, WIDENING[plain]))
    else:
        form = _form(name, operands, text)
        form = form if plain in BROADCASTS else _widened(form, target.parts)
    merged = target.low(form.written if form.written in (FLOAT, DOUBLE) else ZMM) if target.merging else 0
    writes = _whole(target, name) | (_union(o.low() for o in sources) | target.mask if "gather" in name else 0)
    if TARGET_IS_SOURCE.fullmatch(name):
        reads = target.low(form.target) | _union(o.low(form.source) for o in sources)
        return Effect(reads | merged, writes, _passed(target, target if fused else sources[0], form))
    known = plain in FORMS or plain.startswith("pinsr")
    if not (known and target.parts and len(sources) > 1 and (form.target or form.written & XMM != XMM)):
        return Effect(_union(o.low(form.source) for o in sources) | merged, writes)
    first, *others = sources
    reads = first.low(form.target) | _union(o.low(form.source) for o in others)
    return Effect(reads | merged, writes, _passed(target, first, form))


def _passed(target: _Operand, source: _Operand, form: Form) -> tuple[tuple[int, int], ...]:
    """The parts of the target that come unchanged from a source."""
    if target.number is None or source.number is None:
        return ()
    rest = target.parts & ~form.written & XMM
    return ((register_bits(target.number, rest), source.number - target.number),) if rest else ()


def _narrowed(target: _Operand, times: int) -> int:
    """The parts of a source that is so many times narrower than its target."""
    size = _WIDTH_IN_BYTES.get(target.parts, 16) // times
    return FLOAT if size <= 4 else DOUBLE if size <= 8 else XMM if size <= 16 else YMM


def _widened(form: Form, width: int) -> Form:
    """The form of an xmm register for ymm and zmm, which repeat it in each 16 bytes: above, what is left of the target is read too."""
    above = width & ~XMM
    if not above:
        return form
    reads_target = form.target or form.written & XMM != XMM
    return Form(form.target | above if reads_target else 0, form.written | above, form.source | above)
