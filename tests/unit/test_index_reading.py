"""What is read of a wheel behind HTTP, with a transport that is made of bytes: which bytes, how often, and what follows from them."""

from __future__ import annotations

import hashlib
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.elf_beginnings import beginning_of, table_of
from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.modules import CLEAN, ie
from tests.support.wheel_builder import DEFLATED, STORED, make_wheel
from tls_wheel_guard.archive import open_archive
from tls_wheel_guard.archive.beginning import Beginning
from tls_wheel_guard.commands.check import check_wheel, judge_contents
from tls_wheel_guard.commands.facts import StoredWheel, facts_of, is_certain
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.elf import TlsSegment, screening
from tls_wheel_guard.errors import UnreadableMember
from tls_wheel_guard.index import beginnings
from tls_wheel_guard.index.beginnings import TooMuch, look_at
from tls_wheel_guard.index.connection import FileChanged, NoRanges, Part, Told
from tls_wheel_guard.index.facts import decoded, encoded
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.policy import ClearModule, Policy
from tls_wheel_guard.index.range_answers import BadAnswer, are_in, parts_of
from tls_wheel_guard.index.ranges import RangeFile
from tls_wheel_guard.index.reading import read_wheel
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.inputs.wheel import wheel_tags
from tls_wheel_guard.targets import promised_by

POLICY = Policy(1664, 416)
TAG = "cp312-cp312-manylinux_2_28_x86_64"


class Bytes:
    """A connection to one file. ``sent``: what was asked for, from and to. ``several``: whether it answers several ranges at once."""

    def __init__(self, data: bytes, *, several: bool = True, ranges: bool = True, changes_after: int | None = None) -> None:
        self.data, self.several, self.ranges, self.changes_after = data, several, ranges, changes_after
        self.sent: list[tuple[int, int]] = []
        self.requests = 0

    def _told(self, size: int) -> Told:
        self.requests += 1
        changed = self.changes_after is not None and self.requests > self.changes_after
        return Told(len(self.data), "b" if changed else "a", size)

    def part(self, _url: str, first: int | None, length: int) -> Part:
        start = max(len(self.data) - length, 0) if first is None else first
        pieces: list[bytes] = []
        told = self.stretch(_url, start, length, lambda _, data: pieces.append(data))
        return Part(told.total, told.version, told.sent, b"".join(pieces), start)

    def stretch(self, _url: str, first: int, length: int, take: Callable[[int, bytes], None]) -> Told:
        if not self.ranges:
            raise NoRanges(200)
        end = min(first + length, len(self.data))
        self.sent.append((first, end))
        take(first, self.data[first:end])
        return self._told(end - first)

    def takes_several(self, _url: str) -> bool:
        return self.several

    def stretches(self, _url: str, spans: list[tuple[int, int]], take: Callable[[int, bytes], None]) -> Told | None:
        for low, high in spans:
            self.sent.append((low, high))
            take(low, self.data[low:high])
        return self._told(sum(high - low for low, high in spans))

    def whole(self, _url: str, out: Any, _most: int) -> str:
        out.write(self.data)
        self.sent.append((0, len(self.data)))
        self.requests += 1
        return hashlib.sha256(self.data).hexdigest()

    @property
    def twice(self) -> int:
        """Bytes that were sent more than once."""
        seen: set[int] = set()
        again = 0
        for low, high in self.sent:
            new = set(range(low, high))
            again += len(new & seen)
            seen |= new
        return again


def ranged(connection: Bytes, folder: Path) -> RangeFile:
    return RangeFile(connection, "http://h/x.whl", folder / "x.whl")  # type: ignore[arg-type]


@pytest.mark.parametrize("several", [True, False])
def test_any_reads_give_the_files_bytes(several: bool, tmp_path: Path) -> None:
    rng = random.Random(several)
    data = rng.randbytes(900_000)
    connection = Bytes(data, several=several)
    with ranged(connection, tmp_path) as file:
        for _ in range(60):
            low = rng.randrange(len(data))
            if rng.random() < 0.5:
                file.fetch([(at, at + rng.randrange(1, 9000)) for at in sorted(rng.sample(range(len(data)), 5))])
            file.seek(low)
            assert file.read(rng.randrange(9000)) is not None
            file.seek(low)
            wanted = rng.randrange(30_000)
            assert file.read(wanted) == data[low : low + wanted]
        if several:
            # Only what lies between two near holes comes along.
            assert connection.twice <= 256 * connection.requests * 5
        assert file.complete() == hashlib.sha256(data).hexdigest()
        assert (tmp_path / "x.whl").read_bytes() == data


def test_a_file_that_changes_between_two_ranges_is_noticed(tmp_path: Path) -> None:
    with ranged(Bytes(bytes(400_000), changes_after=1), tmp_path) as file, pytest.raises(FileChanged):
        file.fetch([(0, 10)])


NGINX = (
    b"\r\n--00000000000000000001\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-3/100\r\n\r\nabcd"
    b"\r\n--00000000000000000001\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 10-11/100\r\n\r\nxy"
    b"\r\n--00000000000000000001--\r\n"
)
TYPE = "multipart/byteranges; boundary=00000000000000000001"


def test_parts_of_an_answer() -> None:
    assert list(parts_of(NGINX, TYPE)) == [(0, b"abcd", 100), (10, b"xy", 100)]
    quoted = NGINX.replace(b"00000000000000000001", b"a b")
    assert list(parts_of(quoted, 'multipart/byteranges; boundary="a b"')) == [(0, b"abcd", 100), (10, b"xy", 100)]
    assert are_in([(0, 4), (10, 12)], [(0, 12)])
    assert not are_in([(0, 4), (10, 13)], [(0, 4), (10, 12)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"abcd", b"abc"), (b"abcd", b"abcde"), (b"bytes 0-3/100", b"bytes 0-3/*"), (b"bytes 0-3/100", b"bytes 3-0/100"), (b"--\r\n", b""),
        (b"Content-Range", b"Content-Rage"), (b"\r\n\r\nxy", b"xy"), (b"xy\r\n", b"xy"), (b"\r\n--0", b"junk\r\n--0"), (b"--0", b"--1"),
    ],
)  # fmt: skip
def test_an_answer_that_is_wrong_is_not_used(old: bytes, new: bytes) -> None:
    with pytest.raises(BadAnswer):
        list(parts_of(NGINX.replace(old, new), TYPE))


@pytest.mark.parametrize("kind", ["", "multipart/byteranges", "text/html; boundary=1", 'multipart/byteranges; boundary="00000000000000000001'])
def test_an_answer_without_a_boundary_is_not_used(kind: str) -> None:
    with pytest.raises(BadAnswer):
        list(parts_of(NGINX, kind))


def test_hostile_answers_end() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        data = bytearray(NGINX)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        try:
            found = list(parts_of(bytes(data), TYPE))
        except BadAnswer:
            continue
        assert all(part in bytes(data) for _, part, _ in found)


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_beginning_is_the_member_whatever_the_pieces(method: int, tmp_path: Path) -> None:
    rng = random.Random(method)
    members = {f"m{n}": rng.choice([b"", b"x", rng.randbytes(3000), bytes(2_000_000)]) for n in range(12)}
    path = make_wheel(tmp_path, members, method=method)
    data = path.read_bytes()
    with open_archive(path.open("rb")) as archive:
        for member in archive.members():
            begun, found = Beginning(archive.infos[member.index]), b""
            while not begun.is_whole:
                found += b"".join(begun.feed(data[begun.at : begun.at + rng.choice([1, 7, 100, 100_000])]))
            assert found == archive.source(member).read(0, member.size), member.name


@pytest.mark.parametrize("damage", ["name", "magic", "encrypted", "method", "data"])
def test_a_beginning_that_contradicts_itself_is_said(damage: str, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"m": bytes(range(200)) * 20}, metadata=False)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[0]
    if damage in ("name", "magic"):
        data[{"name": 30, "magic": 0}[damage]] ^= 1
    elif damage == "data":
        data[31:40] = b"\xff" * 9
    else:
        setattr(info, *{"encrypted": ("flag_bits", 1), "method": ("compress_type", 14)}[damage])
    with pytest.raises(UnreadableMember):
        list(Beginning(info).feed(bytes(data)))


def wheel_of(folder: Path, rng: random.Random, members: int) -> tuple[Path, set[str]]:
    """A wheel of ELF files under any names, text, empty members, and extra fields that only local headers have."""
    path, elf = folder / f"p-1.0-{TAG}.whl", set()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(members):
            kind = rng.choice(["elf", "elf", "text", "empty", "three", "noise"])
            name = f"pkg/{number}{rng.choice(['.so', '.py', '.txt', '', '.so.1'])}"
            data = {"elf": ie(64) if rng.random() < 0.5 else CLEAN, "text": b"x = 1\n" * 999, "empty": b"", "three": b"\x7fEL"}.get(
                kind, rng.randbytes(5000)
            )
            info = zipfile.ZipInfo(name)
            info.compress_type = rng.choice([STORED, DEFLATED])
            if rng.random() < 0.2:
                info.extra = b"\x99\x99" + (60).to_bytes(2, "little") + bytes(60)
            archive.writestr(info, data)
            elf |= {name} if kind == "elf" else set()
    return path, elf


@pytest.mark.parametrize("several", [True, False])
def test_elf_files_are_found_whatever_they_are_called(several: bool, tmp_path: Path) -> None:
    rng = random.Random(f"{several}")
    for _ in range(15):
        path, elf = wheel_of(tmp_path, rng, rng.randrange(1, 60))
        connection = Bytes(path.read_bytes(), several=several)
        with ranged(connection, tmp_path) as file:
            archive = open_archive(file)  # type: ignore[arg-type]
            assert {found.member.name for found in look_at(archive, file, 1 << 40)} == elf
            assert connection.requests <= 9


def test_much_that_is_asked_for_is_too_much(tmp_path: Path) -> None:
    path, _ = wheel_of(tmp_path, random.Random(1), 60)
    with ranged(Bytes(path.read_bytes()), tmp_path) as file, pytest.raises(TooMuch):
        list(look_at(open_archive(file), file, 100))  # type: ignore[arg-type]


def test_beginnings_that_become_very_many_bytes_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that never end, of nothing but zeros: a thousandth of them is sent."""
    endless = beginning_of("x86_64", table_of("x86_64"), 40 << 20) + bytes(40 << 20)
    path = make_wheel(tmp_path, {f"pkg/{n}.so": endless for n in range(3)}, TAG)
    for module, name in ((screening, "MOST"), (beginnings, "MOST_HELD")):
        with monkeypatch.context() as patch, ranged(Bytes(path.read_bytes()), tmp_path) as file:
            patch.setattr(module, name, 1 << 20)
            archive = open_archive(file)  # type: ignore[arg-type]
            if module is screening:
                whys = {found.screening.why for found in look_at(archive, file, 1 << 40) if found.screening}
                assert whys == {"its relocation tables end too far behind its start"}
            else:
                with pytest.raises(TooMuch):
                    list(look_at(archive, file, 1 << 40))


def read(path: Path, connection: Bytes, policy: Policy | None = POLICY) -> tuple[str, int]:
    wheel = ListedWheel(path.name, "p", "1", url="http://h/x", size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with read_wheel(wheel, promised_by(wheel_tags(path.name)), connection, policy) as found:  # type: ignore[arg-type]
        if found.rest is not None:
            found = found.rest()  # noqa: PLW2901
        if found.file is not None:
            assert found.file.read_bytes() == path.read_bytes()
        return found.read, found.bytes_read


@pytest.mark.parametrize("several", [True, False])
def test_what_was_fetched_by_ranges_is_not_fetched_again_for_the_whole(several: bool, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"pkg/a.so": ie(64), "data": random.Random(3).randbytes(3_000_000)}, TAG)
    connection = Bytes(path.read_bytes(), several=several)
    how, size = read(path, connection)
    assert how == "whole"
    assert connection.twice == 0
    assert size == path.stat().st_size
    assert connection.requests <= 6


def test_without_ranges_and_after_changes_the_whole_is_read(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"pkg/a.so": ie(64), "data": random.Random(3).randbytes(300_000)}, TAG)
    data = path.read_bytes()
    assert read(path, Bytes(data, ranges=False)) == ("whole", len(data))
    for after in range(1, 8):
        assert read(path, Bytes(data, changes_after=after))[0] == "whole"


def test_clear_modules_give_no_finding_whatever_their_segments(tmp_path: Path) -> None:
    """Descriptors before glibc 2.32 take room: which modules are clear is decided by the models that the rules use."""
    rng = random.Random(17)
    clear = found = 0
    for number in range(120):
        tag = f"cp312-cp312-{rng.choice(['manylinux_2_17', 'manylinux_2_28', 'manylinux_2_34', 'musllinux_1_2'])}_aarch64"
        align = rng.choice([1, 8, 16, 32, 64])
        tls = Tls(rng.choice([1, 100, 400, 416, 500, 1000, 1600, 1664, 3000, 5000]), align, rng.randrange(align))
        data = build(Spec("aarch64", relocs=(Reloc(1031),), tls=tls, needed=("libc.so.6",)))
        wheel = make_wheel(tmp_path, {"pkg/a.so": data}, tag, name=f"p{number}")
        with open_input(wheel) as opened:
            segment = opened.contents.modules[0].facts.tls_segment
        module = ClearModule("pkg/a.so", "aarch64", True, True, segment)
        findings = check_wheel(wheel).findings
        if POLICY.is_clear(promised_by(wheel_tags(wheel.name)), module):
            assert not findings, (tag, segment)
            clear += 1
        found += bool(findings)
    assert clear > 40
    assert found > 10


@pytest.mark.parametrize(
    "tag", ["any", "linux_x86_64", "manylinux_2_28_x86_64", "musllinux_1_2_x86_64", "freebsd_14_2_amd64", "android_21_x86_64"]
)
def test_a_module_without_tls_is_clear_everywhere(tag: str, tmp_path: Path) -> None:
    for flags in (0, 0x10):
        wheel = make_wheel(tmp_path, {"pkg/a.so": build(Spec(needed=("libc.so.6",), flags=flags))}, f"py3-none-{tag}")
        assert not check_wheel(wheel).findings
    targets = promised_by(wheel_tags(wheel.name))
    assert POLICY.is_clear(targets, ClearModule("pkg/a.so", "x86_64", tls=False))
    assert POLICY.is_clear(targets, ClearModule("pkg/a.so", "x86_64")) == tag.startswith(("many", "musl"))
    assert not POLICY.is_clear(promised_by(("py3-none-manylinux_2_28_aarch64",)), ClearModule("pkg/a.so", "x86_64", tls=False))


CLEAR = ClearModule("pkg/b.so", "x86_64", libraries=("libc.so.6", "xlibneeded.so.1"))


def stored(folder: Path, *specs: bytes) -> StoredWheel:
    wheel = make_wheel(folder, {f"pkg/m{n}.so": data for n, data in enumerate(specs)}, TAG)
    with open_input(wheel) as opened:
        return facts_of(opened)


def test_some_members_judge_a_wheel_only_where_the_others_can_not_matter(tmp_path: Path) -> None:
    targets = promised_by((TAG,))
    own = stored(tmp_path, ie(64))
    assert is_certain(own, (CLEAR,), targets, POLICY)
    assert not is_certain(own, (CLEAR,), promised_by(("cp312-cp312-freebsd_14_2_amd64",)), POLICY)
    foreign = build(Spec(relocs=(Reloc(18, "elsewhere"),), symbols=(Sym("elsewhere"),), needed=("libc.so.6",)))
    assert not is_certain(stored(tmp_path, foreign), (CLEAR,), targets, POLICY), "another module may define the variable"
    assert is_certain(stored(tmp_path, foreign), (), targets, POLICY), "there is no other module"
    assert is_certain(stored(tmp_path, ie(64), ie(64)), (CLEAR,), targets, POLICY)
    assert not is_certain(stored(tmp_path, ie(900), ie(900)), (CLEAR,), targets, POLICY), "they may be needed by one"
    big = replace(CLEAR, machine="aarch64", descriptors=True, segment=TlsSegment(0, 0, 0, 400, 8))
    assert is_certain(stored(tmp_path), (big,), promised_by(("cp312-cp312-manylinux_2_28_aarch64",)), POLICY)


def test_who_needs_a_library_that_replaces_malloc_matters(tmp_path: Path) -> None:
    own = stored(tmp_path, ie(64))
    index = own.modules[0].index
    clues = replace(own.clues[0][1], exports=frozenset({"malloc", "free"}))
    for name, certain in (("libother.so.1", True), ("libneeded.so.1", False), ("needed", False)):
        named = replace(own, clues=((index, replace(clues, file_name=name)),))
        named = replace(named, modules=(replace(own.modules[0], facts=replace(own.modules[0].facts, soname=name)),))
        assert is_certain(named, (CLEAR,), promised_by((TAG,)), POLICY) == certain
    nameless = replace(CLEAR, libraries=())
    assert not is_certain(replace(own, clues=((index, clues),)), (nameless,), promised_by((TAG,)), POLICY)


def test_facts_give_the_culprits_that_check_gives(tmp_path: Path) -> None:
    """nanobind's own words say who chose descriptors."""
    module = build(Spec(relocs=(Reloc(36),), tls=Tls(64, 8), needed=("libc.so.6",))) + b"\0nanobind: leaked 1 instances!\0"
    wheel = make_wheel(tmp_path, {"pkg/a.so": module}, "cp312-cp312-freebsd_14_2_amd64")
    with open_input(wheel) as opened:
        facts = decoded(StoredWheel, encoded(facts_of(opened)))
    report = judge_contents(facts.contents, str(wheel), facts.looks, Config()).to_dict()
    assert [c["id"] for f in report["findings"] for c in f["culprits"]] == ["nanobind"]
    assert report == check_wheel(wheel).to_dict()
