"""The reader on ELF files built byte by byte: every machine, every encoding, and damage."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.elf_builder import REL_MACHINES, Reloc, Spec, Sym, Table, Tls, build
from tls_wheel_guard.elf import BytesSource, SharedObject, defined_tls, is_elf, read_shared_object
from tls_wheel_guard.elf.relocation_tables import merge_ranges
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.platforms import MACHINES, machine_called


def read(spec: Spec) -> SharedObject:
    return read_shared_object(BytesSource(build(spec)))


def numbers(machine: str, kind: str) -> list[int]:
    known = machine_called(machine)
    assert known is not None
    return [number for number, (of, _) in TLS_RELOCS[known.e_machine].items() if of == kind]


NAMES = [machine.name for machine in MACHINES]
TABLES: tuple[Table, ...] = get_args(Table)


# Nobody packs mips64's odd r_info for Android.
ENCODED = [(name, table) for name in NAMES for table in TABLES if not (name.startswith("mips64") and table.startswith("android"))]


@pytest.mark.parametrize(("machine", "table"), ENCODED)
def test_every_machine_in_every_encoding(machine: str, table: Table) -> None:
    known = machine_called(machine)
    assert known is not None
    tpoff, dtpmod = numbers(machine, "TPOFF"), numbers(machine, "DTPMOD")
    relocs = [Reloc(n, addend=8) for n in tpoff] + [Reloc(n, "own") for n in tpoff] + [Reloc(n, "gone") for n in (*tpoff, *dtpmod)]
    symbols = (Sym("own", defined=True), Sym("gone", weak=True))
    found = read(Spec(machine, tuple(relocs), Tls(64, 8, 4, 16), symbols, table=table, relative=7, relr=70))
    assert found.machine == known
    assert found.initial_exec.count == 3 * len(tpoff)
    assert (found.initial_exec.no_symbol, found.initial_exec.defined, found.initial_exec.foreign) == (len(tpoff),) * 3
    assert found.initial_exec.types == tuple(sorted((TLS_RELOCS[known.e_machine][n][1], 3) for n in tpoff))
    without_addends = table in ("rel", "android-rel") or (table == "split" and machine in REL_MACHINES)
    assert found.initial_exec.addends == (() if without_addends else (8,))
    assert found.dynamic.dtpmod == len(dtpmod)
    assert found.dynamic.undefined_weak == ("gone",)
    assert found.dynamic_relocations == 7 + len(relocs)
    assert found.relr_relative == 70
    segment = found.tls_segment
    assert segment is not None
    assert (segment.memsz, segment.filesz, segment.align, segment.vaddr % 8) == (64, 16, 8, 4)


@pytest.mark.parametrize("sections", [False, True])
def test_sections_change_nothing(sections: bool) -> None:
    spec = Spec(relocs=(Reloc(18),), tls=Tls(8), soname="a.so", needed=("b.so",), sections=sections)
    found = read(spec)
    assert (found.has_section_headers, found.kind, found.initial_exec.own) == (sections, "shared", 1)
    assert (found.soname, found.needed) == ("a.so", ("b.so",))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (Spec(), "shared"),
        (Spec(interpreter="/lib/ld.so", soname="libQt6Core.so.6"), "shared"),
        (Spec(interpreter="/lib/ld.so"), "program"),
        (Spec(flags_1=0x08000000), "program"),
        (Spec(e_type=2), "program"),
        (Spec(e_type=1), "object"),
        (Spec(e_type=4), "object"),
        (Spec(debug=True), "debug"),
        (Spec(sections=True), "shared"),
    ],
)
def test_kinds(spec: Spec, kind: str) -> None:
    assert read(spec).kind == kind


def test_section_headers_cannot_hide_a_module_that_loads() -> None:
    """Sections that call .dynamic NOBITS do not make debug information of a file whose dynamic segment has its tables."""
    honest, liar = build(Spec(relocs=(Reloc(18),), tls=Tls(8), sections=True)), build(Spec(relocs=(Reloc(18),), tls=Tls(8), debug=True))
    start = next(i for i in range(len(honest)) if honest[i] != liar[i])
    assert read_shared_object(BytesSource(liar)).kind == "debug"
    shoff = int.from_bytes(honest[40:48], "little")
    lied = bytearray(honest)
    lied[shoff + 64 + 4] = 8
    assert start < len(honest)
    found = read_shared_object(BytesSource(bytes(lied)))
    assert (found.kind, found.initial_exec.own) == ("shared", 1)


def test_flags_notes_and_osabi() -> None:
    found = read(Spec(flags=0x10 | 0x4, osabi=9, note="Android", machine="arm"))
    assert (found.df_static_tls, found.textrel, found.osabi, found.note_owners) == (True, True, 9, ("Android",))


def test_versions_of_foreign_symbols() -> None:
    symbols = (Sym("errno", version="GLIBC_PRIVATE"), Sym("other", version="GLIBC_2.5"), Sym("plain"))
    found = read(Spec(relocs=(*(Reloc(18, s.name) for s in symbols), Reloc(18, "errno")), symbols=symbols, needed=("libc.so.6",)))
    assert {s.versioned_name: n for s, n in found.initial_exec.foreign_symbols} == {
        "errno@GLIBC_PRIVATE": 2,
        "other@GLIBC_2.5": 1,
        "plain": 1,
    }


# ia64 has no row at all; hppa and m68k have one, of another class or byte order.
@pytest.mark.parametrize("header", [(50, 64, True), (15, 64, False), (4, 32, True)])
def test_unknown_machine_is_read_without_a_guess(header: tuple[int, int, bool]) -> None:
    found = read(Spec(header=header, tls=Tls(8), relocs=(Reloc(18),)))
    assert (found.machine, found.machine_name) == (None, f"e_machine {header[0]}")
    assert (found.initial_exec.count, found.dynamic_relocations) == (0, 1)


@pytest.mark.parametrize("machine", ["x86_64", "i386", "s390x", "alpha", "mips"])
def test_lookup_of_definitions(machine: str) -> None:
    symbols = (Sym("a", defined=True), Sym("b"), Sym("c", defined=True, local=True), Sym("d", defined=True))
    source = BytesSource(build(Spec(machine, symbols=symbols, tls=Tls(8))))
    assert defined_tls(source, ["a", "b", "d", "missing"]) == {"a", "d"}


def test_overlapping_tables_are_counted_once() -> None:
    assert merge_ranges([(0, 48, True), (24, 24, True), (100, 24, True), (124, 24, True), (0, 16, False)]) == [
        (0, 48, True),
        (100, 24, True),
        (124, 24, True),
        (0, 16, False),
    ]


def test_a_table_larger_than_a_piece() -> None:
    relocs = (*(Reloc(8) for _ in range(60_000)), Reloc(18), *(Reloc(8) for _ in range(60_000)), Reloc(18, addend=8))
    found = read(Spec(relocs=relocs, tls=Tls(16)))
    assert (found.initial_exec.count, found.initial_exec.addends, found.dynamic_relocations) == (2, (0, 8), 120_002)


def test_elf_is_known_by_its_magic() -> None:
    assert is_elf(build(Spec()))
    assert not is_elf(b"PK\x03\x04")


WHOLE = build(
    Spec(
        relocs=(Reloc(18, addend=4), Reloc(18, "errno"), Reloc(16, "own")),
        tls=Tls(100, 16, 4, 8),
        symbols=(Sym("errno", version="GLIBC_PRIVATE"), Sym("own", defined=True)),
        soname="a.so",
        needed=("libc.so.6",),
        interpreter="/lib/ld.so",
        note="GNU",
        relr=70,
        table="overlap",
        relative=3,
        sections=True,
    )
)


def survives(data: bytes) -> None:
    try:
        found = read_shared_object(BytesSource(data))
    except MalformedElf as error:
        line = error.line()
    else:
        line = found.kind
    assert line
    assert "\n" not in line


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_cut_at_any_byte(length: int) -> None:
    survives(WHOLE[:length])


@pytest.mark.parametrize("seed", range(20))
def test_flipped_at_any_byte(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        data = bytearray(WHOLE)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        survives(bytes(data))


@given(st.binary(max_size=400))
def test_any_bytes_behind_the_magic(data: bytes) -> None:
    survives(b"\x7fELF" + data)


specs = st.builds(
    Spec,
    machine=st.sampled_from(["x86_64", "i386", "aarch64", "arm", "s390x", "ppc", "riscv64", "mips", "sparc64"]),
    tls=st.none() | st.builds(Tls, st.integers(0, 5000), st.sampled_from([1, 2, 8, 64, 4096]), filesz=st.integers(0, 64)),
    soname=st.none() | st.text("abc.", min_size=1, max_size=20),
    needed=st.lists(st.text("xyz.", min_size=1, max_size=20), max_size=5).map(tuple),
    table=st.sampled_from(TABLES),
    relative=st.integers(0, 50),
    relr=st.integers(0, 200),
    padding=st.integers(0, 10_000),
    sections=st.booleans(),
    flags=st.sampled_from([0, 0x10, 0x18]),
)


@settings(max_examples=150, deadline=None)
@given(specs, st.data())
def test_reads_back_what_was_built(spec: Spec, data: st.DataObject) -> None:
    pool = numbers(spec.machine, "TPOFF") + numbers(spec.machine, "DTPMOD")
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(pool), st.sampled_from([None, "own", "foreign"])), max_size=30))
    relocs = tuple(Reloc(number, symbol, 0) for number, symbol in chosen)
    symbols = (Sym("own", defined=True), Sym("foreign"))
    full = Spec(**{**{f: getattr(spec, f) for f in spec.__slots__}, "relocs": relocs, "symbols": symbols})
    found = read(full)
    initial = [symbol for number, symbol in chosen if number in numbers(spec.machine, "TPOFF")]
    assert found.initial_exec.no_symbol == initial.count(None)
    assert found.initial_exec.defined == initial.count("own")
    assert found.initial_exec.foreign == initial.count("foreign")
    assert found.dynamic.dtpmod == len(chosen) - len(initial)
    assert (found.dynamic_relocations, found.relr_relative) == (spec.relative + len(chosen), spec.relr)
    assert (found.soname, found.needed, found.df_static_tls) == (spec.soname, spec.needed, bool(spec.flags & 0x10))
    assert (found.tls_segment is None) == (spec.tls is None)
