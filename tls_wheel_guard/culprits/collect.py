"""The clues of one module: what its bytes say of who brought initial-exec TLS in. A wheel without it is never read twice.

A module is never held whole: its bytes are searched once, window by window, and then what lies at known places is read, in ascending order.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from tls_wheel_guard.culprits.clues import Clues, Component, ReachedVariable
from tls_wheel_guard.culprits.sbom import MAX_AUDITABLE, auditable_components
from tls_wheel_guard.culprits.search import Vocabulary, command_lines, said_in
from tls_wheel_guard.elf import SharedObject, Source, TlsReloc
from tls_wheel_guard.elf.constants import DF_1_NOOPEN, DT_FLAGS_1
from tls_wheel_guard.elf.headers import LoaderView, dynamic_of, dynamic_segment, read_header, read_segments
from tls_wheel_guard.elf.section_headers import Section, names_place, read_sections, section_bytes, section_place
from tls_wheel_guard.elf.source import HeldSource
from tls_wheel_guard.elf.symbol_tables import Names, TlsVariable, read_names, table_places
from tls_wheel_guard.elf.tls_image import Words, tls_pointers
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.machine_code import USUAL, CodePlaces, FunctionMap, code_places, usual_reads
from tls_wheel_guard.records import replace

__all__ = ["clues_of", "reached_slots"]

_TEXTS = {".comment": 64 << 10, ".GCC.command.line": 1 << 20, ".dep-v0": MAX_AUDITABLE}
"""Sections that are read, and bytes of each."""
MAX_CODE = 128 << 20
"""Bytes of code in which reads are counted."""
MAX_READS = 1 << 20
"""Reads that are counted: a slot is read some hundred times at most, and only code that was made for it has more."""


def clues_of(
    path: str, facts: SharedObject, source: Source, vocabulary: Vocabulary, listed: tuple[Component, ...], limits: Limits = DEFAULT_LIMITS
) -> Clues:
    """The clues of one module. ``listed``: what the wheel's bills of materials name.

    For a module that is larger than the limit traced-size only its name, its relocations and its wheel are used.
    """
    word, block = facts.bits // 8, facts.tls_segment.memsz if facts.tls_segment else 0
    clues = Clues(facts.machine_name, word, block, soname=facts.soname, file_name=path.rsplit("/", 1)[-1], listed=listed)
    if source.size > limits.traced_size:
        return replace(clues, reached=_reached(facts, None, Names(), None))
    said = said_in(source, vocabulary)
    headers = _with_headers(source)
    sections, view = read_sections(headers), _view(headers)
    tables = HeldSource(headers)
    tables.hold([*table_places(sections), *(section_place(sections, *text) for text in _TEXTS.items()), *_words(facts, headers)])
    names = read_names(tables, sections)
    texts = {name: section_bytes(tables, sections, name, most) for name, most in _TEXTS.items()}
    return replace(
        clues,
        reached=_reached(facts, tables, names, _code(headers, view, facts)),
        functions=frozenset(f.name for f in names.functions),
        exports=frozenset(f.name for f in names.functions if f.exported),
        sections=frozenset(s.name for s in sections),
        comments=_texts(texts[".comment"]),
        embedded=auditable_components(texts[".dep-v0"]),
        go_version=said.go_version,
        strings=said.strings,
        versions=said.versions,
        producers=_command_lines(headers, sections, texts[".GCC.command.line"]),
        no_dlopen=view is not None and bool(view.dynamic.get(DT_FLAGS_1) & DF_1_NOOPEN),
        asks_for_next="dlsym" in names.imports,
    )


def _with_headers(source: Source) -> HeldSource:
    """A file with all of its headers held: those that its first bytes lead to, then the dynamic segment and the sections' names."""
    held = HeldSource(source)
    with contextlib.suppress(MalformedElf):
        header = read_header(held)
        segments, sections = header.format.phdr.size * header.phnum, header.format.shdr.size * header.shnum
        held.hold([(0, 16 + header.format.ehdr.size), (header.phoff, segments), (header.shoff, sections)])
        dynamic = dynamic_segment(read_segments(held, header))
        held.hold([names_place(held, header), (dynamic.offset, min(dynamic.filesz, DEFAULT_LIMITS.dynamic_size)) if dynamic else (0, 0)])
    return held


def _view(source: Source) -> LoaderView | None:
    try:
        return dynamic_of(source)
    except MalformedElf:
        return None


def _words(facts: SharedObject, source: Source) -> Iterator[tuple[int, int]]:
    """(offset, size) of the slots that hold their own addends."""
    words = Words(source)
    for reloc in facts.initial_exec.relocs:
        if reloc.addend is None:
            with contextlib.suppress(MalformedElf):
                yield words.place(reloc.offset)


def _code(source: Source, view: LoaderView | None, facts: SharedObject) -> CodePlaces | None:
    try:
        return code_places(source, view, facts.machine_name, MAX_CODE) if view is not None else None
    except MalformedElf:
        return None


def _reached(facts: SharedObject, source: Source | None, names: Names, code: CodePlaces | None) -> tuple[ReachedVariable, ...]:
    """The variables behind the initial-exec relocations: own ones by offset, then other modules'."""
    own: dict[int, list[TlsReloc]] = defaultdict(list)
    foreign: dict[str, None] = {}
    by_name, words = {variable.name: variable for variable in names.variables}, Words(source) if source is not None else None
    for reloc in facts.initial_exec.relocs:
        if reloc.symbol is not None and not reloc.symbol.defined:
            foreign[reloc.symbol.name] = None
        elif (offset := _offset(reloc, words, by_name)) is not None:
            own[offset].append(reloc)
    pointers = tls_pointers(source, facts.tls_segment, own) if source is not None and own and facts.tls_segment is not None else {}
    reads, readers = _readers(own, names, code)
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


def reached_slots(facts: SharedObject, source: Source, names: Names) -> dict[int, str]:
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


def _readers(
    own: Mapping[int, list[TlsReloc]], names: Names, code: CodePlaces | None
) -> tuple[dict[int, int] | None, dict[int, tuple[str, ...]]]:
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


def _command_lines(source: Source, sections: tuple[Section, ...], kept: bytes) -> tuple[str, ...]:
    """Compilers' command lines: ``kept`` by the compiler in a section of its own, and those in the texts of debug information."""
    debug = next((s for s in sections if s.name == ".debug_str"), None)
    found = command_lines(source, debug.offset, min(debug.size, source.size - debug.offset)) if debug is not None else ()
    return tuple(dict.fromkeys([*_texts(kept), *found]))
