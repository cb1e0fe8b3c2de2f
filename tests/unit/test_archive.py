"""Members streamed from wheels: methods, damage, memory."""

from __future__ import annotations

import contextlib
import os
import random
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.archive import format_of, inflate, name_says_no_elf, open_archive
from tls_wheel_guard.elf import read_shared_object
from tls_wheel_guard.errors import MalformedElf, UnreadableInput, UnreadableMember, UnreadableWheel
from tls_wheel_guard.inputs.opening import inspect_file
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

IE = Spec(relocs=(Reloc(18),), tls=Tls(64, 8))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_method(method: int, tmp_path: Path) -> None:
    data = build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), padding=3 << 20))
    contents = inspect_file(make_wheel(tmp_path, {"pkg/x.so": data}, method=method))
    assert [(m.name, m.facts.initial_exec.own, m.facts.size) for m in contents.modules] == [("pkg/x.so", 1, len(data))]
    assert contents.unreadable == []


@pytest.mark.parametrize("name", ["pkg/x.so", "pkg/data.bin", "pkg/noext", "pkg-1.0.data/scripts/tool", "pkg/lib.txt", "größe/ü.so"])
def test_elf_under_any_name(name: str, tmp_path: Path) -> None:
    contents = inspect_file(make_wheel(tmp_path, {name: build(IE)}))
    assert [module.name for module in contents.modules] == [name]


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"\xcf\xfa\xed\xfe", "mach-o"),
        (b"\xca\xfe\xba\xbe\x00\x00\x00\x02", "mach-o"),
        (b"\xca\xfe\xba\xbe\x00\x00\x00\x34", "other"),
        (b"MZ\x90\x00", "pe"),
        (b"\0asm\x01", "wasm"),
        (b"PK\x03\x04", "archive"),
        (b"!<arch>\n", "archive"),
        (b"\0" * 257 + b"ustar", "archive"),
        (b"import os\n", "other"),
        (b"", "other"),
    ],
)
def test_formats(first: bytes, kind: str) -> None:
    assert format_of(first) == kind


def test_what_a_name_says() -> None:
    assert name_says_no_elf("pkg/mod.py")
    assert name_says_no_elf("pkg-1.0.dist-info/RECORD")
    assert not name_says_no_elf("pkg/mod.cpython-312-x86_64-linux-gnu.so")
    assert not name_says_no_elf("pkg/libx.so.1.2")
    assert not name_says_no_elf("pkg/tool")


def test_other_formats_and_nested_archives_are_noted(tmp_path: Path) -> None:
    members = {
        "a.dylib": b"\xcf\xfa\xed\xfe" + bytes(60),
        "b.dll": b"MZ" + bytes(60),
        "c.wasm": b"\0asm" + bytes(8),
        "d.jar": b"PK\x03\x04" + bytes(30),
    }
    contents = inspect_file(make_wheel(tmp_path, members))
    assert (contents.not_applicable, contents.nested) == ({"mach-o": 1, "pe": 1, "wasm": 1}, ["d.jar"])
    assert not contents.modules
    assert not contents.unreadable


def damaged(path: Path, at: int, value: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def test_a_bad_crc_is_unreadable(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"pkg/x.so": build(IE), "pkg/ok.so": build(IE)})
    data = wheel.read_bytes()
    directory = data.index(b"PK\x01\x02")
    contents = inspect_file(damaged(wheel, directory + 16, b"\0\0\0\0"))
    assert [module.name for module in contents.modules] == ["pkg/ok.so"]
    ((path, reason),) = contents.unreadable
    assert path == "pkg/x.so"
    assert "bad CRC-32" in reason


@pytest.mark.parametrize(("name", "reported"), [("pkg/x.so", True), ("pkg/tool", True), ("pkg/x.py", False)])
@pytest.mark.parametrize(("offset", "value", "words"), [(8, b"\x01\x00", "encrypted"), (10, b"\x63\x00", "99 (AES encryption)")])
def test_encrypted_and_unknown_methods(name: str, reported: bool, offset: int, value: bytes, words: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {name: build(IE)})
    contents = inspect_file(damaged(wheel, wheel.read_bytes().index(b"PK\x01\x02") + offset, value))
    assert contents.modules == []
    assert [path for path, _ in contents.unreadable] == ([name] if reported else [])
    assert all(words in reason for _, reason in contents.unreadable)


@pytest.mark.parametrize("claim", [10, 100_000])
def test_a_wrong_size(claim: int, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"pkg/x.so": build(IE)})
    contents = inspect_file(damaged(wheel, wheel.read_bytes().index(b"PK\x01\x02") + 24, claim.to_bytes(4, "little")))
    assert [path for path, _ in contents.unreadable] == ["pkg/x.so"]


def test_not_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "x-1.0-py3-none-any.whl"
    for data in (b"", b"no zip at all", make_wheel(tmp_path, {"a": b"b"}).read_bytes()[:-30]):
        path.write_bytes(data)
        with pytest.raises(UnreadableWheel, match="not a zip archive"):
            inspect_file(path)


def test_not_a_regular_file(tmp_path: Path) -> None:
    folder = tmp_path / "x.whl"
    folder.mkdir()
    fifo = tmp_path / "fifo.whl"
    os.mkfifo(fifo)
    for path in (folder, fifo):
        with pytest.raises(UnreadableInput, match="not a regular file"):
            inspect_file(path)
    with pytest.raises(UnreadableInput, match="can't be opened"):
        inspect_file(tmp_path / "missing.whl")


def test_duplicate_names_are_both_read(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.so", build(IE))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.so", build(Spec()))
    assert [m.facts.initial_exec.own for m in inspect_file(path).modules] == [1, 0]


@contextlib.contextmanager
def source_of(data: bytes, folder: Path, method: int = zipfile.ZIP_DEFLATED, limits: Limits = DEFAULT_LIMITS) -> Iterator[inflate.MemberSource]:
    with open_archive(make_wheel(folder, {"x.so": data}, method=method, metadata=False).open("rb"), limits) as archive:
        yield archive.source(next(archive.members()))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reading_anywhere_in_any_order(method: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "HEAD", 100_000)
    monkeypatch.setattr(inflate, "TAIL", 300_000)
    chance = random.Random(1)
    data = chance.randbytes(1_000_000) + bytes(3_000_000) + chance.randbytes(500_000)
    with source_of(data, tmp_path, method, Limits(restarts=1000)) as source:
        for _ in range(60):
            start = chance.randrange(len(data))
            length = min(chance.choice((0, 1, 100, 1_500_000)), len(data) - start)
            assert source.read(start, length) == data[start : start + length]
        source.finish()
        with pytest.raises(MalformedElf, match="outside the file"):
            source.read(len(data) - 1, 2)


def test_scattered_reads_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "HEAD", 10)
    monkeypatch.setattr(inflate, "TAIL", 10)
    with source_of(bytes(5 << 20), tmp_path) as source:
        for _ in range(DEFAULT_LIMITS.restarts):
            source.read(4 << 20, 10)
            source.read(1 << 20, 10)
        source.read(4 << 20, 10)
        with pytest.raises(MalformedElf, match=r"scattered.*at most 16 are read \(limit restarts; --limit restarts=N moves it\)"):
            source.read(1 << 20, 10)


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A member of 100 MB costs no more than one of 20 MB."""
    peaks = []
    for size in (20 << 20, 100 << 20):
        data = build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), padding=size))
        with source_of(data, tmp_path, limits=Limits(ratio=2000)) as source:
            del data
            tracemalloc.start()
            assert read_shared_object(source).initial_exec.own == 1
            source.finish()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1 < 24 << 20


def test_a_stream_that_ends_early(tmp_path: Path) -> None:
    source = inflate.MemberSource(lambda: iter([b"abc"]), 10)
    with pytest.raises(UnreadableMember, match="ends after 3 of 10"):
        source.read(0, 10)
    assert tmp_path.exists()
