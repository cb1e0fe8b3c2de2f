"""Setting DF_STATIC_TLS: set or refused, never damaged."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.modules import MARKABLE, with_fields
from tests.support.toolchain import require
from tests.support.wheel_builder import DEFLATED, STORED, assert_record_is_right, full_wheel, make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.archive.record import update_record
from tls_wheel_guard.build_guard.guard import guard
from tls_wheel_guard.commands.mark import mark_file
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.errors import Refused
from tls_wheel_guard.platforms import MACHINES, machine_called
from tls_wheel_guard.repair import Patch, apply_patches, plan_flag


def patched(data: bytes) -> bytes:
    patch = plan_flag(BytesSource(data))
    assert patch is not None
    return b"".join(apply_patches([data], [patch]))


def test_into_an_existing_dt_flags() -> None:
    data = with_fields(MARKABLE, flags=0x8)
    new = patched(data)
    assert sum(a != b for a, b in zip(data, new, strict=True)) == 1
    assert read_shared_object(BytesSource(new)).df_static_tls
    assert plan_flag(BytesSource(new)) is None


def test_into_a_spare_slot() -> None:
    data = with_fields(MARKABLE, spare=1)
    new = patched(data)
    assert read_shared_object(BytesSource(new)).df_static_tls
    assert sum(a != b for a, b in zip(data, new, strict=True)) <= 16
    with pytest.raises(Refused, match="no DT_FLAGS and no spare DT_NULL"):
        plan_flag(BytesSource(with_fields(MARKABLE, spare=0)))


@pytest.mark.compiler
def test_every_machine_as_readelf_sees_it(tmp_path: Path) -> None:
    require("readelf")
    for machine in MACHINES:
        number = next(n for n, (kind, _) in TLS_RELOCS[machine.e_machine].items() if kind == "TPOFF")
        path = tmp_path / "m.so"
        path.write_bytes(build(Spec(machine.name, relocs=(Reloc(number),), tls=Tls(8), spare=3)))
        before = subprocess.run(["readelf", "-Wd", str(path)], capture_output=True, text=True, check=True).stdout
        assert mark_file(path, path).marked
        after = subprocess.run(["readelf", "-Wd", str(path)], capture_output=True, text=True, check=True).stdout
        assert "STATIC_TLS" in after, machine.name
        new = [line for line in after.splitlines() if line not in before.splitlines()]
        assert len(new) <= 2, new


def test_a_thousand_generated_objects() -> None:
    """Set or refused; nothing but the flag changes, however the file is built."""
    chance, outcomes = random.Random(7), {"set": 0, "refused": 0}
    for _ in range(1000):
        machine = chance.choice(["x86_64", "aarch64", "i386", "s390x", "riscv64", "arm", "ppc"])
        known = machine_called(machine)
        assert known is not None
        number = next(n for n, (kind, _) in TLS_RELOCS[known.e_machine].items() if kind == "TPOFF")
        spec = Spec(
            machine,
            relocs=(Reloc(number),) * chance.randrange(1, 5),
            tls=Tls(chance.randrange(1, 3000), 8),
            flags=chance.choice((0, 0, 0x2, 0x8)),
            spare=chance.choice((0, 1, 5)),
            soname=chance.choice((None, "libx.so")),
            relative=chance.randrange(20),
            sections=chance.random() < 0.5,
            padding=chance.randrange(5000),
        )
        data = build(spec)
        try:
            new = patched(data)
        except Refused:
            outcomes["refused"] += 1
            assert not spec.flags
            assert not spec.spare
            continue
        outcomes["set"] += 1
        before, after = read_shared_object(BytesSource(data)), read_shared_object(BytesSource(new))
        assert after.df_static_tls
        assert len(new) == len(data)
        assert {name: getattr(before, name) for name in before.__slots__ if name != "df_static_tls"} == {
            name: getattr(after, name) for name in after.__slots__ if name != "df_static_tls"
        }
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_patches_across_pieces(size: int) -> None:
    data = random.Random(size).randbytes(1000)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    patches = [Patch(at, data[at : at + 16], bytes(16), "") for at in (0, 300, 984)]
    new = bytearray(data)
    for patch in patches:
        new[patch.offset : patch.offset + 16] = patch.new
    assert b"".join(apply_patches(pieces, patches)) == bytes(new)


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Refused, match="not the ones that were planned"):
        list(apply_patches([bytes(100)], [Patch(10, b"x", b"y", "")]))
    with pytest.raises(Refused, match="ends before"):
        list(apply_patches([bytes(100)], [Patch(100, b"x", b"y", "")]))


def test_record_keeps_every_other_line() -> None:
    text = b'a.so,sha256=old,1\r\n"b,c.so",sha256=old,2\nRECORD,,\n'
    assert update_record(text, {"b,c.so": ("sha256=new", 3)}) == b'a.so,sha256=old,1\r\n"b,c.so",sha256=new,3\nRECORD,,\n'
    # A path may hold what str.splitlines takes for the end of a line, and, in quotes, real ends of lines.
    odd = "pkg/\u2028a\x0b\x85.so"
    assert update_record(f"{odd},sha256=old,1\n".encode(), {odd: ("sha256=new", 3)}) == f"{odd},sha256=new,3\n".encode()
    assert update_record(b'"a\nb.so",sha256=old,2\nc,,\n', {"a\nb.so": ("sha256=new", 3)}) == b'"a\nb.so",sha256=new,3\nc,,\n'
    for missing in (b"", b"a.so,sha256=old,1\n", "pkg/\u2028,sha256=old,1\n".encode()):
        with pytest.raises(Refused, match=r"RECORD has no line for pkg/x\.so"):
            update_record(missing, {"pkg/x.so": ("sha256=new", 3)})
    for hostile in (b"\xff,,\n", b'"' + b"a" * 200_000 + b'",,\n'):
        with pytest.raises(Refused, match="RECORD can't be read"):
            update_record(hostile, {})


METHODS = (STORED, DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@pytest.mark.parametrize(("method", "epoch"), list(itertools.product(METHODS, ["", "1700000000"])))
def test_a_wheel_keeps_all_but_the_flag(method: int, epoch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    members = {
        "pkg/a.py": b"x = 1\n",
        "pkg/m.so": with_fields(MARKABLE, spare=1, padding=2 << 20),
        "pkg/n.so": with_fields(MARKABLE, flags=0x18),
        "z": b"",
    }
    old = full_wheel(tmp_path, members, method)
    assert main(["mark", str(old), "-w", str(tmp_path / "out")]) == 0
    new = tmp_path / "out" / old.name
    assert_record_is_right(new)
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(new) as after:
        for a, b in zip(before.infolist(), after.infolist(), strict=True):
            changed = a.filename in ("pkg/m.so", "pkg-1.0.dist-info/RECORD")
            assert (a.filename, a.external_attr, a.compress_type) == (b.filename, b.external_attr, b.compress_type)
            assert (before.read(a) != after.read(b)) == changed
            assert b.date_time == (time.gmtime(1700000000)[:6] if changed and epoch else a.date_time)
    assert main(["check", str(new), "--select", "unflagged-static-tls", "--fail-on", "note"]) == 0
    again = tmp_path / "out2"
    assert main(["mark", str(new), "-w", str(again)]) == 0
    assert (again / new.name).read_bytes() == new.read_bytes()


def test_refusals_leave_the_module_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = full_wheel(tmp_path, {"pkg/m.so": build(MARKABLE)})
    before = wheel.read_bytes()
    assert main(["mark", str(wheel), "--in-place"]) == 4
    assert wheel.read_bytes() == before
    assert (
        "pkg/m.so is left as it is, DF_STATIC_TLS could not be set: its dynamic segment has no DT_FLAGS and no spare" in capsys.readouterr().err
    )
    bare = tmp_path / "m.so"
    bare.write_bytes(build(MARKABLE))
    assert main(["mark", str(bare), "--in-place"]) == 4


def test_wheels_that_must_not_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    so = with_fields(MARKABLE, spare=1)
    signed = full_wheel(tmp_path, {"pkg/m.so": so, "pkg-1.0.dist-info/RECORD.jws": b"x"})
    assert main(["mark", str(signed), "--in-place"]) == 4
    bare = make_wheel(tmp_path, {"m.so": so}, metadata=False)
    assert main(["mark", str(bare), "--in-place"]) == 4
    assert main(["mark", str(tmp_path / "none.whl")]) == 2
    (tmp_path / "file").write_text("")
    assert main(["mark", str(signed), "-w", str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert "the wheel is signed" in said
    assert "the wheel has no RECORD" in said
    assert said.count("\n") == 4
    assert not list(tmp_path.glob(".*"))


def test_a_bare_object_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "m.so"
    path.write_bytes(with_fields(MARKABLE, spare=1))
    path.chmod(0o640)
    assert main(["mark", str(path), "--in-place"]) == 0
    assert path.stat().st_mode & 0o777 == 0o640
    assert read_shared_object(BytesSource(path.read_bytes())).df_static_tls


def raw_member(path: Path, name: str) -> bytes:
    """A member's compressed bytes."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
        return path.read_bytes()[info.header_offset :][: 30 + len(name) + len(info.extra) + info.compress_size]


def edit_method(path: Path, name: bytes, method: int, flags: int = 0) -> None:
    """Say another compression method of a member, in its own header and in the directory."""
    data = bytearray(path.read_bytes())
    for signature, fixed, at in ((b"PK\x03\x04", 30, 6), (b"PK\x01\x02", 46, 8)):
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            if data[start + fixed :].startswith(name):
                data[start + at] |= flags
                data[start + at + 2] = method
    path.write_bytes(data)


def test_members_that_do_not_change_keep_their_compressed_bytes(tmp_path: Path) -> None:
    text = b"".join(b"%d, " % (i * i) for i in range(9999))
    old = full_wheel(tmp_path, {"pkg/m.so": with_fields(MARKABLE, spare=1)})
    with zipfile.ZipFile(old, "a") as archive:
        for level in (1, 9):
            archive.writestr(zipfile.ZipInfo(f"level{level}.bin"), text, zipfile.ZIP_DEFLATED, level)
        archive.writestr("ppmd\u00e9.bin", text, zipfile.ZIP_STORED)
        archive.writestr("pkg/", b"")
        archive.comment = b"a comment"
    edit_method(old, "ppmd\u00e9.bin".encode(), 98)
    assert main(["mark", str(old), "-w", str(tmp_path / "out")]) == 3  # what can't be read may be ELF: said, and the rest is marked
    new = tmp_path / "out" / old.name
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(new) as after:
        assert before.namelist() == after.namelist()
        assert [i.compress_size for i in before.infolist()][2:] == [i.compress_size for i in after.infolist()][2:]
        assert after.comment == b"a comment"
    for name in ("level1.bin", "level9.bin", "pkg-1.0.dist-info/WHEEL"):
        assert raw_member(old, name) == raw_member(new, name)
    assert subprocess.run(["unzip", "-tq", str(new), "level*"], capture_output=True, check=False).returncode == 0


def test_a_streamed_wheel_keeps_its_data_descriptors(tmp_path: Path) -> None:
    """Written to a pipe, each member's sizes stand behind its data."""
    old = full_wheel(tmp_path, {"pkg/m.so": with_fields(MARKABLE, spare=1), "pkg/a.py": b"x = 1\n" * 500})
    streamed = tmp_path / "streamed" / old.name
    streamed.parent.mkdir()
    script = "import sys, zipfile\nz = zipfile.ZipFile(sys.stdout.buffer, 'w', 8)\nfor i in (o := zipfile.ZipFile(sys.argv[1])).infolist():\n"
    with streamed.open("wb") as file:
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        made = subprocess.run([sys.executable, "-c", f"{script} z.writestr(i, o.read(i))\nz.close()", str(old)], stdout=cat.stdin, check=True)
        assert made.returncode == 0
        assert cat.stdin is not None
        cat.stdin.close()
        cat.wait()
    assert main(["mark", str(streamed), "--in-place"]) == 0
    assert_record_is_right(streamed)
    assert subprocess.run(["unzip", "-tq", str(streamed)], capture_output=True, check=False).returncode == 0


def test_members_that_cannot_be_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    so = with_fields(MARKABLE, spare=1)
    cases = {"PPMd": (98, 0, "98 (PPMd)"), "encrypted": (8, 1, "encrypted")}
    for name, (method, flags, words) in cases.items():
        (tmp_path / name).mkdir()
        wheel = full_wheel(tmp_path / name, {"pkg/m.so": so, "pkg/n.py": b"x"})
        edit_method(wheel, b"pkg/m.so", method, flags)
        before = wheel.read_bytes()
        assert main(["mark", str(wheel), "--in-place"]) == 3
        assert wheel.read_bytes() == before
        (line,) = capsys.readouterr().err.splitlines()
        assert "pkg/m.so is left as it is, it can't be read: " in line
        assert words in line
    wheel = full_wheel(tmp_path, {"pkg/m.so": so})
    data = bytearray(wheel.read_bytes())
    data[data.index(b"pkg/m.so") + 300] ^= 0xFF
    wheel.write_bytes(data)
    assert main(["mark", str(wheel), "--in-place"]) == 3
    cut = full_wheel(tmp_path, {"pkg/m.so": so[:300]})
    assert main(["mark", str(cut), "--in-place"]) == 3
    (tmp_path / "text").write_text("no ELF file")
    capsys.readouterr()
    assert main(["mark", str(tmp_path / "text"), "--in-place"]) == 3
    assert "neither a wheel nor an ELF file" in capsys.readouterr().err


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    wheel = full_wheel(tmp_path, {"pkg/m.so": with_fields(MARKABLE, spare=1)})
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("pkg/m.so", b"x")
    before = wheel.read_bytes()
    assert main(["mark", str(wheel), "--in-place"]) == 4
    assert wheel.read_bytes() == before


def test_a_wheel_without_need_is_copied_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = full_wheel(tmp_path, {"pkg/m.so": with_fields(MARKABLE, flags=0x18)})
    wheel.chmod(0o640)
    assert main(["mark", str(wheel), "-w", str(tmp_path / "out")]) == 0
    copied = tmp_path / "out" / wheel.name
    assert copied.read_bytes() == wheel.read_bytes()
    assert copied.stat().st_mode & 0o777 == 0o640
    (tmp_path / "taken" / wheel.name).mkdir(parents=True)
    capsys.readouterr()
    assert main(["mark", str(wheel), "-w", str(tmp_path / "taken")]) == 2
    assert "it can't be written: Is a directory; hint:" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [wheel.name]


def test_warn_goes_on_where_the_wheel_must_not_change(tmp_path: Path) -> None:
    wheel = full_wheel(tmp_path, {"pkg/m.so": with_fields(MARKABLE, spare=1), "pkg-1.0.dist-info/RECORD.jws": b"x"})
    before, said = wheel.read_bytes(), list[str]()
    guard([wheel], Config(action="warn"), said.append)
    assert wheel.read_bytes() == before
    assert "the wheel is signed" in said[-1]
