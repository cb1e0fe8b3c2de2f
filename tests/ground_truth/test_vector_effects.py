"""What instructions do to vector registers, beside the processor: a part that an instruction is not said to read changes nothing else.

Each form that the assembler takes of each name in the tables runs with random registers, then again with one part of one register
changed. The results may differ in that part where it stays, and in the parts that it is passed on to. Nowhere else.
"""

from __future__ import annotations

import ctypes
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.toolchain import require
from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.disassembly import LineDecoder
from tls_wheel_guard.machine_code.vector_effects import Effect, effect_of
from tls_wheel_guard.machine_code.vector_forms import BROADCASTS, FORMS
from tls_wheel_guard.machine_code.vector_registers import PARTS, ZMM, mask_bit, register_bits

pytestmark = pytest.mark.compiler

MORE = """
    addps addpd mulps andps orps xorps andnps pxor por paddd psubd pcmpeqd pcmpgtd shufps shufpd pshufb palignr haddpd blendps pblendw
    pblendvb ptest cmpps cmppd pmaddwd psadbw packuswb psllq psrldq movmskps pmovmskb pextrd pextrq extractps movnti movntps dpps maxps
    unpckhps roundps pcmpistri fmadd213sd fmadd231ss fmadd132pd fnmsub213ps fmaddsub213pd permd permq perm2f128 permilps insertf128
    extractf128 extracti64x4 inserti32x4 pternlogd permi2d permt2ps blendmps pblendmd compressps expandpd cvtdq2ps cvttps2dq cvtps2ph
    cvtpd2ps pmovqd pmovdb pmaskmovd maskmovps testps gatherdps pgatherdd psllvd prord plzcntd pconflictd pmadd52luq pdpbusd shuff64x2
    alignd zeroupper xorpd pxord pmovm2d pmovd2m fixupimmsd rangesd scalefsd getexpss
""".split()
PATTERNS = (
    "xmm1, xmm2", "xmm1, xmm1", "xmm1, [rsi]", "[rsi], xmm2", "xmm1, eax", "eax, xmm2", "xmm1, rax", "rax, xmm2", "xmm1, xmm2, 1",
    "xmm1, [rsi], 2", "xmm1, eax, 1", "xmm1, rax, 1", "eax, xmm2, 1", "rax, xmm2, 1", "xmm1, xmm2, xmm0",
)  # fmt: skip
VEX_PATTERNS = (
    "", *PATTERNS, "xmm1, xmm2, xmm3", "xmm1, xmm2, xmm2", "ymm1, ymm2, ymm2", "xmm1, xmm2, [rsi]", "xmm1, xmm2, eax",
    "xmm1, xmm2, rax", "xmm1, xmm2, xmm3, 1", "xmm1, xmm2, eax, 1", "xmm1, xmm2, rax, 1", "xmm1, xmm2, [rsi], 1", "ymm1, ymm2",
    "ymm1, xmm2", "ymm1, [rsi]", "[rsi], ymm2", "ymm1, ymm2, ymm3", "ymm1, ymm2, ymm3, 1", "ymm1, ymm2, xmm3, 1", "xmm1, ymm2, 1",
    "xmm1, ymm2", "ymm1, ymm2, 1", "zmm1, zmm2", "zmm1, xmm2", "zmm1, ymm2", "zmm1, zmm2, zmm3", "zmm1, zmm2, zmm3, 1",
    "zmm1, zmm2, xmm3, 1", "ymm1, zmm2, 1", "xmm17, xmm18, xmm19", "xmm1{k1}, xmm2, xmm3", "xmm1{k1}{z}, xmm2, xmm3",
    "zmm1{k1}, zmm2", "zmm1{k1}{z}, zmm2", "ymm1{k1}, ymm2, ymm3", "xmm1{k1}, xmm2", "xmm1{k1}, xmm2, xmm3, 1", "k2, xmm1, xmm2",
    "k2{k1}, ymm1, ymm2", "k2, xmm1, xmm2, 1", "[rsi]{k1}, zmm2", "zmm1, k2", "k2, zmm1", "zmm1, zmm2, zmm3, 0xff",
)  # fmt: skip
SIZES = (4, 4, 8, 16, 32)
"""Bytes of the parts of a register, from the lowest."""


def _assembly(forms: list[str]) -> str:
    """A function a form. Its state: zmm0 to zmm31, k0 to k7 at 2048, rax at 2112, the flags at 2120, 64 bytes of memory at 2176."""
    load = "".join(f"vmovdqu64 zmm{n}, [rdi+{64 * n}]\n" for n in range(32)) + "".join(f"kmovq k{n}, [rdi+{2048 + 8 * n}]\n" for n in range(1, 8))
    store = "".join(f"vmovdqu64 [rdi+{64 * n}], zmm{n}\n" for n in range(32)) + "".join(
        f"kmovq [rdi+{2048 + 8 * n}], k{n}\n" for n in range(1, 8)
    )
    text = [".intel_syntax noprefix", ".text", "load:", load, "ret", "store:", store, "mov [rdi+2112], rax", "vzeroupper", "ret"]
    for n, form in enumerate(forms):
        text += [
            f".globl form{n}",
            f"form{n}:",
            "call load",
            "lea rsi, [rdi+2176]",
            "mov rax, [rdi+2112]",
            "xor ecx, ecx",
            f"at{n}: {form}",
            f"end{n}:",
        ]
        text += ["pushfq", "pop qword ptr [rdi+2120]", "jmp store"]
    return "\n".join(text) + "\n"


def _taken(folder: Path) -> list[str]:
    """The forms that the assembler takes, each once."""
    names = sorted({*FORMS, *BROADCASTS, *MORE})
    forms = [f"{name} {pattern}" for name in names for pattern in PATTERNS] + [f"v{name} {pattern}" for name in names for pattern in VEX_PATTERNS]
    (folder / "all.s").write_text(".intel_syntax noprefix\n" + "\n".join(forms) + "\n")
    run = subprocess.run([require("as"), "-o", str(folder / "all.o"), str(folder / "all.s")], capture_output=True, text=True, check=False)
    bad = {int(number) for number in re.findall(r"all\.s:(\d+): Error", run.stderr)}
    return [form for line, form in enumerate(forms, 2) if line not in bad]


def _parts(touched: set[int]) -> list[tuple[int, int, int]]:
    """(bit of the part, place in the state, bytes) of some registers and of the mask registers."""
    found = []
    for number in sorted(touched):
        place = 64 * number
        for part, size in enumerate(SIZES):
            found.append((register_bits(number, 1 << part), place, size))
            place += size
    return found + [(mask_bit(32 + n), 2048 + 8 * n, 8) for n in range(1, 8)]


def _may_differ(effect: Effect, changed: int) -> int:
    """The parts of the result that a change of one part may reach when it is not read."""
    allowed = changed & ~effect.writes
    for target, distance in effect.passes:
        shifted = changed >> PARTS * distance if distance >= 0 else changed << PARTS * -distance
        allowed |= shifted & target
    return allowed


@pytest.mark.skipif("avx512bw" not in Path("/proc/cpuinfo").read_text(), reason="this processor has no AVX-512")
def test_unread_parts_change_nothing(tmp_path: Path) -> None:
    forms = _taken(tmp_path)
    (tmp_path / "forms.s").write_text(_assembly(forms))
    library = tmp_path / "forms.so"
    subprocess.run([require("gcc"), "-shared", "-nostdlib", "-o", str(library), str(tmp_path / "forms.s")], check=True, capture_output=True)
    code = read_code(BytesSource(library.read_bytes()), "x86_64")
    nm = subprocess.run(["nm", str(library)], capture_output=True, text=True, check=True).stdout
    places = {name: int(address, 16) for address, _, name in (line.split() for line in nm.splitlines() if len(line.split()) == 3)}
    loaded, decoder, random_ = ctypes.CDLL(str(library)), LineDecoder("x86_64"), random.Random(1)
    wrong, ran = [], 0
    buffer = bytearray(2304 + 64)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % 64
    state_pointer = ctypes.byref(ctypes.c_char.from_buffer(buffer, start))
    for n, form in enumerate(forms):
        line = decoder.decode(code.at(places[f"at{n}"], places[f"end{n}"] - places[f"at{n}"]), 0)
        assert len(line) == 1, form
        effect = effect_of(line[0].mnemonic, line[0].operands)
        parts = _parts({0, 1, 2, 3, 17, 18, 19})
        given = bytearray(random_.randbytes(2304))

        def run(state: bytes, name: str = f"form{n}") -> bytes:
            buffer[start : start + 2304] = state
            getattr(loaded, name)(state_pointer)
            return bytes(buffer[start : start + 2304])

        before = run(bytes(given))
        ran += 1
        for bit, place, size in parts:
            if bit & effect.reads:
                continue
            other = bytearray(given)
            other[place : place + size] = random_.randbytes(size)
            after, allowed = bytearray(run(bytes(other))), _may_differ(effect, bit)
            for part, at, length in parts:
                if part & allowed:
                    after[at : at + length] = before[at : at + length]
            if after != before:
                wrong.append(f"{form} ({line[0].mnemonic} {line[0].operands}): changed {place // 64}+{place % 64}")
                break
    assert ran > 1000
    assert not wrong, f"{len(wrong)} of {ran}:\n" + "\n".join(wrong[:40])


def test_a_form_that_is_said_to_read_everything_would_pass_and_is_not_there() -> None:
    """The property above can't see reads that are too many: some known ones."""
    assert effect_of("cvtsi2sd", "xmm0, eax") == Effect(0, register_bits(0, 0b11))
    assert effect_of("pxor", "xmm3, xmm3") == Effect(0, register_bits(3, 0b111))
    assert effect_of("vxorps", "xmm3, xmm3, xmm3") == Effect(0, register_bits(3, ZMM))
    assert effect_of("movsd", "xmm1, qword ptr [rax]") == Effect(0, register_bits(1, 0b111))
    assert effect_of("addsd", "xmm1, xmm2") == Effect(register_bits(1, 0b11) | register_bits(2, 0b11), register_bits(1, 0b11))
    assert effect_of("movhps", "qword ptr [rax], xmm2").reads == register_bits(2, 0b100)
    assert effect_of("vmovd", "xmm5, eax") == Effect(0, register_bits(5, ZMM))
    assert effect_of("vpinsrd", "xmm5, xmm5, eax, 1").reads == 0
