"""Relocation records by their form, in beginnings that are made byte by byte."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

import pytest

from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.elf.headers import read_header, read_segments
from tls_wheel_guard.elf.record_search import BEHIND
from tls_wheel_guard.elf.screening import Screener, Screening, screen

WRITABLE = 0x4000000


@dataclass(frozen=True)
class Machine:
    number: int
    order: str
    wide: bool
    relative: int
    glob_dat: int
    jump_slot: int
    tpoff: int
    rela: bool = True


MACHINES = {
    "x86_64": Machine(62, "<", True, 8, 6, 7, 18),
    "aarch64": Machine(183, "<", True, 1027, 1025, 1026, 1030),
    "riscv64": Machine(243, "<", True, 3, 2, 5, 11),
    "ppc64le": Machine(21, "<", True, 22, 20, 21, 73),
    "s390x": Machine(22, ">", True, 12, 10, 11, 56),
    "i386": Machine(3, "<", False, 8, 6, 7, 14, rela=False),
    "arm": Machine(40, "<", False, 23, 21, 22, 19, rela=False),
}


def record(m: Machine, kind: int, symbol: int = 0, place: int = WRITABLE, addend: int = 0x100) -> bytes:
    word = "Q" if m.wide else "I"
    data = struct.pack(m.order + 2 * word, place, symbol << (32 if m.wide else 8) | kind)
    return data + struct.pack(m.order + "q", 0 if symbol else addend) if m.rela else data


def begun(m: Machine, middle: bytes, code: int = 0, tls: int = 64) -> bytes:
    """An ELF file whose loaded part begins with ``middle``: in a segment of its own, or with ``code`` bytes of code behind it in one."""
    head = 64 if m.wide else 52
    entry = 56 if m.wide else 32
    start = head + 5 * entry
    end = start + len(middle)
    flags = 5 if code else 4
    loads = [(1, flags, 0, end + code, end + code), (1, 5, 0x2000000, 16, 16), (1, 6, WRITABLE, 16, 1 << 20)]
    if code:
        del loads[1]
        loads.append((4, 4, 0, 0, 0))
    segments = [*loads, (7, 4, WRITABLE, 16, tls), (2, 6, WRITABLE, 0, 0)]
    data = b"\x7fELF" + bytes([2 if m.wide else 1, 1 if m.order == "<" else 2, 1]) + bytes(9)
    word = "Q" if m.wide else "I"
    data += struct.pack(m.order + "HHI" + 3 * word + "IHHHHHH", 3, m.number, 1, 0, head, 0, 0, head, entry, 5, 0, 0, 0)
    for kind, flag, address, filesz, memsz in segments:
        if m.wide:
            data += struct.pack(m.order + "IIQQQQQQ", kind, flag, address, address, address, filesz, memsz, 0x1000 if kind == 1 else 8)
        else:
            data += struct.pack(m.order + "IIIIIIII", kind, address, address, address, filesz, memsz, flag, 0x1000 if kind == 1 else 4)
    return data + middle


class Long:
    """Bytes of a file of which only the beginning is there."""

    size = 1 << 30

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length].ljust(length, b"\xcc")


def answer(m: Machine, middle: bytes, code: int = 0, tls: int = 64) -> Screening:
    return screen(Long(begun(m, middle, code, tls)))


def symbols(m: Machine, count: int) -> bytes:
    """A symbol table of variables in the writable part, with sizes that are relocation types, and its names."""
    rows, names = bytes(24 if m.wide else 16), b"\0libc.so.6\0"
    for number in range(count):
        size = (m.relative, m.glob_dat, m.tpoff, m.jump_slot)[number % 4]
        if m.wide:
            rows += struct.pack(m.order + "IBBHQQ", len(names), 0x11, 0, 20, WRITABLE + 8 * number, size)
        else:
            rows += struct.pack(m.order + "IIIBBH", len(names), WRITABLE + 8 * number, size, 0x11, 0, 20)
        names += f"a_long_name_of_a_variable_{number}\0".encode()
    return rows + names + bytes(-(len(rows) + len(names)) % 8)


def table(m: Machine, *more: bytes) -> bytes:
    return b"".join([record(m, m.relative, place=WRITABLE + 8 * n) for n in range(20)] + [record(m, m.glob_dat, 1), *more])


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
