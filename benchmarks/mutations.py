"""Seeds and damage: small real-looking ELF files and wheels of every kind that the guard reads, and seeded ways to break them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from itertools import product

from tests.support.elf_builder import REL_MACHINES, Reloc, Spec, Sym, Table, Tls, build
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.platforms import MACHINES

__all__ = ["broken", "elf_seeds", "wheel_of", "wheel_seeds"]

NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 53) + 1,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
"""Values at the edges of what fields can hold."""

TABLES: tuple[Table | None, ...] = (None, "jmprel", "split", "overlap", "crel", "android")


def elf_seeds() -> list[bytes]:
    """Shared objects of every machine and every table of relocations, programs, debug files, versions, notes."""
    seeds = []
    for machine in MACHINES:
        numbers = [n for n, (kind, _) in TLS_RELOCS[machine.e_machine].items() if kind in ("TPOFF", "DTPMOD")][:2]
        relocs = (*map(Reloc, numbers), Reloc(numbers[0], "foreign"), Reloc(numbers[0], "own", 8))
        symbols = (Sym("own", defined=True), Sym("foreign", version="GLIBC_2.34"))
        spec = Spec(machine.name, relocs, Tls(64, 16, 4, 8), symbols, "libx.so.1", ("libc.so.6", "liby.so"), flags=0x10, relative=3)
        seeds.append(build(spec))
    few = ("x86_64", "i386", "aarch64", "s390x")
    for name, table in product(few, TABLES):
        number = next(n for n, (kind, _) in TLS_RELOCS[next(m for m in MACHINES if m.name == name).e_machine].items() if kind == "TPOFF")
        if table == "android" and name in REL_MACHINES:
            table = "android-rel"  # noqa: PLW2901
        seeds.append(build(Spec(name, (Reloc(number), Reloc(number, "a")), Tls(8, 8), (Sym("a"),), table=table, relative=20, relr=9)))
    seeds.append(build(Spec(interpreter="/lib64/ld-linux-x86-64.so.2", note="GNU", flags_1=0x08000000)))
    seeds.append(build(Spec(sections=True, debug=True)))
    seeds.append(build(Spec("aarch64", tls=Tls(32, 16), sections=True, note="Android", padding=2000)))
    return seeds


def wheel_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, tag: str = "cp312-cp312-manylinux_2_28_x86_64") -> bytes:
    """A wheel in memory; the same bytes whenever it is made."""
    out = io.BytesIO()
    about = {
        "WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
        "METADATA": "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in {**members, **{f"pkg-1.0.dist-info/{name}": text.encode() for name, text in about.items()}}.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def wheel_seeds(elves: list[bytes]) -> list[bytes]:
    """Wheels of every compression method, with names in UTF-8, with zip64 fields, with a comment, with nothing."""
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    seeds = [wheel_of({"pkg/a.so": elves[n], "pkg/b.so": elves[-n - 1], "pkg/x.py": b"pass\n" * 40}, method) for n, method in enumerate(methods)]
    seeds.append(wheel_of({"größe/ü.so": elves[0], "bin/tool": elves[3], "x.jar": b"PK\x03\x04", "y.dll": b"MZ" + bytes(80)}))
    seeds.append(wheel_of({}))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open(zipfile.ZipInfo("pkg/big.so"), "w", force_zip64=True) as member:
            member.write(elves[0])
        archive.comment = b"PK\x05\x06 a comment"
    seeds.append(out.getvalue())
    return seeds


def _flip(data: bytearray, chance: random.Random, at: int) -> None:
    data[at] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: random.Random, at: int) -> None:
    data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _number(data: bytearray, chance: random.Random, at: int) -> None:
    size = chance.choice((2, 4, 8))
    at &= -size
    value = chance.choice((*NUMBERS, len(data), len(data) - 1, chance.randrange(1 << 16)))
    data[at : at + size] = struct.pack(chance.choice("<>") + {2: "H", 4: "I", 8: "Q"}[size], value & ((1 << 8 * size) - 1))[: len(data) - at]


def _zeros(data: bytearray, chance: random.Random, at: int) -> None:
    length = min(chance.randrange(1, 65), len(data) - at)
    data[at : at + length] = bytes(length)


def _noise(data: bytearray, chance: random.Random, at: int) -> None:
    length = min(chance.randrange(1, 33), len(data) - at)
    data[at : at + length] = chance.randbytes(length)


def _copy(data: bytearray, chance: random.Random, at: int) -> None:
    length, source = chance.randrange(1, 65), chance.randrange(len(data))
    data[at : at + length] = data[source : source + length]


def _cut(data: bytearray, _chance: random.Random, at: int) -> None:
    del data[at:]


def _remove(data: bytearray, chance: random.Random, at: int) -> None:
    del data[at : at + chance.randrange(1, 33)]


def _insert(data: bytearray, chance: random.Random, at: int) -> None:
    data[at:at] = data[chance.randrange(len(data)) :][: chance.randrange(1, 65)]


WAYS: tuple[Callable[[bytearray, random.Random, int], None], ...] = (
    _flip, _flip, _byte, _byte, _number, _number, _number, _zeros, _noise, _copy, _cut, _remove, _insert,
)  # fmt: skip


def broken(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to six damages; half of them near the beginning or the end, where formats keep their tables."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not out:
            break
        near = min(len(out), 400)
        at = chance.choice(
            (chance.randrange(len(out)), chance.randrange(len(out)), chance.randrange(near), len(out) - 1 - chance.randrange(near))
        )
        chance.choice(WAYS)(out, chance, at)
    return bytes(out)
