"""Relocation records by their form, in beginnings that are made byte by byte."""

from __future__ import annotations

import random

import pytest

from tests.support.elf_beginnings import MACHINES, Machine, begun, record, symbols, table
from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.elf.headers import read_header, read_segments
from tls_wheel_guard.elf.record_search import BEHIND
from tls_wheel_guard.elf.screening import Screener, Screening, screen


class Long:
    """Bytes of a file of which only the beginning is there."""

    size = 1 << 30

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length].ljust(length, b"\xcc")


def answer(m: Machine, middle: bytes, code: int = 0, tls: int = 64) -> Screening:
    return screen(Long(begun(m, middle, code, tls)))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("code", [0, 1 << 20])
def test_a_table_behind_symbols_that_look_like_records(name: str, code: int) -> None:
    """The symbols of this file end more than BEHIND bytes before its table."""
    m = MACHINES[name]
    before = symbols(m, 1500)
    assert len(before) > 10 * BEHIND
    asks = answer(m, before + table(m, record(m, m.tpoff, addend=0), record(m, m.jump_slot, 1)), code, 64)
    assert asks.answer == "asks"
    clear = answer(m, before + table(m, record(m, m.jump_slot, 1)), code, 0)
    assert (clear.answer, clear.libraries) == ("clear", ("libc.so.6",))
    assert clear.read < len(before) + 3 * (64 << 10)


@pytest.mark.parametrize("name", MACHINES)
def test_records_of_type_none_do_not_end_a_table(name: str) -> None:
    """GNU ld leaves them where it has counted too many records; in ruff's program for riscv64 there are ten thousand bytes."""
    m = MACHINES[name]
    none = bytes(3 * BEHIND // 24 * 24)
    assert answer(m, symbols(m, 4) + table(m, none, record(m, m.tpoff, addend=0)), 1 << 20).answer == "asks"


@pytest.mark.parametrize("name", MACHINES)
def test_records_that_relocate_code_are_part_of_a_table(name: str) -> None:
    m = MACHINES[name]
    code = b"".join(record(m, m.relative, place=0x1000 + 8 * n) for n in range(2 * BEHIND // 8))
    first = record(m, m.tpoff, place=0x900, addend=0) + code
    assert answer(m, symbols(m, 4) + first + table(m), 1 << 20).answer == "asks"
    assert answer(m, symbols(m, 4) + table(m) + code + record(m, m.tpoff, addend=0), 1 << 20).answer == "asks"


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_not_certain_is_unknown(name: str) -> None:
    m = MACHINES[name]
    assert answer(m, symbols(m, 1500), 1 << 20).answer == "unknown", "no table"
    assert answer(m, symbols(m, 4) + record(m, m.jump_slot, 1) * 9, 1 << 20).answer == "unknown", "only the table of lazy calls"
    assert answer(m, symbols(m, 4) + table(m) + b"X" * 64, 1 << 20, 0).answer == "unknown", "patchelf moved what stood behind"
    other = Machine(8, m.order, m.wide, 1, 2, 3, 4)
    assert answer(other, table(m)).answer == "unknown", "a machine without a row"


@pytest.mark.parametrize("name", MACHINES)
def test_pieces_of_any_size_give_the_same(name: str) -> None:
    m, rng = MACHINES[name], random.Random(name)
    for _ in range(10):
        more = [record(m, m.tpoff, addend=8)] if rng.random() < 0.5 else []
        data = begun(m, symbols(m, rng.randrange(400)) + table(m, *more, bytes(24 * rng.randrange(300)), *more), rng.choice([0, 1 << 20]), 64)
        source = Long(data)
        screener = Screener(read_header(BytesSource(data)), read_segments(BytesSource(data), read_header(BytesSource(data))))
        while screener.answer is None:
            screener.feed(source.read(screener.at, min(rng.choice([1, 3, 8, 100, 5000]), screener.end - screener.at)))
        whole = screen(source)
        assert (screener.answer.answer, screener.answer.tls) == (whole.answer, whole.tls)
