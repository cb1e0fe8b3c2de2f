"""``repair`` on wheels: written whole or not at all, RECORD right, the same bytes each time, a second time nothing."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import pytest

from tests.support.repair_sources import c_source
from tests.support.repairing import build_object
from tests.support.toolchain import require
from tls_wheel_guard import Config, check_wheel, repair_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.archive.record import digest_field, update_record
from tls_wheel_guard.config.model import Allow
from tls_wheel_guard.errors import Refused

pytestmark = pytest.mark.compiler

TAG = "cp312-cp312-manylinux_2_28_x86_64"
INTERPOSER = "void *malloc(unsigned long n) { return (void *)n; } void free(void *p) { (void)p; }"


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("module")
    (folder / "m.c").write_text(c_source(21))
    return build_object(folder / "m.c", folder / "m.so", "gcc", "-O2").read_bytes()


@pytest.fixture(scope="module")
def interposer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("interposer")
    (folder / "m.c").write_text(c_source(21) + INTERPOSER)
    return build_object(folder / "m.c", folder / "m.so", "gcc", "-O2").read_bytes()


def wheel_of(folder: Path, members: dict[str, bytes], name: str = "pkg") -> Path:
    """A wheel as a build backend makes it: modes, dates, a RECORD with all hashes."""
    path = folder / f"{name}-1.0-{TAG}.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        **members,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {TAG}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
    }
    record = "".join(f"{member},{digest_field(hashlib.sha256(data).digest())},{len(data)}\n" for member, data in files.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            entry = zipfile.ZipInfo(member, (2024, 2, 3, 4, 5, 6))
            entry.external_attr = (stat.S_IFREG | (0o755 if member.endswith(".so") else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


def run_command(*words: Path | str, expect: int = 0) -> None:
    assert main(["repair", "--no-config", *map(str, words)]) == expect


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info for info in archive.infolist()}


def assert_record(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(archive.read(name).decode().splitlines())}
        files = [name for name in archive.namelist() if not name.endswith("/")]
        assert sorted(rows) == sorted(files)
        for member in files:
            data = archive.read(member)
            assert member == name or rows[member] == [digest_field(hashlib.sha256(data).digest()), str(len(data))]


def test_a_wheel(module: bytes, tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, {"pkg/__init__.py": b"x = 1\n", "pkg/_m.so": module, "pkg/data.txt": b"data"})
    before = wheel.read_bytes()
    run_command(wheel, "-w", tmp_path / "out")
    result = tmp_path / "out" / wheel.name
    assert wheel.read_bytes() == before
    old, new = members_of(wheel), members_of(result)
    note = "pkg-1.0.dist-info/tls_wheel_guard.json"
    assert [name for name in new if name != note] == list(old)
    assert list(new)[-2:] == [note, "pkg-1.0.dist-info/RECORD"]
    for name, info in old.items():
        assert (new[name].external_attr, new[name].date_time, new[name].compress_type) == (info.external_attr, info.date_time, info.compress_type)
    assert_record(result)
    (found,) = check_wheel(result).modules
    assert (found.shared_object.initial_exec.count, found.shared_object.df_static_tls) == (0, False)
    with zipfile.ZipFile(result) as archive:
        (entry,) = json.loads(archive.read(note))["repaired"]
        assert entry["sha256_after"] == hashlib.sha256(archive.read("pkg/_m.so")).hexdigest()
        assert entry["sha256_before"] == hashlib.sha256(module).hexdigest()


def test_the_same_bytes_each_time_and_nothing_the_second(module: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    for folder in ("a", "b"):
        run_command(wheel, "-w", tmp_path / folder)
    first = (tmp_path / "a" / wheel.name).read_bytes()
    assert first == (tmp_path / "b" / wheel.name).read_bytes()
    assert members_of(tmp_path / "a" / wheel.name)["pkg/_m.so"].date_time[:3] == (2023, 11, 14)
    run_command(tmp_path / "a" / wheel.name, "-w", tmp_path / "again")
    assert first == (tmp_path / "again" / wheel.name).read_bytes()
    run_command(tmp_path / "a" / wheel.name, "--in-place")
    assert first == (tmp_path / "a" / wheel.name).read_bytes()


def test_without_a_note(module: bytes, tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    names = list(members_of(wheel))
    run_command(wheel, "--in-place", "--no-provenance")
    assert list(members_of(wheel)) == names
    assert_record(wheel)


def test_a_note_of_an_earlier_repair_is_kept(module: bytes, interposer: bytes, tmp_path: Path) -> None:
    """One module is allowed at first, and repaired later: the note then speaks of both."""
    wheel = wheel_of(tmp_path, {"pkg/_a.so": module, "pkg/_b.so": module})
    repair_wheel(wheel, tmp_path / "one", Config(allow=(Allow("pkg/_b.so", "initial-exec-tls", "later"),)))
    repair_wheel(tmp_path / "one" / wheel.name, tmp_path / "two")
    with zipfile.ZipFile(tmp_path / "two" / wheel.name) as archive:
        document = json.loads(archive.read("pkg-1.0.dist-info/tls_wheel_guard.json"))
    assert [entry["module"] for entry in document["repaired"]] == ["pkg/_a.so", "pkg/_b.so"]
    assert_record(tmp_path / "two" / wheel.name)


def test_one_refusal_leaves_the_whole_wheel(module: bytes, interposer: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module, "pkg.libs/libm.so": interposer})
    before = wheel.read_bytes()
    run_command(wheel, "-w", tmp_path / "out", expect=4)
    run_command(wheel, "--in-place", expect=4)
    assert wheel.read_bytes() == before
    assert not (tmp_path / "out").exists()
    lines = capsys.readouterr().err.splitlines()
    assert "pkg.libs/libm.so can't be repaired: it exports malloc and free" in lines[0]
    assert "[interposer]; hint: " in lines[0]
    assert lines[1].endswith("nothing was written")
    with pytest.raises(Refused, match=r"pkg\.libs/libm\.so: it exports malloc and free"):
        repair_wheel(wheel, tmp_path / "out")


def test_a_plan_writes_nothing(module: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    run_command(wheel, "--plan", "-w", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    text = capsys.readouterr().out
    assert "reads of" in text
    assert "descriptors in memory behind .bss" in text
    assert "in work" in text
    run_command(wheel, "--plan", "-v")
    lines = capsys.readouterr().out.splitlines()
    assert any("mov rax, qword ptr [rip" in line and "jmp 0x" in line for line in lines)
    assert any(line.strip().endswith("lea rsp, [rsp - 0x80]") for line in lines)


def test_the_document(module: bytes, interposer: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheels = [wheel_of(tmp_path, {"pkg/_m.so": module}), wheel_of(tmp_path, {"bad/_m.so": interposer}, "bad")]
    run_command(*wheels, "-w", tmp_path / "out", "--format", "json", expect=4)
    document = json.loads(capsys.readouterr().out)
    good, bad = document["wheels"]
    assert document["version"] == 1
    assert good["written"] == str(tmp_path / "out" / wheels[0].name)
    (entry,) = good["modules"]
    assert entry["sites"] == sum(entry["forms"].values()) == sum(len(f["sites"]) for f in entry["functions"]) > 10
    assert entry["flavour"] == "guarded"
    assert entry["bytes_added"] == members_of(tmp_path / "out" / wheels[0].name)["pkg/_m.so"].file_size - len(module)
    assert (bad["written"], bad["modules"]) == (None, [])
    (refusal,) = bad["refused"]
    assert (refusal["module"], refusal["rule"], refusal["address"], refusal["bytes"]) == ("bad/_m.so", "interposer", None, None)
    assert refusal["hint"]


def test_a_bare_shared_object(module: bytes, tmp_path: Path) -> None:
    path = tmp_path / "_m.so"
    path.write_bytes(module)
    path.chmod(0o750)
    run_command(path, "-w", tmp_path / "out")
    assert path.read_bytes() == module
    run_command(path, "--in-place")
    assert path.read_bytes() == (tmp_path / "out" / "_m.so").read_bytes() != module
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_targets_without_descriptors(module: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    run_command(wheel, "-w", tmp_path / "out", "--target", "freebsd_14_2_amd64", expect=4)
    assert 'action = "rewrite"' in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["signed", "no record", "no line", "twice", "cut"])
def test_wheels_that_must_not_change(damage: str, module: bytes, tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    with zipfile.ZipFile(wheel) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    if damage == "signed":
        members.append((zipfile.ZipInfo("pkg-1.0.dist-info/RECORD.jws"), b"{}"))
    elif damage == "no record":
        members.pop()
    elif damage == "no line":
        members[-1] = (members[-1][0], b"pkg-1.0.dist-info/RECORD,,\n")
    elif damage == "twice":
        members.insert(1, members[0])
    with warnings.catch_warnings(), zipfile.ZipFile(wheel, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile's own, of a name that is there twice
        for info, data in members:
            archive.writestr(copy.copy(info), data)
    if damage == "cut":
        wheel.write_bytes(wheel.read_bytes()[:-40])
    before = wheel.read_bytes()
    run_command(wheel, "-w", tmp_path / "out", expect=3 if damage == "cut" else 4)
    assert wheel.read_bytes() == before
    assert not list(tmp_path.glob("out/*"))


def test_record_lines() -> None:
    record = b"a.so,sha256=x,1\r\npkg-1.dist-info/RECORD,,\r\n"
    new = update_record(record, {"a.so": ("sha256=y", 2)}, {'b,"c': ("sha256=z", 3)})
    assert new == b'a.so,sha256=y,2\r\n"b,""c",sha256=z,3\r\npkg-1.dist-info/RECORD,,\r\n'
    assert update_record(b"a,x,1", {}, {"b": ("y", 2)}) == b"a,x,1\nb,y,2\n"
    with pytest.raises(Refused, match=r"has no line for b\.so"):
        update_record(record, {"b.so": ("sha256=y", 2)})


def test_folders_that_cannot_be_written(module: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    (tmp_path / "file").write_text("a file where a folder should be")
    run_command(wheel, "-w", tmp_path / "file", expect=2)
    run_command(wheel, "-w", "/proc/no/such", expect=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("it can't be made" in line and "; hint: " in line for line in lines)


def _small_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_full_disk(module: bytes, tmp_path: Path) -> None:
    """No file can become longer than 4 KiB: one line, no half wheel, the input as it was."""
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module, "pkg/more.bin": random.Random(1).randbytes(9000)})
    before = wheel.read_bytes()
    command = [sys.executable, "-m", "tls_wheel_guard", "repair", str(wheel), "-w", str(tmp_path / "out")]
    run = subprocess.run(command, preexec_fn=_small_files, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert "it can't be written: File too large" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert wheel.read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == []


def test_killed(module: bytes, tmp_path: Path) -> None:
    """Killed at four moments, in place: the old wheel or the new one under its name, never a half."""
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module, "pkg/more.bin": random.Random(2).randbytes(3 << 20)})
    before = wheel.read_bytes()
    run_command(wheel, "-w", tmp_path / "whole")
    after = (tmp_path / "whole" / wheel.name).read_bytes()
    command = [sys.executable, "-m", "tls_wheel_guard", "repair", "--no-config", str(wheel), "--in-place"]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    length = time.monotonic() - started
    assert wheel.read_bytes() == after
    draw = random.Random(3)
    for _ in range(4):
        wheel.write_bytes(before)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.3, 1) * length)
        process.kill()
        process.wait()
        assert wheel.read_bytes() in (before, after)


def test_capstone_is_asked_for(module: bytes, tmp_path: Path) -> None:
    """Without the extra the command says what to install."""
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    code = "import sys; sys.modules['capstone'] = None; from tls_wheel_guard.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "repair", str(wheel), "-w", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "pip install 'tls-wheel-guard[repair]'" in run.stderr


# auditwheel first


def test_after_auditwheel(module: bytes, tmp_path: Path) -> None:
    """auditwheel grafts this machine's libgomp; then both modules are repaired, last of all."""
    require("patchelf") if shutil.which("auditwheel") else pytest.importorskip("auditwheel")
    source = '#include <omp.h>\nstatic __thread int v __attribute__((tls_model("initial-exec")));\nint work(int n) { int s = 0;\n'
    (tmp_path / "m.c").write_text(source + "#pragma omp parallel for reduction(+:s)\nfor (int i = 0; i < n; i++) s += i + v++;\nreturn s; }\n")
    path = build_object(tmp_path / "m.c", tmp_path / "m.so", "gcc", "-O2", "-fopenmp")
    wheel = wheel_of(tmp_path, {"pkg/_m.so": path.read_bytes()})
    linux = wheel.rename(wheel.with_name(wheel.name.replace("manylinux_2_28", "linux")))
    run_command(linux, "--auditwheel=--plat auto", "-w", tmp_path / "out")
    (result,) = (tmp_path / "out").iterdir()
    assert "manylinux" in result.name
    report = check_wheel(result)
    assert any("libgomp" in found.path for found in report.modules)
    assert [found.shared_object.initial_exec.count for found in report.modules] == [0] * len(report.modules)
    assert_record(result)
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(result) as archive:
        archive.extractall(unpacked)
    code = f"import ctypes; print(ctypes.CDLL({str(unpacked / 'pkg' / '_m.so')!r}).work(1000))"
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == str(sum(range(1000)) + sum(range(1000))), run.stderr


def test_words_for_auditwheel(module: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = wheel_of(tmp_path, {"pkg/_m.so": module})
    run_command(wheel, "--auditwheel='", expect=2)
    run_command(wheel, "--auditwheel=-w elsewhere", expect=2)
    run_command(wheel, "--auditwheel=--no-such-option", "-w", tmp_path / "out", expect=4)
    assert main(["repair", str(wheel), "--auditwheel", "", "--in-place"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all("; hint: " in line for line in lines)
    assert len(lines) == 4
    assert not (tmp_path / "out").exists()


def test_before_auditwheel_that_strips(tmp_path: Path) -> None:
    """The other order: a repaired module that auditwheel strips and gives a new run path is whole and computes the same."""
    require("patchelf") if shutil.which("auditwheel") else pytest.importorskip("auditwheel")
    source = "#include <omp.h>\n" + c_source(22) + "int threads(void) { return omp_get_max_threads() > 0; }\n"
    (tmp_path / "m.c").write_text(source)
    path = build_object(tmp_path / "m.c", tmp_path / "m.so", "gcc", "-O2", "-fopenmp", "-Wl,--no-as-needed")
    wheel = wheel_of(tmp_path, {"pkg/_m.so": path.read_bytes()})
    linux = wheel.rename(wheel.with_name(wheel.name.replace("manylinux_2_28", "linux")))
    run_command(linux, "-w", tmp_path / "repaired")
    tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "auditwheel", "repair", "--strip", "--plat", "auto", "-w", str(tmp_path / "out")]
    subprocess.run([*command, str(tmp_path / "repaired" / linux.name)], check=True, capture_output=True, env=tools)
    (result,) = (tmp_path / "out").iterdir()
    with zipfile.ZipFile(result) as archive:
        archive.extractall(tmp_path / "unpacked")
        stripped = archive.read("pkg/_m.so")
    assert b".tls_guard.text" in stripped
    assert b".symtab" not in stripped
    assert [finding.module for finding in check_wheel(result).findings if finding.rule == "damaged-repair"] == []
    code = "import ctypes, sys; f = ctypes.CDLL(sys.argv[1]).work; f.argtypes, f.restype = [ctypes.c_ulong], ctypes.c_ulong; print(f(3), f(4))"
    runs = [
        subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=False)
        for place in (path, tmp_path / "unpacked" / "pkg" / "_m.so")
    ]
    assert runs[0].stdout == runs[1].stdout != "", runs[1].stderr
