"""The clues of one module: what its bytes say of who brought initial-exec TLS in. A wheel without it is never read twice."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

from tls_wheel_guard.culprits.clues import Clues, Component, ReachedVariable
from tls_wheel_guard.culprits.sbom import MAX_AUDITABLE, auditable_components
from tls_wheel_guard.elf import BytesSource, SharedObject, Source, TlsReloc
from tls_wheel_guard.elf.constants import DF_1_NOOPEN, DT_FLAGS_1
from tls_wheel_guard.elf.headers import dynamic_of
from tls_wheel_guard.elf.section_headers import Section, read_sections, section_bytes
from tls_wheel_guard.elf.symbol_tables import Names, TlsVariable, read_names
from tls_wheel_guard.elf.tls_image import Words, tls_pointers
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.machine_code import USUAL, Code, FunctionMap, read_code, usual_reads
from tls_wheel_guard.records import dataclass

__all__ = ["Vocabulary", "clues_of", "reached_slots"]

MAX_COMMENT, MAX_COMMANDS = 64 << 10, 1 << 20
MAX_PRODUCERS, MAX_GO_MAGICS = 256, 64
MAX_CODE = 128 << 20
"""Bytes of code in which reads are counted."""
MAX_READS = 1 << 20
"""Reads that are counted: a slot is read some hundred times at most, and only code that was made for it has more."""
GO_MAGIC = b"\xff Go buildinf:"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What to look for in a module's data: texts, and a pattern for the version of each culprit that writes it there."""

    texts: frozenset[str]
    versions: tuple[tuple[str, re.Pattern[bytes]], ...]


def clues_of(
    path: str, facts: SharedObject, source: Source, vocabulary: Vocabulary, listed: tuple[Component, ...], limits: Limits = DEFAULT_LIMITS
) -> Clues:
    """The clues of one module. ``listed``: what the wheel's bills of materials name.

    For a module that is larger than the limit traced-size only its name, its relocations and its wheel are used.
    """
    name = path.rsplit("/", 1)[-1]
    word = facts.bits // 8
    block = facts.tls_segment.memsz if facts.tls_segment else 0
    if source.size > limits.traced_size:
        return Clues(facts.machine_name, word, block, _reached(facts, None, Names(), None), soname=facts.soname, file_name=name, listed=listed)
    data = source.read(0, source.size)
    whole = BytesSource(data)
    sections = read_sections(whole)
    names = read_names(whole, sections)
    code = _code(whole, facts)
    return Clues(
        machine=facts.machine_name,
        word=word,
        block=block,
        reached=_reached(facts, whole, names, code),
        soname=facts.soname,
        file_name=name,
        functions=frozenset(f.name for f in names.functions),
        exports=frozenset(f.name for f in names.functions if f.exported),
        sections=frozenset(s.name for s in sections),
        comments=_texts(section_bytes(whole, sections, ".comment", MAX_COMMENT)),
        embedded=auditable_components(section_bytes(whole, sections, ".dep-v0", MAX_AUDITABLE)),
        listed=listed,
        go_version=_go_version(data),
        strings=frozenset(text for text in vocabulary.texts if text.encode() in data),
        versions=tuple((name, hit[1].decode("ascii", "replace")) for name, pattern in vocabulary.versions if (hit := pattern.search(data))),
        producers=_command_lines(data, whole, sections),
        no_dlopen=_no_dlopen(whole),
        asks_for_next="dlsym" in names.imports,
    )


def _code(source: BytesSource, facts: SharedObject) -> Code | None:
    try:
        return read_code(source, facts.machine_name, MAX_CODE)
    except MalformedElf:
        return None


def _reached(facts: SharedObject, source: BytesSource | None, names: Names, code: Code | None) -> tuple[ReachedVariable, ...]:
    """The variables behind the initial-exec relocations: own ones by offset, then other modules'."""
    own: dict[int, list[TlsReloc]] = defaultdict(list)
    foreign: dict[str, None] = {}
    by_name, words = {variable.name: variable for variable in names.variables}, Words(source) if source is not None else None
    for reloc in facts.initial_exec.relocs:
        if reloc.symbol is not None and not reloc.symbol.defined:
            foreign[reloc.symbol.name] = None
        elif (offset := _offset(reloc, words, by_name)) is not None:
            own[offset].append(reloc)
    reads, readers = _readers(own, names, code)
    pointers = tls_pointers(source, facts.tls_segment, own) if source is not None and own and facts.tls_segment is not None else {}
    ordered = sorted(own)
    named = _named(own, names)
    segment = facts.tls_segment
    parts = (segment.filesz, segment.memsz) if segment else (0, 0)
    found = []
    for place, offset in enumerate(ordered):
        end = parts[0] if offset < parts[0] else parts[1]
        following = ordered[place + 1] if place + 1 < len(ordered) else end
        found.append(
            ReachedVariable(
                offset=offset,
                name=named[offset][0],
                size=named[offset][1],
                initialised=offset < parts[0],
                pointer=offset in pointers,
                constant=pointers.get(offset, False),
                room=max(min(following, end) - offset, 0),
                reads=reads.get(offset, 0) if reads is not None else None,
                readers=readers.get(offset, ()),
            )
        )
    return (*found, *(ReachedVariable(None, name, None) for name in foreign))


def reached_slots(facts: SharedObject, source: BytesSource, names: Names) -> dict[int, str]:
    """Address of each slot -> the variable that it leads to, in words."""
    by_name, words = {variable.name: variable for variable in names.variables}, Words(source)
    offsets = [
        None if reloc.symbol is not None and not reloc.symbol.defined else _offset(reloc, words, by_name) for reloc in facts.initial_exec.relocs
    ]
    covering = first_covering(names.variables, {offset for offset in offsets if offset is not None})
    found: dict[int, str] = {}
    for reloc, offset in zip(facts.initial_exec.relocs, offsets, strict=True):
        name = covering[offset].name if offset in covering else None
        if reloc.symbol is not None and reloc.symbol.name:
            name = reloc.symbol.versioned_name
        place = f"offset {offset:#x} of the TLS segment" if offset is not None else "of another module"
        found[reloc.offset] = f"`{name}`, {place}" if name else place
    return found


def _offset(reloc: TlsReloc, words: Words | None, by_name: Mapping[str, TlsVariable]) -> int | None:
    """A variable's place in the TLS segment. REL tables keep the addend in the slot itself."""
    addend = reloc.addend
    if addend is None:
        addend = words.at(reloc.offset) if words is not None else None
    if reloc.symbol is None:
        return addend
    variable = by_name.get(reloc.symbol.name)
    return None if variable is None else variable.offset + (addend or 0)


def _named(own: Mapping[int, list[TlsReloc]], names: Names) -> dict[int, tuple[str | None, int | None]]:
    """Each variable's name and size: by the relocation's own symbol, else by the symbol that covers its place."""
    symbols = {offset: next((r.symbol for r in relocs if r.symbol is not None), None) for offset, relocs in own.items()}
    asking: dict[str, set[int]] = defaultdict(set)
    for offset, symbol in symbols.items():
        if symbol is not None:
            asking[symbol.name].add(offset)
    same: dict[str, list[TlsVariable]] = defaultdict(list)
    for variable in names.variables:
        if variable.name in asking:
            same[variable.name].append(variable)
    covering = first_covering(names.variables, own)
    for name, offsets in asking.items():
        covering.update(first_covering(same[name], offsets))
    return {
        offset: (covering[offset].name, covering[offset].size) if offset in covering else (symbol.name if symbol else None, None)
        for offset, symbol in symbols.items()
    }


def first_covering(variables: Iterable[TlsVariable], offsets: Iterable[int]) -> dict[int, TlsVariable]:
    """Offset in the TLS segment -> the first variable that covers it. Each offset is looked at once, however many variables overlap."""
    ordered = sorted(set(offsets))
    # For each place, the next one at or behind it that no variable covers yet; paths are halved while they are followed.
    free = list(range(len(ordered) + 1))

    def next_free(place: int) -> int:
        while free[place] != place:
            free[place] = free[free[place]]
            place = free[place]
        return place

    found: dict[int, TlsVariable] = {}
    for variable in variables:
        end = variable.offset + max(variable.size, 1)
        place = next_free(bisect_left(ordered, variable.offset))
        while place < len(ordered) and ordered[place] < end:
            found[ordered[place]] = variable
            free[place] = place + 1
            place = next_free(place)
    return found


def _readers(own: Mapping[int, list[TlsReloc]], names: Names, code: Code | None) -> tuple[dict[int, int] | None, dict[int, tuple[str, ...]]]:
    """Offset of a variable -> how often its slot is read in the machine's usual form, and the named functions that do so."""
    if code is None or code.machine not in USUAL:
        return None, {}
    slots = {reloc.offset: offset for offset, relocs in own.items() for reloc in relocs}
    functions = FunctionMap(names.functions, ())
    counts: dict[int, int] = defaultdict(int)
    found: dict[int, dict[str, None]] = defaultdict(dict)
    for address, slot in islice(usual_reads(code, slots), MAX_READS):
        counts[slots[slot]] += 1
        function = functions.at(address)
        if function is not None and function.name:
            found[slots[slot]][function.name] = None
    return counts, {offset: tuple(sorted(readers)) for offset, readers in found.items()}


def _texts(data: bytes) -> tuple[str, ...]:
    """The zero-terminated texts of a section, each once."""
    return tuple(dict.fromkeys(text.decode("utf-8", "backslashreplace") for text in data.split(b"\0") if text))


_GO_VERSION = re.compile(rb"go1\.[0-9]{1,3}[0-9A-Za-z.]{0,16}")


def _go_version(data: bytes) -> str | None:
    """The Go version from its build information (debug/buildinfo): magic, pointer size and flags; the version stands 32 bytes on.

    Before Go 1.18 pointers lead to the version; then only the fact that it is Go is known.
    """
    at = data.find(GO_MAGIC)
    for _ in range(MAX_GO_MAGICS):
        if at < 0:
            return None
        if at % 4 == 0 and at + 32 <= len(data):
            if not data[at + 15] & 2:
                return "go" if data[at + 14] in (4, 8) and data[at + 15] in (0, 1) else None
            found = _GO_VERSION.match(data, at + 33)
            if found:
                return found[0].decode()
        at = data.find(GO_MAGIC, at + 1)
    return None


def _command_lines(data: bytes, source: BytesSource, sections: tuple[Section, ...]) -> tuple[str, ...]:
    """Compilers' command lines: .GCC.command.line, and what debug information keeps of DW_AT_producer in .debug_str."""
    lines = _texts(section_bytes(source, sections, ".GCC.command.line", MAX_COMMANDS))
    debug = next((s for s in sections if s.name == ".debug_str"), None)
    # It may be half of the file: it is looked at where it lies.
    text = memoryview(data)[debug.offset : debug.offset + debug.size] if debug is not None else memoryview(b"")
    found = [bytes(line[0]).decode("utf-8", "replace") for line in islice(_PRODUCER.finditer(text), MAX_PRODUCERS)]
    return tuple(dict.fromkeys([*lines, *found]))


_PRODUCER = re.compile(rb"GNU (?:C|C\+\+|Fortran|AS)\w* [0-9][^\0]{0,2000}")


def _no_dlopen(source: BytesSource) -> bool:
    try:
        return bool(dynamic_of(source).dynamic.get(DT_FLAGS_1) & DF_1_NOOPEN)
    except MalformedElf:
        return False
