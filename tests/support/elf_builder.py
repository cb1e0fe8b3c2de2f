"""Tiny ELF files, byte by byte, for any machine and without a compiler.

The result is a shared object that real loaders open: one readable and writable PT_LOAD at address 0 that holds everything,
so that file offsets and virtual addresses are the same number. Code is not needed to ask for static TLS.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Literal

from tests.support.elf_encodings import aps2, crel, relr, sysv_hash
from tls_wheel_guard.platforms import Machine, machine_called

Table = Literal["rela", "rel", "jmprel", "split", "overlap", "crel", "android", "android-rel"]

PAGE = 0x10000
REL_MACHINES = frozenset({"i386", "arm", "armeb", "mips", "mipsel", "mips64", "mips64el"})
"""Machines whose psABI uses DT_REL."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PT_TLS: ``first_byte`` is p_vaddr modulo the alignment."""

    memsz: int
    align: int = 1
    first_byte: int = 0
    filesz: int = 0


@dataclass(frozen=True, slots=True)
class Sym:
    """A dynamic symbol. An undefined one has no section; ``version`` needs ``libc.so.6`` among the needed; ``hidden``: STV_HIDDEN.

    ``unique``: STB_GNU_UNIQUE.
    """

    name: str
    defined: bool = False
    weak: bool = False
    local: bool = False
    version: str | None = None
    hidden: bool = False
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Reloc:
    """A relocation. ``symbol``: a name among the symbols, or None; ``offset``: None for a slot of its own; ``plt``: in DT_JMPREL of "split"."""

    number: int
    symbol: str | None = None
    addend: int = 0
    offset: int | None = None
    plt: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """What to build. ``header``: (e_machine, bits, little-endian) where the machine has no row;
    ``padding``: before .dynamic; ``spare``: DT_NULLs more; ``markers``: versions of libc.so.6 that no symbol has."""

    machine: str = "x86_64"
    relocs: tuple[Reloc, ...] = ()
    tls: Tls | None = None
    symbols: tuple[Sym, ...] = ()
    soname: str | None = None
    needed: tuple[str, ...] = ()
    runpath: str | None = None
    interpreter: str | None = None
    flags: int = 0
    flags_1: int = 0
    table: Table | None = None
    relative: int = 0
    relr: int = 0
    padding: int = 0
    e_type: int = 3
    osabi: int = 0
    note: str | None = None
    sections: bool = False
    debug: bool = False
    header: tuple[int, int, bool] | None = None
    spare: int = 0
    markers: tuple[str, ...] = ()


@dataclass
class _Builder:
    spec: Spec
    out: bytearray = field(default_factory=bytearray)
    strings: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    tags: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        spec = self.spec
        if spec.header is not None:
            self.e_machine, self.bits, self.little = spec.header
        else:
            machine = machine_called(spec.machine)
            assert isinstance(machine, Machine), spec.machine
            self.e_machine, self.bits, self.little = machine.e_machine, machine.bits, machine.little_endian
        self.order = "<" if self.little else ">"
        self.word = "Q" if self.bits == 64 else "I"
        self.size = self.bits // 8
        self.table: Table = spec.table or ("rel" if spec.machine in REL_MACHINES else "rela")
        self.index = {symbol.name: number for number, symbol in enumerate(self.sorted_symbols(), 1)}

    def sorted_symbols(self) -> list[Sym]:
        return sorted(self.spec.symbols, key=lambda s: not s.local)

    def pack(self, letters: str, *values: int) -> bytes:
        return struct.pack(self.order + letters.replace("W", self.word).replace("S", self.word.lower()), *values)

    def align(self, to: int = 8) -> int:
        self.out += bytes(-len(self.out) % to)
        return len(self.out)

    def put(self, data: bytes, align: int = 8) -> int:
        at = self.align(align)
        self.out += data
        return at

    def string(self, text: str) -> int:
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def info(self, reloc: Reloc) -> bytes:
        symbol = self.index[reloc.symbol] if reloc.symbol else 0
        if self.e_machine == 8 and self.bits == 64:
            return self.pack("IBBBB", symbol, 0, reloc.number >> 16 & 0xFF, reloc.number >> 8 & 0xFF, reloc.number & 0xFF)
        return self.pack("W", symbol << 32 | reloc.number if self.bits == 64 else symbol << 8 | reloc.number)

    def entries(self, relocs: list[Reloc], rela: bool) -> bytes:
        return b"".join(
            self.pack("W", reloc.offset or 0) + self.info(reloc) + (self.pack("S", reloc.addend) if rela else b"") for reloc in relocs
        )

    def put_symbols(self) -> None:
        rows = bytearray(24 if self.bits == 64 else 16)
        for symbol in self.sorted_symbols():
            bind = 0 if symbol.local else 10 if symbol.unique else 2 if symbol.weak else 1
            section, name = (1 if symbol.defined else 0), self.string(symbol.name)
            if self.bits == 64:
                rows += self.pack("IBBHQQ", name, bind << 4 | 6, 2 * symbol.hidden, section, 0, 4)
            else:
                rows += self.pack("IIIBBH", name, 0, 4, bind << 4 | 6, 2 * symbol.hidden, section)
        self.tags.append((6, self.put(bytes(rows))))
        self.tags.append((11, 24 if self.bits == 64 else 16))
        count = len(self.spec.symbols) + 1
        letter = "Q" if self.bits == 64 and self.e_machine in (22, 0x9026) else "I"
        chain = [*range(2, count), 0] if count > 1 else []
        self.tags.append((4, self.put(self.pack(f"{3 + count}{letter}", 1, count, 1 if count > 1 else 0, 0, *chain))))

    def put_versions(self) -> None:
        versions = [symbol.version for symbol in self.sorted_symbols()]
        if not any(versions) and not self.spec.markers:
            return
        names = sorted({*(version for version in versions if version), *self.spec.markers})
        numbers = {name: number for number, name in enumerate(names, 2)}
        self.tags.append((0x6FFFFFF0, self.put(self.pack(f"{len(versions) + 1}H", 0, *(numbers.get(v or "", 1) for v in versions)))))
        data = self.pack("HHIII", 1, len(names), self.string("libc.so.6"), 16, 0)
        for place, name in enumerate(names):
            following = 16 if place + 1 < len(names) else 0
            data += self.pack("IHHII", sysv_hash(name.encode()), 0, numbers[name], self.string(name), following)
        self.tags += [(0x6FFFFFFE, self.put(data)), (0x6FFFFFFF, 1)]

    def put_relocations(self) -> None:
        # A descriptor has two words.
        spec, step = self.spec, 2 * self.size
        slots = self.put(bytes(step * (len(self.spec.relocs) + 1)))
        relocs = [
            Reloc(r.number, r.symbol, r.addend, slots + step * n if r.offset is None else r.offset, r.plt) for n, r in enumerate(spec.relocs)
        ]
        relative = [Reloc(_relative(self.e_machine), None, 0, slots)] * spec.relative
        rela = self.table not in ("rel", "android-rel") and not (self.table == "split" and spec.machine in REL_MACHINES)
        entry = self.size * (3 if rela else 2)
        name, count_tag, entry_tag = (7, 8, 9) if rela else (17, 18, 19)
        if self.table in ("rela", "rel"):
            data = self.entries(relative + relocs, rela)
            self.tags += [(name, self.put(data)), (count_tag, len(data)), (entry_tag, entry)] if data else []
        elif self.table in ("jmprel", "overlap", "split"):
            behind = [r for r in relocs if r.plt or self.table != "split"]
            head, plt = self.entries(relative + [r for r in relocs if r not in behind], rela), self.entries(behind, rela)
            at = self.put(head + plt)
            covered = len(head) + (len(plt) if self.table == "overlap" else 0)
            self.tags += [(name, at), (count_tag, covered), (entry_tag, entry)]
            self.tags += [(23, at + len(head)), (2, len(plt)), (20, name)]
        else:
            self.put_packed(relative + relocs, rela)
        if spec.relr:
            data = relr(slots, spec.relr, self.order, self.bits)
            self.tags += [(36, self.put(data)), (35, len(data)), (37, self.size)]

    def put_packed(self, relocs: list[Reloc], rela: bool) -> None:
        rows = [(r.offset or 0, self.index[r.symbol] if r.symbol else 0, r.number, r.addend) for r in relocs]
        if self.table == "crel":
            self.tags.append((0x40000026, self.put(crel(rows))))
            return
        data = aps2([(o, s << (32 if self.bits == 64 else 8) | n, a) for o, s, n, a in rows], rela)
        self.tags += [(0x60000011 if rela else 0x6000000F, self.put(data)), (0x60000012 if rela else 0x60000010, len(data))]

    def build(self) -> bytes:
        spec = self.spec
        segments = 3 + (spec.tls is not None) + (spec.interpreter is not None) + (spec.note is not None)
        ehdr, phdr = (64, 56) if self.bits == 64 else (52, 32)
        self.out += bytes(ehdr + phdr * segments)
        headers: list[tuple[int, int, int, int, int, int]] = []
        if spec.interpreter is not None:
            text = spec.interpreter.encode() + b"\0"
            headers.append((3, 4, self.put(text), len(text), len(text), 1))
        if spec.note is not None:
            owner = spec.note.encode() + b"\0"
            data = self.pack("III", len(owner), 4, 1) + owner + bytes(-len(owner) % 4) + self.pack("I", 29)
            headers.append((4, 4, self.put(data, 4), len(data), len(data), 4))
        self.put_symbols()
        self.put_versions()
        self.put_relocations()
        if spec.tls is not None:
            at = self.align(max(spec.tls.align, 1)) + spec.tls.first_byte
            self.out += bytes(spec.tls.first_byte + spec.tls.filesz)
            headers.append((7, 4, at, spec.tls.filesz, spec.tls.memsz, spec.tls.align))
        self.out += bytes(spec.padding)
        dynamic, length = self.put_dynamic()
        headers += [(2, 6, dynamic, length, length, 8), (0x6474E551, 6, 0, 0, 0, 16)]
        end = len(self.out)
        headers.insert(0, (1, 6, 0, end, end, PAGE))
        shoff = self.put_sections(dynamic, length) if spec.sections or spec.debug else 0
        self.out[: ehdr + phdr * segments] = self.headers(headers, ehdr, phdr, shoff)
        return bytes(self.out)

    def put_dynamic(self) -> tuple[int, int]:
        spec = self.spec
        named = [(1, self.string(name)) for name in spec.needed]
        if spec.soname is not None:
            named.append((14, self.string(spec.soname)))
        if spec.runpath is not None:
            named.append((29, self.string(spec.runpath)))
        for tag, value in ((30, spec.flags), (0x6FFFFFFB, spec.flags_1)):
            if value:
                named.append((tag, value))
        strtab = self.put(bytes(self.strings))
        tags = [*named, *self.tags, (5, strtab), (10, len(self.strings)), *[(0, 0)] * (1 + spec.spare)]
        data = b"".join(self.pack("WW", tag, value) for tag, value in tags)
        return self.put(data, 16), len(data)

    def put_sections(self, dynamic: int, length: int) -> int:
        names = b"\0.dynamic\0.shstrtab\0"
        strtab = self.put(names)
        rows = [(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
        rows.append((1, 8 if self.spec.debug else 6, 3, dynamic, dynamic, length, 0, 0, 8, 2 * self.size))
        rows.append((10, 3, 0, 0, strtab, len(names), 0, 0, 1, 0))
        at = self.align()
        if self.spec.debug:
            self.out[dynamic : dynamic + length] = bytes(length)
        for row in rows:
            self.out += self.pack("IIWWWWIIWW", *row)
        return at

    def headers(self, segments: list[tuple[int, int, int, int, int, int]], ehdr: int, phdr: int, shoff: int) -> bytes:
        ident = b"\x7fELF" + bytes([self.bits // 32, 1 if self.little else 2, 1, self.spec.osabi]) + bytes(8)
        shentsize = 64 if self.bits == 64 else 40
        sections = (shentsize, 3, 2) if shoff else (0, 0, 0)
        data = ident + self.pack(
            "HHIWWWIHHH", self.spec.e_type, self.e_machine, 1, 0, ehdr, shoff, _flags(self.e_machine), ehdr, phdr, len(segments)
        )
        data += self.pack("HHH", *sections)
        for kind, flags, offset, filesz, memsz, align in segments:
            if self.bits == 64:
                data += self.pack("IIQQQQQQ", kind, flags, offset, offset, offset, filesz, memsz, align)
            else:
                data += self.pack("IIIIIIII", kind, offset, offset, offset, filesz, memsz, flags, align)
        return data


def _flags(e_machine: int) -> int:
    """e_flags that loaders insist on: EABI 5 on arm, ELFv2 on ppc64, the double-float ABI on riscv and loongarch."""
    return {40: 0x05000400, 21: 2, 243: 5, 258: 0x43}.get(e_machine, 0)


def _relative(e_machine: int) -> int:
    """The number of the machine's relative relocation, or a harmless other one."""
    return {62: 8, 3: 8, 183: 1027, 40: 23, 21: 22, 20: 22, 22: 12, 243: 3, 258: 3, 8: 3, 2: 22, 18: 22, 43: 22, 0x9026: 27}.get(e_machine, 0)


def build(spec: Spec) -> bytes:
    """The bytes of a shared object."""
    return _Builder(spec).build()
