"""Verdicts proved: generated and real modules, opened by the real glibc and the real musl."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.toolchain import missing, open_in_turn, this_glibc
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.loaders import Verdict, glibc, judge
from tls_wheel_guard.loaders.refusals import LATE, NO_ROOM
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.tls import TlsDemand, TlsModule, demand_of, tls_module

pytestmark = pytest.mark.compiler

TPOFF64, DTPMOD64, DTPOFF64, TLSDESC = 18, 16, 17, 36
MUSL = Target("musllinux_1_2_x86_64", "x86_64", "musl", (1, 2))


def demand(data: bytes, path: Path, definers: dict[str, TlsDemand] | None = None) -> TlsDemand:
    path.write_bytes(data)
    return demand_of(read_shared_object(BytesSource(data)), str(path), definers)


def module(data: bytes, path: Path, definers: dict[str, TlsDemand] | None = None) -> TlsModule:
    return tls_module(read_shared_object(BytesSource(data)), str(path), demand=demand(data, path, definers))


def on_glibc(asked: TlsModule) -> Verdict:
    return judge(asked, Target("manylinux", "x86_64", "glibc", this_glibc()))


def expected_on_glibc(verdict: Verdict) -> str:
    """The words that the real loader must say: none when it loads."""
    fit = verdict.outcome.fits_fresh_process
    if verdict.verdict == "unsafe":
        return "signal 8"
    return "" if fit is None or fit.oldest else str(verdict.outcome.error)


def assert_glibc(data: bytes, path: Path) -> None:
    verdict = on_glibc(module(data, path))
    (said,) = open_in_turn("gcc", path)
    assert said.rsplit("/", 1)[-1] == expected_on_glibc(verdict), (verdict, said)


def assert_musl(data: bytes, path: Path) -> None:
    verdict = judge(module(data, path), MUSL)
    (said,) = open_in_turn("musl-gcc", path)
    if verdict.verdict == "never":
        assert said.startswith("Error relocating "), (verdict, said)
        assert LATE.mark in said, (verdict, said)
    elif verdict.verdict == "unsafe":
        assert said in ("", "signal 11"), (verdict, said)
    else:
        assert said == "", (verdict, said)


ROOM_SIZES = [(size, align, first) for align in (1, 2, 4, 8, 16, 32, 64) for first in (0, 1, 5) if first < align for size in (-1, 0, 1)]
ALIGNS = [(8, align, first) for align in (2, 4, 16, 32, 63, 64, 65, 128, 256, 4096) for first in (0, 1)]


@pytest.mark.parametrize(("off", "align", "first"), ROOM_SIZES)
def test_glibc_within_one_byte_of_the_room(off: int, align: int, first: int, tmp_path: Path) -> None:
    """And musl, which has no room at all, refuses each of the same modules."""
    state = glibc.fresh_state(this_glibc(), "x86_64", 2)
    size = state.room - first + off
    data = build(Spec(relocs=(Reloc(TPOFF64),), tls=Tls(size, align, first)))
    assert_glibc(data, tmp_path / "m.so")
    assert_musl(data, tmp_path / "m.so")


@pytest.mark.parametrize(("size", "align", "first"), ALIGNS)
def test_glibc_around_the_alignment_limit(size: int, align: int, first: int, tmp_path: Path) -> None:
    data = build(Spec(relocs=(Reloc(TPOFF64),), tls=Tls(size, align, first)))
    assert_glibc(data, tmp_path / "m.so")
    assert_musl(data, tmp_path / "m.so")


MODULES = {
    "no TLS": Spec(),
    "a segment and no relocation": Spec(tls=Tls(5000)),
    "initial-exec": Spec(relocs=(Reloc(TPOFF64, addend=4),), tls=Tls(177, 8, 0, 48)),
    "initial-exec by an own symbol": Spec(relocs=(Reloc(TPOFF64, "own"),), tls=Tls(2632, 8), symbols=(Sym("own", defined=True),)),
    "initial-exec by a local symbol": Spec(relocs=(Reloc(TPOFF64, "own"),), tls=Tls(64, 8), symbols=(Sym("own", defined=True, local=True),)),
    "in DT_JMPREL": Spec(relocs=(Reloc(TPOFF64),), tls=Tls(3000), table="jmprel"),
    "flagged": Spec(relocs=(Reloc(TPOFF64),), tls=Tls(20), flags=0x10),
    "flag without initial-exec": Spec(relocs=(Reloc(DTPMOD64), Reloc(DTPOFF64)), tls=Tls(1800), flags=0x10),
    "global-dynamic, large": Spec(relocs=(Reloc(DTPMOD64),), tls=Tls(100_000, 64)),
    "descriptor that takes room": Spec(relocs=(Reloc(TLSDESC),), tls=Tls(512), table="jmprel"),
    "descriptor that does not": Spec(relocs=(Reloc(TLSDESC),), tls=Tls(513), table="jmprel"),
    "descriptor with a large alignment": Spec(relocs=(Reloc(TLSDESC),), tls=Tls(8, 256), table="jmprel"),
    "undefined weak": Spec(relocs=(Reloc(TPOFF64, "gone"),), symbols=(Sym("gone", weak=True),)),
    "undefined weak, global-dynamic": Spec(relocs=(Reloc(DTPMOD64, "gone"),), symbols=(Sym("gone", weak=True),)),
    "no segment": Spec(relocs=(Reloc(TPOFF64),)),
    "an empty segment": Spec(relocs=(Reloc(TPOFF64),), tls=Tls(0)),
    "alignment 0": Spec(relocs=(Reloc(TPOFF64),), tls=Tls(16, 0)),
    "section headers": Spec(relocs=(Reloc(TPOFF64),), tls=Tls(2000), sections=True),
    "many relocations": Spec(relocs=tuple(Reloc(TPOFF64, addend=n) for n in range(300)), tls=Tls(1712)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_glibc_on_each_form(name: str, tmp_path: Path) -> None:
    assert_glibc(build(MODULES[name]), tmp_path / "m.so")


@pytest.mark.parametrize("name", MODULES)
def test_musl_on_each_form(name: str, tmp_path: Path) -> None:
    if "descriptor" in name:
        # musl's x86_64 takes descriptors as everything else does: they load.
        assert judge(module(build(MODULES[name]), tmp_path / "m.so"), MUSL).verdict == "always"
    assert_musl(build(MODULES[name]), tmp_path / "m.so")


@pytest.mark.parametrize(("size", "align"), list(itertools.product((1, 64, 128, 129, 1664, 70_000), (1, 8, 64, 256))))
def test_musl_refuses_any_size(size: int, align: int, tmp_path: Path) -> None:
    assert_musl(build(Spec(relocs=(Reloc(TPOFF64),), tls=Tls(size, align))), tmp_path / "m.so")
    assert_musl(build(Spec(relocs=(Reloc(DTPMOD64), Reloc(DTPOFF64)), tls=Tls(size, align))), tmp_path / "m.so")


def test_errno_is_free_on_glibc(tmp_path: Path) -> None:
    spec = Spec(relocs=(Reloc(TPOFF64, "errno"),), symbols=(Sym("errno", version="GLIBC_PRIVATE"),), needed=("libc.so.6",))
    verdict = on_glibc(module(build(spec), tmp_path / "m.so"))
    assert verdict.verdict == "always"
    assert open_in_turn("gcc", tmp_path / "m.so") == [""]


@pytest.mark.parametrize("size", [64, 1712, 1713])
def test_a_foreign_variable_takes_its_definers_room(size: int, tmp_path: Path) -> None:
    """The error names the definer, and the room is counted once, however many refer to it."""
    variable = Sym("shared_variable", defined=True)
    definer = demand(build(Spec(tls=Tls(size, 8), symbols=(variable,), soname="libdefiner.so")), tmp_path / "libdefiner.so")
    uses = Spec(relocs=(Reloc(TPOFF64, "shared_variable"),), symbols=(Sym("shared_variable"),), needed=("libdefiner.so",))
    user = module(build(uses), tmp_path / "user.so", {"shared_variable": definer})
    found = {"LD_LIBRARY_PATH": str(tmp_path)}
    (said,) = open_in_turn("gcc", tmp_path / "user.so", environment=found)
    assert said.rsplit("/", 1)[-1] == expected_on_glibc(on_glibc(user))
    assert on_glibc(replace(user, accesses=())).verdict == "always"
    (said,) = open_in_turn("musl-gcc", tmp_path / "user.so", environment=found)
    assert judge(user, MUSL).verdict == "never"
    assert f"shared_variable: {LATE.mark} {tmp_path}/libdefiner.so" in said


def test_together_until_the_room_is_gone(tmp_path: Path) -> None:
    """Modules one after another: the model and the loader stop at the same one."""
    state = glibc.fresh_state(this_glibc(), "x86_64", 2)
    paths, expected = [], []
    for number, (size, align) in enumerate([(100, 16), (300, 32), (7, 1), (600, 64), (33, 8), (500, 8), (90, 4), (61, 1), (60, 1), (8, 8)]):
        path = tmp_path / f"m{number}.so"
        asked = demand(build(Spec(relocs=(Reloc(TPOFF64),), tls=Tls(size, align), soname=path.name)), path)
        placed = glibc.allocate(state, asked)
        state = placed[0] if placed else state
        paths.append(path)
        expected.append("" if placed else f"{path}: {NO_ROOM.mark}")
        if placed is None:
            break
    assert expected[-1] != "", "the sequence must exhaust the room"
    assert open_in_turn("gcc", *paths) == expected


def test_python_says_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "m.so"
    asked = module(build(Spec(relocs=(Reloc(TPOFF64),), tls=Tls(4000))), path)
    run = subprocess.run([sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(path)!r})"], capture_output=True, text=True, check=False)
    if not run.stderr:
        missing("a Python whose ctypes opens libraries")
    assert run.stderr.strip().endswith(f"m.so: {NO_ROOM.mark}")
    assert on_glibc(asked).refuses
