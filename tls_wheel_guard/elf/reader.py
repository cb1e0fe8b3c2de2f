"""From the bytes of an ELF file to a :class:`SharedObject`, the way a loader reads it: by segments, never by sections.

Section headers are looked at for one thing only: to know split debug information, whose dynamic segment has no bytes.
"""

from __future__ import annotations

from collections import Counter

from tls_wheel_guard.elf.constants import (
    DF_1_NODELETE,
    DF_1_PIE,
    DF_STATIC_TLS,
    DF_TEXTREL,
    DT_ANDROID_REL,
    DT_ANDROID_RELA,
    DT_ANDROID_RELASZ,
    DT_ANDROID_RELR,
    DT_ANDROID_RELRSZ,
    DT_ANDROID_RELSZ,
    DT_CREL,
    DT_FLAGS,
    DT_FLAGS_1,
    DT_JMPREL,
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_PPC64_OPT,
    DT_PPC_OPT,
    DT_REL,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_RELSZ,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRTAB,
    DT_SYMTAB,
    DT_TEXTREL,
    EM_386,
    EM_AARCH64,
    EM_PPC,
    EM_PPC64,
    EM_X86_64,
    ET_DYN,
    ET_EXEC,
    ET_REL,
    MAGIC,
    PPC_OPT_TLS,
    PT_INTERP,
    PT_NOTE,
    PT_TLS,
)
from tls_wheel_guard.elf.dynamic_symbols import Strings, needed_versions, read_symbols
from tls_wheel_guard.elf.headers import Dynamic, Header, Image, Segment, dynamic_segment, read_dynamic, read_header, read_segments
from tls_wheel_guard.elf.local_exec import local_exec_sites
from tls_wheel_guard.elf.packed_relocations import count_relr, scan_android, scan_crel
from tls_wheel_guard.elf.relocation_tables import EntryFormat, Tally, merge_ranges, scan_plain
from tls_wheel_guard.elf.relocations import RelocKind
from tls_wheel_guard.elf.section_headers import dynamic_is_nobits
from tls_wheel_guard.elf.shared_object import DynamicTls, InitialExec, Kind, SharedObject, Symbol, TlsAccess, TlsReloc, TlsSegment
from tls_wheel_guard.elf.source import Source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over
from tls_wheel_guard.platforms import machine_of

__all__ = ["is_elf", "read_shared_object"]

MARKERS = frozenset({"GLIBC_ABI_GNU2_TLS", "GLIBC_ABI_GNU_TLS"})
MAX_SIZE = 2**53
"""Sizes above this are refused: JSON readers cannot hold them."""
MAX_NOTES = 64 << 10
"""Bytes of notes that are looked at, of all PT_NOTE together; the rest says nothing new."""


def is_elf(first: bytes) -> bool:
    """Whether a file's first bytes are those of an ELF file."""
    return first[:4] == MAGIC


def read_shared_object(source: Source, limits: Limits = DEFAULT_LIMITS) -> SharedObject:
    """The facts of an ELF file of any class, byte order and machine; raises MalformedElf where it contradicts itself."""
    header = read_header(source, limits)
    segments = read_segments(source, header)
    image = Image(segments)
    dynamic, is_debug = _dynamic(source, header, dynamic_segment(segments), limits)
    strings = Strings(source, image, dynamic, limits)
    wanted = [tag for tag in (DT_SONAME, DT_RUNPATH, DT_RPATH) if tag in dynamic.values]
    names = strings.all_at([*dynamic.needed, *(dynamic.get(tag) for tag in wanted)])
    soname = names[dynamic.get(DT_SONAME)] if DT_SONAME in dynamic.values else None
    interpreter = _interpreter(source, segments) if not is_debug else None
    needed = tuple(names[index] for index in dynamic.needed)
    flags, flags_1 = dynamic.get(DT_FLAGS), dynamic.get(DT_FLAGS_1)
    tally = Tally(header.e_machine, limits=limits)
    relr = _scan_tables(source, header, image, dynamic, tally)
    symbols = read_symbols(source, header.format, image, dynamic, strings, {index for _, index in tally.counts}, limits)
    initial_exec, dynamic_tls = _summarise(tally, symbols)
    kind: Kind = "debug" if is_debug else _kind(header, flags_1, interpreter, soname)
    tls = _tls_segment(segments)
    return SharedObject(
        size=source.size,
        e_machine=header.e_machine,
        bits=header.format.bits,
        little_endian=header.format.little_endian,
        osabi=header.osabi,
        e_type=header.e_type,
        kind=kind,
        machine=machine_of(header.e_machine, header.format.bits, header.format.little_endian),
        soname=soname,
        needed=needed,
        search_path=_search_path(dynamic, names),
        interpreter=interpreter,
        df_static_tls=bool(flags & DF_STATIC_TLS),
        df_1_pie=bool(flags_1 & DF_1_PIE),
        textrel=bool(flags & DF_TEXTREL) or DT_TEXTREL in dynamic.values,
        has_section_headers=bool(header.shoff and header.shnum),
        note_owners=_note_owners(source, header, segments) if not is_debug else (),
        tls_segment=tls,
        initial_exec=initial_exec,
        dynamic=dynamic_tls,
        accesses=_accesses(tally, symbols),
        local_exec=_local_exec(source, header, segments, tls, limits) if kind == "shared" and not tally.found else (),
        nodelete=bool(flags_1 & DF_1_NODELETE),
        tls_optimised=bool(dynamic.get({EM_PPC: DT_PPC_OPT, EM_PPC64: DT_PPC64_OPT}.get(header.e_machine, 0)) & PPC_OPT_TLS),
        dynamic_relocations=tally.entries,
        relr_relative=relr,
        markers=_markers(source, header, image, dynamic, strings, tally),
    )


def _search_path(dynamic: Dynamic, names: dict[int, str]) -> tuple[str, ...]:
    """The folders of DT_RUNPATH, else of DT_RPATH."""
    tag = next((tag for tag in (DT_RUNPATH, DT_RPATH) if tag in dynamic.values), None)
    return tuple(folder for folder in names[dynamic.get(tag)].split(":") if folder) if tag is not None else ()


def _markers(source: Source, header: Header, image: Image, dynamic: Dynamic, strings: Strings, tally: Tally) -> tuple[str, ...]:
    """The marker versions that a file needs; looked for only where its machine and its accesses can have one."""
    kinds: dict[int, set[RelocKind]] = {EM_X86_64: {"TLSDESC"}, EM_386: {"TLSDESC", "DTPMOD"}}
    if not kinds.get(header.e_machine, set()) & {tally.row[number][0] for number, _ in tally.counts}:
        return ()
    found = needed_versions(source, header.format, image, dynamic, strings, tally.limits)
    return tuple(sorted(name for name in found if name in MARKERS))


def _dynamic(source: Source, header: Header, segment: Segment | None, limits: Limits) -> tuple[Dynamic, bool]:
    """The dynamic segment's entries (none for ET_REL and split debug files), and whether this is a split debug file."""
    if segment is None or header.e_type == ET_REL:
        return Dynamic(), False
    try:
        found = read_dynamic(source, header.format, segment, limits)
    except MalformedElf:
        if dynamic_is_nobits(source, header, segment):
            return Dynamic(), True
        raise
    # A loader needs both tables. Only where they are missing are the section headers asked: a file that loads must not
    # get past the guard because its section headers call it debug information.
    if not (found.get(DT_STRTAB) and found.get(DT_SYMTAB)) and dynamic_is_nobits(source, header, segment):
        return Dynamic(), True
    return found, False


def _kind(header: Header, flags_1: int, interpreter: str | None, soname: str | None) -> Kind:
    if header.e_type == ET_EXEC:
        return "program"
    if header.e_type != ET_DYN:
        return "object"
    # PT_INTERP alone does not make a program: Qt's libraries have it, with a SONAME.
    if flags_1 & DF_1_PIE or (interpreter is not None and soname is None):
        return "program"
    return "shared"


def _interpreter(source: Source, segments: list[Segment]) -> str | None:
    for segment in segments:
        if segment.type == PT_INTERP and segment.filesz:
            text = source.read(segment.offset, min(segment.filesz, 4096))
            return text.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    return None


def _note_owners(source: Source, header: Header, segments: list[Segment]) -> tuple[str, ...]:
    """The different owner names in PT_NOTE, in file order: ``GNU``, ``Android``, ``FreeBSD``, ``NetBSD``, ``OpenBSD``."""
    order = "little" if header.format.little_endian else "big"
    owners: dict[str, None] = {}
    left = MAX_NOTES
    for segment in segments:
        if segment.type != PT_NOTE or segment.filesz > left:
            continue
        left -= segment.filesz
        data, at = source.read(segment.offset, segment.filesz), 0
        pad = 8 if segment.align == 8 else 4
        while at + 12 <= len(data):
            name_size = int.from_bytes(data[at : at + 4], order)  # type: ignore[arg-type]
            desc_size = int.from_bytes(data[at + 4 : at + 8], order)  # type: ignore[arg-type]
            owners[data[at + 12 : at + 12 + min(name_size, 64)].rstrip(b"\0").decode("ascii", "backslashreplace")] = None
            at = -(-(at + 12 + name_size) // pad) * pad
            at = -(-(at + desc_size) // pad) * pad
    return tuple(owners)


def _tls_segment(segments: list[Segment]) -> TlsSegment | None:
    found = None
    for s in segments:
        if s.type == PT_TLS:
            if max(s.memsz, s.filesz, s.align, s.vaddr) > MAX_SIZE:
                raise MalformedElf(f"a TLS segment of {s.memsz} bytes, aligned to {s.align}; at most 2**53 are read")
            # Loaders keep the last one that is not empty (glibc elf/dl-load.c:_dl_map_object_from_fd).
            if found is None or s.memsz:
                found = TlsSegment(s.vaddr, s.offset, s.filesz, s.memsz, s.align)
    return found


def _scan_tables(source: Source, header: Header, image: Image, dynamic: Dynamic, tally: Tally) -> int:
    """Count all dynamic relocation tables into ``tally``; returns the relative relocations of DT_RELR."""
    fmt = header.format
    plain = [
        (dynamic.get(DT_RELA), dynamic.get(DT_RELASZ), True),
        (dynamic.get(DT_REL), dynamic.get(DT_RELSZ), False),
        (dynamic.get(DT_JMPREL), dynamic.get(DT_PLTRELSZ), dynamic.get(DT_PLTREL) == DT_RELA),
    ]
    for address, size, rela in merge_ranges([t for t in plain if t[1]]):
        offset = image.offset_of(address, size, "a relocation table")
        tally.table = "DT_JMPREL" if address == dynamic.get(DT_JMPREL) else ""
        scan_plain(source, offset, size, EntryFormat(fmt, header.e_machine, rela), tally)
    tally.table, packed = "", 0
    for tag, size_tag, rela in ((DT_ANDROID_RELA, DT_ANDROID_RELASZ, True), (DT_ANDROID_REL, DT_ANDROID_RELSZ, False)):
        if size := dynamic.get(size_tag):
            packed += size
            if packed > tally.limits.packed_size:
                raise MalformedElf(f"packed relocation tables of {packed} bytes; {over(tally.limits, 'packed-size')}")
            scan_android(source, image.offset_of(dynamic.get(tag), size, "an Android relocation table"), size, rela, fmt, tally)
    if address := dynamic.get(DT_CREL):
        offset = image.offset_of(address, 1, "a CREL table")
        # The table's own header has its length, in entries; what follows it in the file is not read as entries.
        scan_crel(source, offset, min(tally.limits.packed_size - packed, source.size - offset), fmt, tally)
    relr = 0
    for tag, size_tag in ((DT_RELR, DT_RELRSZ), (DT_ANDROID_RELR, DT_ANDROID_RELRSZ)):
        if size := dynamic.get(size_tag):
            relr += count_relr(source, image.offset_of(dynamic.get(tag), size, "a RELR table"), size, fmt)
    return relr


def _local_exec(source: Source, header: Header, segments: list[Segment], tls: TlsSegment | None, limits: Limits) -> tuple[int, ...]:
    """Where a linker let local-exec code through; looked for only where TLS variables are reached by no relocation."""
    if header.e_machine != EM_AARCH64 or not header.format.little_endian or tls is None or not tls.memsz:
        return ()
    return local_exec_sites(source, segments, tls, limits)


def _accesses(tally: Tally, symbols: dict[int, Symbol]) -> tuple[TlsAccess, ...]:
    """The different accesses in the order of their first relocation."""
    return tuple(
        dict.fromkeys(
            TlsAccess(tally.row[number][0], symbols.get(index), tally.first_table[number, index] == "DT_JMPREL") for number, index in tally.counts
        )
    )


def _summarise(tally: Tally, symbols: dict[int, Symbol]) -> tuple[InitialExec, DynamicTls]:
    """Counts with the symbols behind them."""
    row, types, kinds = tally.row, Counter[str](), Counter[str]()
    owners, foreign, weak = Counter[str](), Counter[Symbol](), dict[str, None]()
    for (number, index), count in tally.counts.items():
        kind, name = row[number]
        symbol = symbols.get(index)
        kinds[kind] += count
        if kind == "TPOFF":
            types[name] += count
            if symbol is None:
                owners["none"] += count
            elif symbol.defined:
                owners["defined"] += count
            else:
                foreign[symbol] += count
        else:
            if symbol is not None and not symbol.defined and symbol.weak:
                weak[symbol.name] = None
            if kind == "TLSDESC" and (symbol is None or symbol.defined):
                owners["tlsdesc"] += count
    initial_exec = InitialExec(
        count=kinds["TPOFF"],
        types=tuple(sorted(types.items())),
        no_symbol=owners["none"],
        defined=owners["defined"],
        foreign_symbols=tuple(sorted(foreign.items(), key=lambda item: item[0].name)),
        addends=tuple(sorted(tally.addends)),
        relocs=tuple(TlsReloc(row[n][1], offset, addend, symbols.get(index)) for n, offset, addend, index in tally.kept),
    )
    in_plt = next((table for (number, _), table in tally.first_table.items() if row[number][0] == "TLSDESC"), "") == "DT_JMPREL"
    return initial_exec, DynamicTls(kinds["DTPMOD"], kinds["TLSDESC"], kinds["DTPOFF"], owners["tlsdesc"], tuple(weak), in_plt)
