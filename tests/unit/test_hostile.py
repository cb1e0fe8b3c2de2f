"""Hostile wheels, case by case: each ends in one line or a finding, names the limit that it hit, and hides no good module beside it."""

from __future__ import annotations

import bz2
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import check_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.errors import UnreadableWheel
from tls_wheel_guard.inputs.opening import inspect_file
from tls_wheel_guard.limits import Limits, limits_from

IE = Spec(relocs=(Reloc(18),), tls=Tls(64, 8))
WHEEL = "pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
CENTRAL, END = b"PK\x01\x02", b"PK\x05\x06"


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def whole(tmp_path: Path, **members: bytes) -> bytes:
    return make_wheel(tmp_path, {name.replace("_", "/") + ".so": data for name, data in members.items()}).read_bytes()


def entry(data: bytes, number: int) -> int:
    """Where the directory's entry of a member stands."""
    at = -1
    for _ in range(number + 1):
        at = data.index(CENTRAL, at + 1)
    return at


def overlapping(data: bytes) -> bytes:
    """The second member is said to be where the first one is."""
    first, second = entry(data, 0), entry(data, 1)
    return put(data, second + 42, data[first + 42 : first + 46])


def reaching_into_the_directory(data: bytes) -> bytes:
    return put(data, entry(data, 3) + 20, (1 << 20).to_bytes(4, "little"))


WHOLE_WHEELS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in half": (lambda data: data[: len(data) // 2], "not a zip archive or is cut short"),
    "no end record": (lambda data: data[:-22], "not a zip archive"),
    "overlapping members": (overlapping, "overlap"),
    "a member over the directory": (reaching_into_the_directory, "overlap|reaches into the directory"),
    "a directory outside": (lambda data: put(data, data.index(END) + 12, b"\xff\xff\xff\x7f"), "not a zip archive|directory-size"),
    "names that are no UTF-8": (
        lambda data: put(put(data, entry(data, 0) + 8, b"\0\x08"), entry(data, 0) + 46, b"\xff\xfe\xff"),
        "not a zip archive",
    ),
    "nothing": (lambda _: b"", "not a zip archive"),
    "nothing but an end record": (lambda _: END + bytes(17), "not a zip archive"),
}


@pytest.mark.parametrize("name", WHOLE_WHEELS)
def test_wheels_that_can_not_be_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_it, words = WHOLE_WHEELS[name]
    path = tmp_path / WHEEL
    path.write_bytes(break_it(whole(tmp_path, pkg_a=build(IE), pkg_b=build(IE))))
    with pytest.raises(UnreadableWheel, match=words):
        inspect_file(path)
    assert main(["check", "--no-config", str(path)]) == 3
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "hint: " in captured.err
    assert "Traceback" not in captured.err + captured.out


ONE_MEMBER: dict[str, tuple[Callable[[bytes, int], bytes], str]] = {
    "a bad CRC": (lambda data, at: put(data, at + 16, b"\1\2\3\4"), "bad CRC"),
    "a size too small": (lambda data, at: put(data, at + 24, b"\x40\0\0\0"), "more than the 64 bytes"),
    "a size too large": (lambda data, at: put(data, at + 24, b"\0\0\1\0"), "claims 65536"),
    "encrypted": (lambda data, at: put(data, at + 8, b"\x01\x00"), "encrypted"),
    "strongly encrypted": (lambda data, at: put(data, at + 8, b"\x41\x00"), "encrypted"),
    "an unknown method": (lambda data, at: put(data, at + 10, b"\x61\x00"), "compression method, 97"),
    "another name in its header": (lambda data, _: put(data, 30, b"X"), "another name"),
    "no header where it is said to be": (lambda data, _: put(data, 0, b"NOPE"), "local header"),
    "damaged compressed data": (lambda data, _: put(data, 30 + len("pkg/a.so"), bytes([0xFF] * 40)), "can't be inflated"),
}


@pytest.mark.parametrize("fast", [True, False], ids=["isal", "zlib"])
@pytest.mark.parametrize("name", ONE_MEMBER)
def test_one_bad_member_is_a_finding_and_hides_no_other(name: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr("tls_wheel_guard.archive.compression._fastest_zlib", lambda: zlib)
    break_it, words = ONE_MEMBER[name]
    data = whole(tmp_path, pkg_a=build(IE), pkg_b=build(IE))
    path = tmp_path / WHEEL
    path.write_bytes(break_it(data, entry(data, 0)))
    report = check_wheel(path)
    assert [module.path for module in report.modules] == ["pkg/b.so"]
    (finding,) = (finding for finding in report.findings if finding.rule == "unreadable-module")
    assert words in finding.message
    assert any(finding.rule == "initial-exec-tls" and finding.module == "pkg/b.so" for finding in report.findings)


@pytest.mark.parametrize("name", ["../../outside.so", "/etc/passwd.so", "..\\up.so", "C:\\x.so", "", "a\0b.so", "pkg/\x1b[31m.so", "x" * 5000])
def test_names_lead_nowhere_and_print_harmlessly(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name
        archive.writestr(info, build(IE))
    assert main(["check", "--no-config", str(path)]) == 1
    assert "\x1b" not in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["in", WHEEL]


def test_a_symlink_member_is_a_file_like_any(tmp_path: Path) -> None:
    """pip writes its content, whatever its mode says: an ELF file in one is judged."""
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("link.so", b"/etc/passwd"), ("elf.so", build(IE))):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, data)
    assert [module.name for module in inspect_file(path).modules] == ["elf.so"]


def test_zip64(tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.so", "w", force_zip64=True) as member:
        member.write(build(IE))
    data = path.read_bytes()
    assert [m.facts.initial_exec.own for m in inspect_file(path).modules] == [1]
    # An entry that says that its sizes are in a zip64 field, and has none.
    path.write_bytes(put(data, entry(data, 0) + 20, b"\xff" * 8))
    with pytest.raises(UnreadableWheel):
        inspect_file(path)


@pytest.mark.parametrize("metadata", [b"", b"\xff\xfe", b"Tag: nonsense\n", b"Tag:\n" * 1000], ids=["empty", "no text", "nonsense", "many"])
def test_metadata_does_not_decide(metadata: bytes, tmp_path: Path) -> None:
    """WHEEL that is wrong, RECORD that is missing: the name has the tags."""
    members = {"x.so": build(IE), "pkg-1.0.dist-info/WHEEL": metadata}
    report = check_wheel(make_wheel(tmp_path, members, metadata=False))
    assert [target.tag for target in report.targets] == ["manylinux_2_28_x86_64"]
    assert [finding.rule for finding in report.findings] == ["initial-exec-tls", "unflagged-static-tls"]


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "socket"])
def test_things_named_like_a_wheel(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / WHEEL
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        import socket  # noqa: PLC0415

        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(tmp_path)
            server.bind(WHEEL)
    code = main(["check", "--no-config", str(path)])
    assert code == (2 if kind == "folder" else 3)
    assert capsys.readouterr().err.count("\n") == 1


# Bombs: what is claimed, what comes out, how many.


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_stopped_where_it_bursts(method: int, tmp_path: Path) -> None:
    elf = build(Spec(relocs=(Reloc(18),), tls=Tls(64, 8), padding=80 << 20))
    path = make_wheel(tmp_path, {"x.so": elf}, method=method)
    del elf
    program = (
        "import re, sys; from tls_wheel_guard.inputs.opening import inspect_file; from pathlib import Path\n"
        "print(inspect_file(Path(sys.argv[1])).unreadable, re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert "limit ratio; --limit ratio=N moves it" in run.stdout
    assert int(run.stdout.split()[-1]) < 120_000, run.stdout
    assert inspect_file(path, limits_from(["ratio=2000000"])).modules[0].facts.initial_exec.own == 1


def test_bzip2_does_not_burst_in_one_piece(tmp_path: Path) -> None:
    """4 KiB of bzip2 can hold gigabytes; zipfile's own stream inflates them in one go."""
    packed = bz2.compress(build(IE) + bytes(40 << 20))
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.so", packed)
    data = path.read_bytes()
    at = entry(data, 0)
    path.write_bytes(put(put(data, at + 10, b"\x0c\0"), at + 24, (1 << 20).to_bytes(4, "little")))
    assert "more than the 1048576 bytes" in inspect_file(path).unreadable[0][1]


LIMITED_WHEELS: list[tuple[str, int]] = [("members", 4), ("directory-size", 100), ("wheel-size", 500)]


@pytest.mark.parametrize(("limit", "value"), LIMITED_WHEELS)
def test_limits_of_a_wheel(limit: str, value: int, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"x.so": build(IE), "y.so": build(IE)})
    assert len(inspect_file(path).modules) == 2
    with pytest.raises(UnreadableWheel, match=rf"at most {value} are read \(limit {limit}; --limit {limit}=N moves it\)"):
        inspect_file(path, limits_from([f"{limit}={value}"]))


def test_a_directory_of_millions_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    one = struct.pack("<4s6H3L5H2L", CENTRAL, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    directory = one * 400_000
    path.write_bytes(directory + struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0))
    with pytest.raises(UnreadableWheel, match=r"400000 members.*limit members"):
        inspect_file(path)


def test_the_limit_of_a_member(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"x.so": build(IE)})
    ((_, reason),) = inspect_file(path, Limits(member_size=100)).unreadable
    assert "limit member-size" in reason


def test_the_window_of_lzma(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"x.so": build(IE)}, method=zipfile.ZIP_LZMA)
    ((_, reason),) = inspect_file(path, Limits(dictionary=4096)).unreadable
    assert "limit dictionary" in reason
