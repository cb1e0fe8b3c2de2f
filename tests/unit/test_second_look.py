"""The second look reads a module window by window: what it finds is what is found in all bytes at once, in bounded memory."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.archive import inflate
from tls_wheel_guard.archive.inflate import MemberSource
from tls_wheel_guard.culprits.clues import Clues
from tls_wheel_guard.culprits.collect import clues_of
from tls_wheel_guard.culprits.data_files import known_culprits, vocabulary
from tls_wheel_guard.culprits.search import MAX_PRODUCER, MAX_VERSION, Vocabulary, command_lines, said_in
from tls_wheel_guard.elf import BytesSource, Source, read_shared_object, source
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.limits import Limits
from tls_wheel_guard.machine_code import CodePlaces, usual_reads
from tls_wheel_guard.machine_code.code import Place
from tls_wheel_guard.machine_code.slot_reads import NEAR, adrp_page

GO_MAGIC = b"\xff Go buildinf:"
WORDS = Vocabulary(
    frozenset({"libgomp: ", "libgomp: %s", "TRACY_PORT", "OMP", "a", "_allocator", "allocator_", "AHEAD", "Sanitizer: "}),
    (
        *((c.id, c.version_pattern, c.version_end) for c in known_culprits() if c.version_pattern and c.version_end),
        ("open-ended", re.compile(rb"g([0-9a-z.]{1,40})"), re.compile(rb"g[0-9a-z.]")),
    ),
)


# ---- the same on all bytes at once


def go_version(data: bytes) -> str | None:
    at = data.find(GO_MAGIC)
    for _ in range(64):
        if at < 0:
            return None
        if at % 4 == 0 and at + 32 <= len(data):
            if not data[at + 15] & 2:
                return "go" if data[at + 14] in (4, 8) and data[at + 15] in (0, 1) else None
            if found := re.compile(rb"go1\.[0-9]{1,3}[0-9A-Za-z.]{0,16}").match(data, at + 33):
                return found[0].decode()
        at = data.find(GO_MAGIC, at + 1)
    return None


def producers(data: bytes) -> list[str]:
    found = re.finditer(rb"GNU (?:C|C\+\+|Fortran|AS)\w{0,64} [0-9][^\0]{0,2000}", data)
    return [line[0].decode("utf-8", "replace") for line in found][:256]


def reads_of(machine: str, data: bytes, address: int, slots: set[int], got: int) -> Iterator[tuple[int, int]]:
    if machine == "aarch64":
        for at in range(0, len(data) - 3, 4):
            (word,) = struct.unpack_from("<I", data, at)
            if data[at + 3] not in b"\x90\xb0\xd0\xf0":
                continue
            page = adrp_page(word, address + at)
            for later in range(at + 4, min(at + 4 * NEAR, len(data) - 3), 4):
                (load,) = struct.unpack_from("<I", data, later)
                slot = page + (load >> 10 & 0xFFF) * 8
                if load & 0xFFC00000 == 0xF9400000 and load >> 5 & 31 == word & 31 and slot in slots:
                    yield address + later, slot
                    break
        return
    for at in range(len(data)):
        if (
            machine == "x86_64"
            and at + 7 <= len(data)
            and re.match(rb"[\x48\x4c][\x8b\x03][\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", data[at : at + 3])
        ):
            slot = address + at + 7 + struct.unpack_from("<i", data, at + 3)[0]
        elif machine == "i386" and at + 6 <= len(data) and data[at] in b"\x8b\x03" and data[at + 1] >> 6 == 2 and data[at + 1] & 7 not in (4, 5):
            slot = got + struct.unpack_from("<i", data, at + 2)[0]
        else:
            continue
        if slot in slots:
            yield address + at, slot


# ---- what is found


VERSION = b"\x005.3.0-0-g" + b"0123456789" * 4 + b"\0"
PIECES = [
    *(text.encode() for text in WORDS.texts),
    VERSION, VERSION[:-1], b"\x00123456789.1.22-333-g" + b"a" * 40 + b"\0", b"-g" + b"b" * 40 + b"\0", b"\0", b"g",
    GO_MAGIC, GO_MAGIC + b"\x08\x02" + bytes(16) + b"\x08go1.22.3", GO_MAGIC + b"\x08\x00" + bytes(16), GO_MAGIC + b"\x08\x02" + bytes(20),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_texts_and_versions_are_those_of_all_bytes_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    found: list[object] = []
    for _ in range(60):
        window = chance.choice((4, 7, 64, 100, 333, 1024))
        data = b"".join(
            chance.choice(PIECES) if chance.random() < 0.3 else chance.randbytes(chance.randrange(0, 90)) for _ in range(chance.randrange(1, 30))
        )
        # The last bytes of the last window, where the file ends in the middle of something.
        data = data[: len(data) - chance.randrange(0, 30)]
        monkeypatch.setattr(source, "WINDOW", window)
        said = said_in(BytesSource(data), WORDS)
        assert said.strings == {text for text in WORDS.texts if text.encode() in data}
        assert said.versions == tuple((name, hit[1].decode()) for name, pattern, _ in WORDS.versions if (hit := pattern.search(data)))
        assert said.go_version == go_version(data)
        found += [said.strings, said.versions, said.go_version]
    assert sum(map(bool, found)) > 60


@pytest.mark.parametrize("place", range(120))
def test_a_text_on_a_border_at_every_byte(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text that the culprits' data name, and a version, begin so many bytes before the end of a window."""
    monkeypatch.setattr(source, "WINDOW", 128)
    words = vocabulary()
    for text in sorted(words.texts):
        said = said_in(BytesSource(b"\x01" * (256 - place) + text.encode() + b"\x01" * 50), words)
        assert text in said.strings
    assert said_in(BytesSource(b"\x01" * (256 - place) + VERSION), words).versions == (("jemalloc", "5.3.0"),)
    at = 256 - place // 4 * 4
    assert said_in(BytesSource(b"\x01" * at + GO_MAGIC + b"\x08\x02" + bytes(16) + b"\x08go1.22.3"), words).go_version == "go1.22.3"


def test_the_first_version_counts_and_magics_are_counted_over_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "WINDOW", 64)
    two = bytes(50) + VERSION + bytes(500) + VERSION.replace(b"5.3.0", b"5.2.1")
    assert said_in(BytesSource(two), WORDS).versions[0] == ("jemalloc", "5.3.0")
    good = GO_MAGIC + b"\x08\x02" + bytes(16) + b"\x08go1.22.3" + bytes(2)
    for count in (63, 64):
        data = (GO_MAGIC + b"\x01\x01").ljust(17, b"\0") * count
        data = data.replace(GO_MAGIC, b"\0" + GO_MAGIC) if len(data) % 4 else data
        data += bytes(-len(data) % 4) + good
        assert said_in(BytesSource(data), WORDS).go_version == go_version(data)


@pytest.mark.parametrize("seed", range(6))
def test_command_lines_are_those_of_all_bytes_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    parts = [
        b"GNU C17 12.2.0 -O2",
        b"GNU C++17 12",
        b"GNU AS 2.40\0",
        b"GNU Fortran2008 1" + b"x" * 1990,
        b"GNU C1 2" + b"y" * 5000,
        b"GNU ",
        b"\0",
    ]
    for _ in range(40):
        data = b"".join(chance.choice(parts) + b" " * chance.randrange(40) for _ in range(chance.randrange(1, 40)))
        offset, size = chance.randrange(30), chance.randrange(len(data))
        monkeypatch.setattr(source, "WINDOW", chance.choice((4, 50, 777, 4096)))
        assert list(command_lines(BytesSource(data), offset, min(size, len(data) - offset))) == producers(data[offset : offset + size])
    monkeypatch.setattr(source, "WINDOW", 1000)
    assert len(list(command_lines(BytesSource(many := b"GNU C 1\0" * 400), 0, len(many)))) == 256


def test_no_pattern_is_longer_than_a_window_allows() -> None:
    """What a version's pattern and a command line's can match, by Python's own parser of patterns."""
    parser = pytest.importorskip("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
    for _, pattern, end in vocabulary().versions:
        assert parser.parse(pattern.pattern).getwidth()[1] <= MAX_VERSION
        assert pattern.pattern.endswith(end.pattern)
    assert MAX_PRODUCER >= 4 + 7 + 64 + 1 + 1 + 2000


@pytest.mark.parametrize(("machine", "pages"), [("x86_64", 1), ("i386", 1), ("aarch64", 1), ("aarch64", 3), ("aarch64", 30)])
def test_reads_are_those_of_all_bytes_at_once(machine: str, pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, found = random.Random(f"{machine}{pages}"), 0
    for _ in range(40):
        size, address, got = chance.randrange(1, 9000), 0x401000 + chance.randrange(12_000), 0x7000
        offset = chance.randrange(0, 9)
        slots = {chance.choice((0x404000, 0x3F0000, 0x12345000)) + 0x1000 * page + 8 * n for n in range(4) for page in range(pages)}
        data = bytearray(chance.randbytes(size))
        for _ in range(size // 40):
            at, slot = chance.randrange(size), chance.choice(sorted(slots))
            if machine == "x86_64":
                code = bytes((chance.choice(b"\x48\x4c"), chance.choice(b"\x8b\x03"), chance.choice(b"\x05\x3d"))) + struct.pack(
                    "<i", slot - (address + at + 7)
                )
            elif machine == "i386":
                code = bytes((chance.choice(b"\x8b\x03"), 0x83)) + struct.pack("<i", slot - got)
            else:
                at -= at % 4 if chance.random() < 0.8 else 0
                far = (slot >> 12) - (address + at >> 12)
                load = struct.pack("<I", 0xF9400000 | (slot & 0xFFF) // 8 << 10 | 5 << 5 | 6)
                code = (
                    struct.pack("<I", 0x90000005 | (far & 3) << 29 | (far >> 2 & 0x7FFFF) << 5)
                    + b"\x1f\x20\x03\xd5" * chance.randrange(NEAR + 2)
                    + load
                )
            data[at : at + len(code)] = code
        data = data[:size]
        monkeypatch.setattr(source, "WINDOW", chance.choice((4, 8, 60, 100, 1000, 4096)))
        places = CodePlaces(machine, (Place(address, offset, size),), BytesSource(b"\x48" * offset + bytes(data)), got)
        reads = list(usual_reads(places, slots))
        assert reads == list(reads_of(machine, bytes(data), address, slots, got))
        found += len(reads)
    assert found > 200


# ---- a member of a wheel, whose parts lie anywhere


def scattered(chance: random.Random, gap: int) -> bytes:
    """An x86-64 module whose headers, tables and sections lie in any order, up to ``gap`` bytes of noise between them."""
    texts = {
        b".comment": b"GCC: (Debian) 12\0mold 2.0\0", b".dep-v0": chance.randbytes(40), b".GCC.command.line": b"gcc -O2\0gcc -fPIC\0",
        b".debug_str": b"x" * 90 + b"\0GNU C17 12.2.0 -fPIC -ftls-model=initial-exec\0", b".strtab": b"\0malloc\0heap\0reader\0dlsym\0",
    }  # fmt: skip
    names = b"\0" + b"\0".join([*texts, b".symtab", b".shstrtab"]) + b"\0"
    sizes = {
        "segments": 56 * 5,
        "dynamic": 16 * 6,
        "rela": 24 * 4,
        "tls": 32,
        "code": 300,
        "got": 24,
        "names": len(names),
        "sections": 64 * 8,
        "symtab": 24 * 5,
    }
    sizes |= {name.decode(): len(text) for name, text in texts.items()}
    order, at, place = sorted(sizes), 64, {}
    chance.shuffle(order)
    for name in order:
        at += chance.randrange(gap) & ~7
        place[name] = at = at + 7 & ~7
        at += sizes[name]
    end = at + (chance.randrange(gap) & ~7)
    data = bytearray(chance.randbytes(end))
    code = 1 << 24

    def put(name: str, value: bytes) -> None:
        assert len(value) <= sizes[name]
        data[place[name] : place[name] + sizes[name]] = value.ljust(sizes[name], b"\0")

    data[:64] = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, place["segments"], place["sections"], 0, 64, 56, 5, 64, 8, 7
    )  # fmt: skip
    rows = [
        (1, 6, 0, 0, end, end), (1, 5, place["code"], code, 300, 300), (2, 6, place["dynamic"], place["dynamic"], 96, 96),
        (7, 4, place["tls"], place["tls"], 32, 64), (0x6474E552, 4, place["rela"], place["rela"], 96, 96),
    ]  # fmt: skip
    put(
        "segments",
        b"".join(
            struct.pack("<IIQQQQQQ", kind, flags, offset, vaddr, vaddr, size, memory, 8) for kind, flags, offset, vaddr, size, memory in rows
        ),
    )
    entries = ((7, place["rela"]), (8, 96), (9, 24), (0x6FFFFFFB, 0x40), (5, place[".strtab"]), (6, place["symtab"]))
    put("dynamic", b"".join(struct.pack("<QQ", *entry) for entry in entries))
    got = place["got"]
    relocs = ((got, 18, 0), (got + 8, 18, 40), (place["tls"], 8, place["rela"] + 8), (place["tls"] + 8, 8, 4))
    put("rela", b"".join(struct.pack("<QQq", *row) for row in relocs))
    put(
        "code",
        bytes(90) + b"\x48\x8b\x05" + struct.pack("<i", got - code - 97) + bytes(60) + b"\x4c\x03\x0d" + struct.pack("<i", got + 8 - code - 164),
    )
    symbols = ((0, 0, 0, 0, 0), (1, 0x12, 1, code, 80), (8, 6, 1, 0, 8), (13, 2, 1, code + 80, 100), (20, 0x12, 0, 0, 0))
    put("symtab", b"".join(struct.pack("<IBBHQQ", name, info, 0, section, value, size) for name, info, section, value, size in symbols))
    put("names", names)
    for section, text in texts.items():
        put(section.decode(), text)
    headers = [(b"", 0, 0, 0, 0)] + [(name, 1, place[name.decode()], len(text), 0) for name, text in texts.items()]
    headers += [(b".symtab", 2, place["symtab"], 120, 5), (b".shstrtab", 3, place["names"], len(names), 0)]
    rows_of_sections = ((names.index(b"\0" + name) + 1 if name else 0, *rest) for name, *rest in headers)
    put(
        "sections",
        b"".join(struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, link, 0, 1, 0) for name, kind, at, size, link in rows_of_sections),
    )
    return bytes(data)


class Counted:
    """A member of a wheel by its bytes, and how often it was begun."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.starts, self._data, self._piece = 0, data, piece

    def source(self) -> MemberSource:
        return MemberSource(self._pieces, len(self._data))

    def _pieces(self) -> Iterator[bytes]:
        self.starts += 1
        return iter([self._data[at : at + self._piece] for at in range(0, len(self._data), self._piece)])


@pytest.mark.parametrize("seed", range(40))
def test_a_module_in_any_order_is_read_in_few_passes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is inflated once and then at most six times up to some place, wherever its parts lie, and nothing is lost."""
    chance = random.Random(seed)
    data = scattered(chance, 400_000)
    facts = read_shared_object(BytesSource(data))
    whole = clues_of("m.so", facts, BytesSource(data), vocabulary(), ())
    assert [(r.offset, r.name, r.pointer, r.constant, r.reads, r.readers) for r in whole.reached] == [
        (0, "heap", True, True, 1, ("reader",)), (40, None, False, False, 1, ("reader",)),
    ]  # fmt: skip
    assert whole.exports == frozenset()
    assert (whole.functions, whole.asks_for_next, whole.no_dlopen) == (frozenset({"malloc", "reader"}), True, True)
    assert whole.comments == ("GCC: (Debian) 12", "mold 2.0")
    assert whole.producers == ("gcc -O2", "gcc -fPIC", "GNU C17 12.2.0 -fPIC -ftls-model=initial-exec")
    monkeypatch.setattr(inflate, "HEAD", 1 << 15)
    monkeypatch.setattr(inflate, "TAIL", 1 << 15)
    monkeypatch.setattr(inflate, "OVERLAP", 1 << 12)
    monkeypatch.setattr(source, "WINDOW", 60_000)
    member = Counted(data, 50_000)
    assert clues_of("m.so", facts, member.source(), vocabulary(), ()) == whole
    assert member.starts <= 7


def test_a_usual_module_is_begun_again_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and tables lie at the beginning and at the end; only code and the TLS image are in between."""
    data = build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8, filesz=8), relative=500, padding=1 << 20))
    facts = read_shared_object(BytesSource(data))
    monkeypatch.setattr(inflate, "HEAD", 1 << 16)
    monkeypatch.setattr(inflate, "TAIL", 1 << 16)
    member = Counted(data, 1 << 15)
    assert clues_of("m.so", facts, member.source(), vocabulary(), ()) == clues_of("m.so", facts, BytesSource(data), vocabulary(), ())
    assert member.starts <= 2


@pytest.mark.parametrize("machine", ["i386", "arm", "mips", "s390x", "sparc64", "aarch64", "riscv64"])
def test_slots_that_hold_their_addends(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"i386": 14, "arm": 19, "mips": 47, "s390x": 56, "sparc64": 79, "aarch64": 1030, "riscv64": 11}
    built = bytearray(
        build(Spec(machine, relocs=tuple(Reloc(numbers[machine], addend=4 * n) for n in range(5)), tls=Tls(64, 8), padding=300_000))
    )
    facts = read_shared_object(BytesSource(bytes(built)))
    for number, reloc in enumerate(facts.initial_exec.relocs):
        if reloc.addend is None:  # addresses are file offsets here
            size = facts.bits // 8
            built[reloc.offset : reloc.offset + size] = (4 * number).to_bytes(size, "little" if facts.little_endian else "big")
    data = bytes(built)
    assert [r.offset for r in clues_of("m.so", facts, BytesSource(data), vocabulary(), ()).reached] == [0, 4, 8, 12, 16]
    monkeypatch.setattr(inflate, "HEAD", 1 << 12)
    monkeypatch.setattr(inflate, "TAIL", 1 << 12)
    member = Counted(data, 1 << 14)
    assert clues_of("m.so", facts, member.source(), vocabulary(), ()) == clues_of("m.so", facts, BytesSource(data), vocabulary(), ())
    assert member.starts <= 5


def clues_or_error(facts: object, place: Source) -> Clues | str:
    try:
        return clues_of("m.so", facts, place, vocabulary(), ())  # type: ignore[arg-type]
    except MalformedElf as error:
        return error.message


@pytest.mark.parametrize("seed", range(20))
def test_damaged_headers_say_the_same_by_any_way_of_reading(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    good = scattered(chance, 3000)
    facts = read_shared_object(BytesSource(good))
    segments, sections = struct.unpack_from("<QQ", good, 32)
    for _ in range(40):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            at = chance.choice((chance.randrange(64), segments + chance.randrange(280), sections + chance.randrange(512)))
            data[at] = chance.choice((0, 255, data[at] ^ 1 << chance.randrange(8)))
        monkeypatch.setattr(source, "WINDOW", 128 << 10)
        monkeypatch.setattr(inflate, "HEAD", 8 << 20)
        whole = clues_or_error(facts, BytesSource(bytes(data)))
        monkeypatch.setattr(source, "WINDOW", 1000)
        monkeypatch.setattr(inflate, "HEAD", 512)
        monkeypatch.setattr(inflate, "TAIL", 512)
        member = Counted(bytes(data), 700)
        assert clues_or_error(facts, member.source()) == whole
        assert member.starts <= 12


def test_a_module_over_the_limit_is_not_searched() -> None:
    data = build(Spec(relocs=(Reloc(18, addend=8),), tls=Tls(64, 8), padding=4096)) + b"mimalloc: error: "
    facts = read_shared_object(BytesSource(data))
    assert clues_of("m.so", facts, BytesSource(data), vocabulary(), ()).strings == {"mimalloc: error: "}
    found = clues_of("m.so", facts, BytesSource(data), vocabulary(), (), Limits(traced_size=4096))
    assert (found.strings, [r.offset for r in found.reached]) == (frozenset(), [8])


PEAK = """
import sys
from tls_wheel_guard.cli import run
run(["check", "--no-config", "-q", sys.argv[1]])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_does_not_depend_on_the_size_of_a_module(tmp_path: Path) -> None:
    """A member of 200 MB takes what one of 20 MB takes, each with initial-exec; threads make pieces ahead at their own pace."""
    peaks = []
    for size in (20, 200):
        folder = tmp_path / str(size)
        folder.mkdir()
        wheel = make_wheel(folder, {"m.so": build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), padding=size << 20))})
        done = subprocess.run([sys.executable, "-c", PEAK, str(wheel)], check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] < 1.15 * peaks[0] + 1, peaks
    assert peaks[1] < 64, peaks
