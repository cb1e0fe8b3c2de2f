"""The parts of aarch64's repair by themselves: words, thunks and their proof, and what is read of a thunk again."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.toolchain import require
from tls_wheel_guard.machine_code.disassembly import Disassembler
from tls_wheel_guard.repair.aarch64 import MACHINE, thunks
from tls_wheel_guard.repair.aarch64.proof import prove
from tls_wheel_guard.repair.aarch64.reading import is_redirected, read_thunks
from tls_wheel_guard.repair.aarch64.thunks import redirect, thunk
from tls_wheel_guard.repair.aarch64.words import access_of, added, address_made, copied, effects, jump_of
from tls_wheel_guard.repair.machine import Site
from tls_wheel_guard.repair.refusal import CannotRepair

AT, DESCRIPTOR = 0x45000, 0x79FF0
SITES = [Site(0x1000 + 8 * register, 0x8000, "ldr", register, 4, True, "") for register in range(31)]
NOP = struct.pack("<I", 0xD503201F)
THUNK = "\n".join(line for line in (thunks.__doc__ or "").splitlines() if line.startswith("    "))
"""As the module itself says it."""
MISREAD = ("sbf", "ubf", "asr", "lsl", "lsr", "sxt", "uxt", "bf", "adds", "cm", "tst", "umulh", "smulh", "addg", "subg", "sysl", "pacga", "subp",
           "irg", "gmi", "ld1", "ld2", "ld3", "ld4", "st1", "st2", "st3", "st4", "swp", "cas", "ldadd", "ldclr", "ldeor", "ldset", "ldsm", "ldum",
           "stadd", "stclr", "steor", "stset", "stsm", "stum", "tlbi", "sys", "ic", "dc", "at", "ldrab", "ldraa",
           "smov", "umov", "fjcvtzs")  # fmt: skip
"""Beginnings of the names of instructions whose registers capstone 5 gets wrong: shifts, comparisons, tags, atomics, elements of vectors."""


def test_registers_of_random_words() -> None:
    """As the decoder reads them, where it reads them right."""
    engine, rng = Disassembler("aarch64"), random.Random(7)
    seen: set[str] = set()
    for _ in range(20_000):
        word = rng.getrandbits(25) | rng.choice(range(128)) << 25
        usual = effects(word)
        found = next(engine.decode(struct.pack("<I", word), 0), None)
        half = word & 0x5FC00000 == 0x1EC00000  # conversions of 16-bit numbers
        if usual is None or found is None or half or found.mnemonic.startswith(MISREAD):
            continue
        read = engine.reads(struct.pack("<I", word), 0) or frozenset()
        expected = [{name for name in names if name[0] == "x" and name[1:].isdigit()} for names in (read, found.writes)]
        assert [{f"x{number}" for number in numbers if number != 31} for numbers in usual] == expected, found.text
        seen.add(found.mnemonic)
    assert len(seen) > 120


@pytest.mark.compiler
def test_words_are_what_an_assembler_makes(tmp_path: Path) -> None:
    """Addresses, displacements and jumps, each with a number that is told apart."""
    lines = ["adrp x3, . + 0x5000", "adr x4, . - 8", "ldr x5, [x6, #0x7f8]", "ldp w1, w2, [x3, #-24]", "str q1, [x2, #32]", "ldur x1, [x2, #-9]",
             "mov x7, x8", "add x1, x2, #3, lsl #12", "b . + 8", "bl . - 4", "cbz x1, . + 12", "tbnz x2, #40, . - 16", "br x1", "blr x2", "ret",
             "retaa", "brk #1", "b.hi . + 20"]  # fmt: skip
    words = assembled(".arch armv8.3-a\n" + "\n".join(lines), tmp_path, 0x10000)
    assert address_made(words[0], 0x10000) == 0x15000
    assert address_made(words[1], 0x10004) == 0xFFFC
    assert [access_of(word) for word in words[2:6]] == [
        (6, 0x7F8, 8, True, (5,)), (3, -24, 8, True, (1, 2)), (2, 32, 16, False, ()), (2, -9, 8, True, (1,)),
    ]  # fmt: skip
    assert copied(words[6]) == (7, 8)
    assert added(words[7]) == (2, 0x3000)
    assert [jump_of(word, 0x100) for word in words[8:]] == [
        ("jump", 0x108), ("call", 0xFC), ("branch", 0x10C), ("branch", 0xF0), ("indirect", None), ("indirect call", None), ("return", None),
        ("return", None), ("stop", None), ("branch", 0x114),
    ]  # fmt: skip


def assembled(text: str, folder: Path, at: int, **names: int) -> tuple[int, ...]:
    """The words of a text that is linked for an address."""
    require("aarch64-linux-gnu-as")
    (folder / "a.s").write_text(f"{text}\n")
    subprocess.run(["aarch64-linux-gnu-as", "-o", str(folder / "a.o"), str(folder / "a.s")], check=True)
    symbols = [f"--defsym={name}={value:#x}" for name, value in names.items()]
    place = [f"-Ttext={at:#x}", "-o", str(folder / "a"), str(folder / "a.o")]
    subprocess.run(["aarch64-linux-gnu-ld", "-e", "0", *symbols, *place], check=True)
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", "-j", ".text", str(folder / "a"), str(folder / "a.bin")], check=True)
    data = (folder / "a.bin").read_bytes()
    return struct.unpack(f"<{len(data) // 4}I", data)


@pytest.mark.compiler
def test_a_thunk_is_its_text(tmp_path: Path) -> None:
    code = thunk(SITES[5], "plain", AT, DESCRIPTOR, 0).code
    text = THUNK.replace("xM", "x5").replace("site + 4", "back")
    assert struct.unpack("<12I", code) == assembled(text, tmp_path, AT, descriptor=DESCRIPTOR, back=SITES[5].address + 4)


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"x{site.register}")
def test_every_thunk_is_proved_and_none_of_its_words_can_go(site: Site) -> None:
    piece, jump = thunk(site, "plain", AT, DESCRIPTOR, 0), redirect(site, AT)
    assert prove(site, jump, AT, piece.code, DESCRIPTOR, 0).wrong == ""
    for place in range(0, len(piece.code), 4):
        broken = piece.code[:place] + NOP + piece.code[place + 4 :]
        assert prove(site, jump, AT, broken, DESCRIPTOR, 0).wrong != "", f"without word {place // 4}"
    assert prove(site, jump, AT, piece.code, DESCRIPTOR + 16, 0).wrong != ""
    assert prove(site, NOP, AT, piece.code, DESCRIPTOR, 0).wrong != ""


def test_thunks_are_read_again() -> None:
    code, places = b"", []
    for site in SITES:
        places.append(AT + len(code))
        code += thunk(site, "plain", places[-1], DESCRIPTOR, 0).code
    found = list(read_thunks(code, AT))
    assert [(each.address, each.site, each.descriptor) for each in found] == [
        (place, site.address, DESCRIPTOR) for place, site in zip(places, SITES, strict=True)
    ]
    assert all(is_redirected(redirect(site, each.address), each) for site, each in zip(SITES, found, strict=True))
    assert not is_redirected(NOP, found[0])
    damaged = code[: found[3].address - AT + 8] + NOP + code[found[3].address - AT + 12 :]
    assert len(list(read_thunks(damaged, AT))) == 3


@pytest.mark.parametrize(("at", "descriptor"), [(1 << 28, DESCRIPTOR), (AT, 1 << 34)])
def test_what_is_too_far_is_refused(at: int, descriptor: int) -> None:
    with pytest.raises(CannotRepair) as caught:
        thunk(SITES[5], "plain", at, descriptor, 0)
    assert caught.value.rule == "too-far"


def test_the_poison_is_no_address() -> None:
    """A thread pointer with it added: the top byte is a tag, bits 52 to 55 are not."""
    assert int.from_bytes(MACHINE.poison, "little") >> 52 & 0xF
