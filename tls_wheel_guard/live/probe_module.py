"""Shared objects of a few hundred bytes that ask for static TLS. Whether a loader accepts one tells how much room it has.

No code, no symbols, no libc: one initial-exec relocation without a symbol makes the loader find room for the module's own TLS
segment of any size and alignment. Proved by the real loaders of every machine in ``TPOFF`` (tests/ground_truth/test_env.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tls_wheel_guard.platforms import MACHINES, Machine

__all__ = ["TPOFF", "Tiny", "tiny", "tiny_module"]

TPOFF = {"x86_64": 18, "i386": 14, "aarch64": 1030, "arm": 19, "ppc64le": 73, "riscv64": 11, "s390x": 56}
"""Machine -> its initial-exec relocation of one word (elf/relocs.py has them all)."""

_MACHINES = {machine.name: machine for machine in MACHINES if machine.name in TPOFF}
_REL = frozenset({"i386", "arm"})
"""Machines whose psABI keeps addends in the relocated word (DT_REL)."""
_FLAGS = {"arm": 0x05000000, "ppc64le": 2, "riscv64": 5}
"""e_flags that loaders insist on: EABI 5, ELFv2, the double-float ABI."""

_PAGE = 0x10000
_LOAD, _DYNAMIC, _TLS, _STACK = 1, 2, 7, 0x6474E551
_READ_WRITE = 6
_HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT = 4, 5, 6, 10, 11
_RELA, _RELASZ, _RELAENT, _REL_TABLE, _RELSZ, _RELENT = 7, 8, 9, 17, 18, 19


@dataclass(frozen=True, slots=True)
class Tiny:
    """A module as bytes, and the places of what may be changed in them.

    ``memsz_at`` and ``align_at`` are words of the machine (p_memsz and p_align of PT_TLS), ``flags_at`` is e_flags, 4 bytes.
    """

    machine: Machine
    data: bytes
    memsz_at: int
    align_at: int
    flags_at: int


class _Words:
    """How a machine writes numbers."""

    def __init__(self, machine: Machine) -> None:
        self.wide = machine.bits == 64
        self.size = machine.bits // 8
        self.order = "<" if machine.little_endian else ">"

    def pack(self, letters: str, *values: int) -> bytes:
        """As struct.pack, with W for a word."""
        return struct.pack(self.order + letters.replace("W", "Q" if self.wide else "I"), *values)


def tiny(name: str, size: int = 1, align: int = 1, *, asks: bool = True) -> Tiny:
    """A module of a machine in ``TPOFF`` with a TLS segment of ``size`` bytes; with ``asks`` False it has none and always loads.

    Raises:
        KeyError: the machine has no row.
    """
    machine, number = _MACHINES[name], TPOFF[name]
    words = _Words(machine)
    header, entry = (64, 56) if words.wide else (52, 32)
    segments = 4 if asks else 3
    at = header + entry * segments
    body = bytearray()

    def put(data: bytes) -> int:
        place = at + len(body)
        body.extend(data + bytes(-len(data) % 8))
        return place

    slot = put(bytes(8))
    # One bucket, one symbol (the null one); s390x is the machine whose hash table has wide words.
    table = put(words.pack("4Q" if name == "s390x" else "4I", 1, 1, 0, 0))
    symbols, strings = put(bytes(24 if words.wide else 16)), put(b"\0")
    tags = [(_HASH, table), (_SYMTAB, symbols), (_SYMENT, 24 if words.wide else 16), (_STRTAB, strings), (_STRSZ, 1)]
    if asks:
        data = words.pack("WW", slot, number) + (b"" if name in _REL else words.pack("W", 0))
        kinds = (_REL_TABLE, _RELSZ, _RELENT) if name in _REL else (_RELA, _RELASZ, _RELAENT)
        tags += zip(kinds, (put(data), len(data), len(data)), strict=True)
    dynamic_data = b"".join(words.pack("WW", tag, value) for tag, value in [*tags, (0, 0)])
    dynamic = put(dynamic_data)
    end = at + len(body)
    rows = [(_LOAD, 0, end, end, _PAGE), (_DYNAMIC, dynamic, len(dynamic_data), len(dynamic_data), 8), (_STACK, 0, 0, 0, 16)]
    rows += [(_TLS, 0, 0, size, align)] if asks else []
    flags = _FLAGS.get(name, 0)
    head = b"\x7fELF" + bytes([machine.bits // 32, 1 if machine.little_endian else 2, 1]) + bytes(9)
    head += words.pack("HHIWWWIHHHHHH", 3, machine.e_machine, 1, 0, header, 0, flags, header, entry, segments, 0, 0, 0)
    whole = head + b"".join(_segment(words, *row) for row in rows) + bytes(body)
    tls = header + entry * (segments - 1)
    return Tiny(machine, whole, tls + (40 if words.wide else 20), tls + (48 if words.wide else 28), 48 if words.wide else 36)


def _segment(words: _Words, kind: int, offset: int, filesz: int, memsz: int, align: int) -> bytes:
    if words.wide:
        return words.pack("IIQQQQQQ", kind, _READ_WRITE, offset, offset, offset, filesz, memsz, align)
    return words.pack("8I", kind, offset, offset, offset, filesz, memsz, _READ_WRITE, align)


def tiny_module(name: str, size: int, align: int = 1) -> bytes:
    """The bytes of a shared object that asks the loader of a machine for ``size`` bytes of static TLS.

    Raises:
        KeyError: the machine has no row in ``TPOFF``.
    """
    return tiny(name, size, align).data
