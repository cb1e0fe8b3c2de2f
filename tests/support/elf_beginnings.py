"""Beginnings of shared objects as linkers lay them out, made byte by byte: program headers, symbols, names, relocation records."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["MACHINES", "Machine", "beginning_of", "begun", "record", "symbols", "table", "table_of"]

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


def table_of(machine: str) -> bytes:
    """Symbols and a table without any TLS."""
    return symbols(MACHINES[machine], 4) + table(MACHINES[machine])


def beginning_of(machine: str, middle: bytes, code: int) -> bytes:
    """As :func:`begun`, by the machine's name."""
    return begun(MACHINES[machine], middle, code)
