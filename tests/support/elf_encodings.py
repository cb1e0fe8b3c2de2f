"""Packed relocation tables, encoded: the inverse of tls_wheel_guard/elf/packed.py, written from the formats' own texts."""

from __future__ import annotations

import struct


def uleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        done = (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40)
        out.append(byte | (0 if done else 0x80))
        if done:
            return bytes(out)


def crel(rows: list[tuple[int, int, int, int]]) -> bytes:
    """CREL with addends, no shift. Rows: offset, symbol, type, addend."""
    out = bytearray(uleb(len(rows) * 8 + 4))
    before = (0, 0, 0, 0)
    for row in rows:
        offset, symbol, number, addend = (a - b for a, b in zip(row, before, strict=True))
        offset &= 0xFFFFFFFFFFFFFFFF
        flags = bool(symbol) | bool(number) << 1 | bool(addend) << 2
        if offset < 0x10:
            out.append(offset << 3 | flags)
        else:
            out.append((offset & 0xF) << 3 | flags | 0x80)
            out += uleb(offset >> 4)
        for value in (symbol, number, addend):
            if value:
                out += sleb(value)
        before = row
    return bytes(out)


def aps2(rows: list[tuple[int, int, int]], rela: bool) -> bytes:
    """APS2: runs of one r_info as a group, each with its own offsets and addends. Rows: offset, r_info, addend."""
    out = bytearray(b"APS2" + sleb(len(rows)) + sleb(0))
    offset = addend = start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and rows[end][1] == rows[start][1]:
            end += 1
        out += sleb(end - start) + sleb(1 | (8 if rela else 0)) + sleb(rows[start][1])
        if not rela:
            addend = 0
        for row in rows[start:end]:
            out += sleb(row[0] - offset)
            offset = row[0]
            if rela:
                out += sleb(row[2] - addend)
                addend = row[2]
        start = end
    return bytes(out)


def relr(address: int, count: int, order: str, bits: int) -> bytes:
    """RELR for ``count`` words from ``address`` on."""
    word, per = ("Q", 63) if bits == 64 else ("I", 31)
    words = [address]
    left = count - 1
    while left > 0:
        words.append((1 << min(left, per)) - 1 << 1 | 1)
        left -= per
    return struct.pack(f"{order}{len(words)}{word}", *words)


def sysv_hash(name: bytes) -> int:
    """The gABI's hash, for version names."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value
