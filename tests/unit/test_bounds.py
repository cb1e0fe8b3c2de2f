"""Hostile numbers of things: what is looked at once each takes no longer for being large, and memory stays in bounds."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.culprits.collect import first_covering, reached_slots
from tls_wheel_guard.elf import BytesSource, read_shared_object, symbol_tables
from tls_wheel_guard.elf.constants import DT_RELR, DT_RELRSZ, SHT_SYMTAB
from tls_wheel_guard.elf.headers import dynamic_of
from tls_wheel_guard.elf.section_headers import Section
from tls_wheel_guard.elf.symbol_tables import Names, TlsVariable, read_names, table_places
from tls_wheel_guard.elf.tls_image import tls_pointers
from tls_wheel_guard.errors import UnreadableInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import Limits
from tls_wheel_guard.machine_code import usual_reads
from tls_wheel_guard.machine_code.code import CodePlaces, Place


def i386_code(size: int, slots: list[int], got: int, seed: int = 1) -> tuple[CodePlaces, bytes, dict[int, int]]:
    """Random bytes with one read of each slot among them: where they lie, the bytes, and where each read stands."""
    chance, at = random.Random(seed), {}
    data = bytearray(chance.randbytes(size))
    for place, slot in zip(range(64, size, size // (len(slots) + 1)), slots, strict=False):
        data[place : place + 6] = b"\x8b\x83" + struct.pack("<i", slot - got)
        at[place] = slot
    return CodePlaces("i386", (Place(0x1000, 0, size),), BytesSource(bytes(data)), got), bytes(data), at


def test_reads_on_i386_are_those_of_one_pattern_a_slot() -> None:
    slots = [0x2000 + 4 * number for number in range(200)]
    code, data, at = i386_code(1 << 20, slots, 0x4000)
    found = set(usual_reads(code, slots))
    assert {(0x1000 + place, slot) for place, slot in at.items()} <= found
    for address, slot in found:
        start = address - 0x1000
        assert data[start] in b"\x8b\x03"
        assert data[start + 1] >> 6 == 2
        assert data[start + 1] & 7 not in (4, 5)
        assert struct.unpack_from("<i", data, start + 2)[0] + 0x4000 == slot


def test_slots_on_i386_do_not_multiply_with_code() -> None:
    """Four thousand slots take no longer than four: the code is gone through once."""
    code, _, _ = i386_code(4 << 20, [0x2000], 0x4000)
    took = []
    for count in (4, 4096):
        slots = frozenset(0x100000 + 4 * number for number in range(count))
        start = time.process_time()
        list(usual_reads(code, slots))
        took.append(time.process_time() - start)
    assert took[1] < 10 * took[0] + 0.1, took


def test_a_slot_that_no_displacement_reaches() -> None:
    code, _, _ = i386_code(1 << 12, [0x2000], 0x4000)
    assert list(usual_reads(code, [1 << 40])) == []


def test_symbol_tables_do_not_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand headers of one table: it is read as often as two of the largest would take."""
    monkeypatch.setattr(symbol_tables, "MAX_TABLE", 1 << 10)
    monkeypatch.setattr(symbol_tables, "MAX_STRINGS", 1 << 10)
    data = build(Spec())
    table, strings = Section("", SHT_SYMTAB, 0, 0, 64, 240, 1), Section("", 3, 0, 0, 64, 100, 0)
    places = list(table_places((table, strings, *[table] * 19_998)))
    assert places == [(64, 240), (64, 100)] * 8
    assert read_names(BytesSource(data), (table, strings, *[table] * 19_998)) == read_names(BytesSource(data), (table, strings))


def slowly(variables: list[TlsVariable], offsets: set[int]) -> dict[int, TlsVariable]:
    return {offset: covering[0] for offset in offsets if (covering := [v for v in variables if v.offset <= offset < v.offset + max(v.size, 1)])}


def test_variables_are_found_as_by_trying_all_of_them() -> None:
    chance = random.Random(3)
    for _ in range(500):
        variables = [TlsVariable(f"v{n}", chance.randrange(60), chance.randrange(20)) for n in range(chance.randrange(30))]
        offsets = {chance.randrange(80) for _ in range(chance.randrange(40))}
        assert first_covering(variables, offsets) == slowly(variables, offsets)


def test_offsets_do_not_multiply_with_symbols() -> None:
    """Each of 200,000 variables covers each of 4,096 places."""
    variables = [TlsVariable(f"v{number}", 0, 1 << 30) for number in range(200_000)]
    start = time.process_time()
    assert len(first_covering(variables, range(4096))) == 4096
    assert time.process_time() - start < 5


def test_slots_and_names_of_a_real_module_are_as_before() -> None:
    data = build(Spec(relocs=(Reloc(18, addend=8), Reloc(18, addend=40)), tls=Tls(64, 8)))
    facts = read_shared_object(BytesSource(data))
    names = Names((TlsVariable("first", 0, 16), TlsVariable("again", 8, 4), TlsVariable("last", 40, 8)))
    assert [words.split("`")[1] for words in reached_slots(facts, BytesSource(data), names).values()] == ["first", "last"]


def test_pointers_in_a_table_that_names_one_place_over_and_over() -> None:
    """DT_RELR may go back to the same addresses with every second word: half a million pairs of words name 32 million places."""
    size = 8 << 20
    data = bytearray(build(Spec(relocs=(Reloc(18),), tls=Tls(4096, 8, filesz=4096), relr=1, padding=size)))
    facts = read_shared_object(BytesSource(bytes(data)))
    assert facts.tls_segment is not None
    at = data.index(bytes(size))
    data[at : at + size] = struct.pack("<QQ", facts.tls_segment.vaddr, 2**64 - 1) * (size // 16)
    for tag, value in ((DT_RELR, at), (DT_RELRSZ, size)):
        old = dynamic_of(BytesSource(bytes(data))).dynamic.get(tag)
        place = data.rindex(struct.pack("<QQ", tag, old))
        data[place : place + 16] = struct.pack("<QQ", tag, value)
    found = Counter[bool]()
    start = time.process_time()
    found.update(tls_pointers(BytesSource(bytes(data)), facts.tls_segment, range(4096)).values())
    assert time.process_time() - start < 5
    assert found.total() >= 64


@pytest.mark.parametrize("method", [0, 8])
def test_a_large_module_is_held_once(method: int, tmp_path: Path) -> None:
    size = 48 << 20
    wheel = make_wheel(tmp_path, {"m.so": build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), padding=size))}, method=method)
    with open_input(wheel) as opened:
        (module,) = opened.contents.modules
        tracemalloc.start()
        with opened.open_module(module) as source:
            data = source.read(0, source.size)
            _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(data) > size
    # Beside the module itself: its beginning and its end, which a source keeps, and the room into which a buffer grows.
    assert most < 1.3 * size + (24 << 20)


def test_a_walk_stops_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is not listed to its end first."""
    for number in range(200):
        (tmp_path / f"{number}.so").write_bytes(b"x" * 60)
    listed = 0
    import os  # noqa: PLC0415

    real = os.scandir

    class Counting:
        def __init__(self, path: str) -> None:
            self._found = real(path)

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self._found.close()

        def __iter__(self) -> Counting:
            return self

        def __next__(self) -> os.DirEntry[str]:
            nonlocal listed
            listed += 1
            return next(self._found)

    monkeypatch.setattr("os.scandir", Counting)
    with pytest.raises(UnreadableInput, match="limit tree-files"), open_input(tmp_path, Limits(tree_files=10), tree=True) as opened:
        assert opened.contents
    assert listed <= 12
