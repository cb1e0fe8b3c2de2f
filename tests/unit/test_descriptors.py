"""Descriptors as files, loaders' tables, findings and documents see them; the code analysis on a few bytes and on damage."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.checking import check, found
from tests.support.demands import module
from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.toolchain import require
from tls_wheel_guard import Config
from tls_wheel_guard.commands.check import Asked, check_wheel
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.got_entries import read_got_entries
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.loaders import Given, Open, loader_called
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites, find_descriptor_sites
from tls_wheel_guard.machine_code.frame_depth import depth_at
from tls_wheel_guard.machine_code.vector_registers import mask_bit, names, register_bits
from tls_wheel_guard.report.json import document
from tls_wheel_guard.rules import LiveProcess

pytestmark = pytest.mark.compiler

NUMBERS = {"x86_64": 36, "i386": 41, "aarch64": 1031, "arm": 13, "riscv64": 12, "loongarch64": 14}
KEEPS = "__thread char big[SIZE] = {1};\ndouble f(double a, double b) { big[0]++; return a * b + a; }\n"


def descriptor(machine: str = "x86_64", size: int = 16, plt: bool = False, **more: Any) -> bytes:
    return build(Spec(machine=machine, relocs=(Reloc(NUMBERS[machine]),), tls=Tls(size), table="jmprel" if plt else None, **more))


def compiled(folder: Path, size: int = 16, *flags: str, source: str = KEEPS) -> bytes:
    (folder / "k.c").write_text(source)
    command = [
        require("gcc"),
        "-O2",
        "-fPIC",
        "-shared",
        "-mtls-dialect=gnu2",
        f"-DSIZE={size}",
        *flags,
        "-o",
        str(folder / "k.so"),
        str(folder / "k.c"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "k.so").read_bytes()


# ---- files


@pytest.mark.parametrize("machine", NUMBERS)
@pytest.mark.parametrize("plt", [False, True])
def test_the_table_is_that_of_the_first_descriptor(machine: str, plt: bool) -> None:
    facts = read_shared_object(BytesSource(descriptor(machine, plt=plt)))
    assert (facts.dynamic.tlsdesc, facts.dynamic.descriptors_in_plt) == (1, plt)


def test_marker_versions_are_read_where_they_can_matter() -> None:
    marked = descriptor(markers=("GLIBC_ABI_GNU2_TLS", "GLIBC_2.5"))
    assert read_shared_object(BytesSource(marked)).markers == ("GLIBC_ABI_GNU2_TLS",)
    other = build(Spec(relocs=(Reloc(16), Reloc(17)), tls=Tls(8), markers=("GLIBC_ABI_GNU2_TLS",)))
    assert read_shared_object(BytesSource(other)).markers == ()
    small = build(Spec(machine="i386", relocs=(Reloc(35), Reloc(36)), tls=Tls(8), markers=("GLIBC_ABI_GNU_TLS",)))
    assert read_shared_object(BytesSource(small)).markers == ("GLIBC_ABI_GNU_TLS",)


def test_got_entries_beside_readelf(tmp_path: Path) -> None:
    source = KEEPS + "void g(void); void other(void);\nvoid g(void) { other(); }\nvoid h(void) { g(); }\n"
    data = compiled(tmp_path, 8, "-Wl,-z,lazy", source=source)
    entries = read_got_entries(BytesSource(data))
    text = subprocess.run(["readelf", "-rW", str(tmp_path / "k.so")], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines() if line[:1] == "0"]
    assert entries.descriptors == tuple(int(row[0], 16) for row in rows if row[2] == "R_X86_64_TLSDESC") != ()
    named = {name: address for _, (address, name) in entries.functions}
    assert named["other"] is None
    assert named["g"] == next(int(row[3], 16) for row in rows if row[4:5] == ["g"])


# ---- loaders


@pytest.mark.parametrize(
    ("loader", "machine", "words"),
    [
        ("glibc-2.31", "riscv64", ("d.so: unexpected reloc type 0x0c",) * 2),
        ("glibc-2.43", "riscv64", ("d.so: unexpected reloc type 0x0c",) * 2),
        ("glibc-2.39", "loongarch64", ("d.so: unexpected reloc type 0x0e",) * 2),
        ("glibc-2.40", "loongarch64", (None, None)),
        ("glibc-2.17", "x86_64", (None, None)),
        ("musl-1.2.3", "riscv64", ("Error relocating d.so: unsupported relocation type 12",) * 2),
        ("musl-1.2.5", "riscv64", (None, None)),
        ("musl-1.1", "arm", (None, None)),
        ("musl-1.1.20", "arm", ("Error relocating d.so: unsupported relocation type 13",) * 2),
        ("musl-1.2.3", "x86_64", (None, None)),
        ("bionic-34", "x86_64", ('dlopen failed: unknown reloc type 36 in "d.so"',) * 2),
        ("bionic-34", "aarch64", (None, None)),
        ("freebsd-14.1", "i386", ("d.so: Unsupported relocation type 41 in non-PLT relocations", "Unknown relocation type 29 in PLT")),
        ("dragonfly-6.4", "x86_64", ("d.so: Unsupported relocation type 36 in non-PLT relocations", "Unknown relocation type 24 in PLT")),
        ("freebsd-16.0", "x86_64", (None, None)),
        ("freebsd-14.1", "aarch64", (None, None)),
    ],
)
def test_words_by_loader_machine_and_table(loader: str, machine: str, words: tuple[str | None, str | None]) -> None:
    model = loader_called(loader, machine)
    for in_plt, said in enumerate(words):
        late = replace(module("d.so", 8, 8, machine=machine, static=False, descriptors=True), descriptors_in_plt=bool(in_plt))
        _, step = model.step(model.fresh, Open(late, Given()))
        assert (step.loads, step.error, step.reason) == (said is None, said, None if said is None else "descriptors")


def test_netbsd_refuses_one_table_and_jumps_through_the_other() -> None:
    model, late = loader_called("netbsd-10"), module("d.so", 8, 8, static=False, descriptors=True)
    _, step = model.step(model.fresh, Open(late, Given()))
    assert step.error == "d.so: Unsupported relocation type 36 in non-PLT relocations"
    _, step = model.step(model.fresh, Open(replace(late, descriptors_in_plt=True), Given()))
    assert step.loads
    assert step.unsafe


def test_registers_are_lost_only_in_old_versions_and_dynamic_blocks() -> None:
    late = replace(module("d.so", 600, 8, static=False, descriptors=True), calls_that_keep=3)
    for version, lost in (("2.31", False), ("2.32", True), ("2.39", True), ("2.40", False)):
        model = loader_called(f"glibc-{version}")
        _, step = model.step(model.fresh, Open(late, Given()))
        assert (step.loads, step.reason) == (True, "registers" if lost else None), version
    model = loader_called("glibc-2.36")
    small = replace(late, demand=replace(late.demand, block_size=500))
    assert model.step(model.fresh, Open(small, Given()))[1].reason is None
    assert model.step(replace(model.fresh, optional=499), Open(small, Given()))[1].reason == "registers"
    assert model.step(model.fresh, Open(replace(late, calls_that_keep=0), Given()))[1].reason is None


# ---- findings


@pytest.mark.parametrize(
    ("tag", "machine", "expected"),
    [
        ("freebsd_14_0_amd64", "x86_64", [("unsupported-descriptors", "error")]),
        ("freebsd_16_0_amd64", "x86_64", []),
        ("android_34_x86_64", "x86_64", [("unsupported-descriptors", "error")]),
        ("android_34_arm64_v8a", "aarch64", []),
        ("manylinux_2_17_aarch64", "aarch64", []),
        ("manylinux_2_39_riscv64", "riscv64", [("unsupported-descriptors", "error")]),
        ("musllinux_1_2_riscv64", "riscv64", [("unsupported-descriptors", "error")]),
        ("musllinux_1_1_x86_64", "x86_64", []),
        ("manylinux1_x86_64", "x86_64", []),
        ("netbsd_10_0_amd64", "x86_64", [("unsupported-descriptors", "error")]),
    ],
)
@pytest.mark.parametrize("plt", [False, True])
def test_unsupported_descriptors(tag: str, machine: str, expected: list[tuple[str, str]], plt: bool, tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/m.so": descriptor(machine, plt=plt)}, tag)
    assert found(report) == expected
    if expected:
        table = "DT_JMPREL" if plt else "DT_RELA"
        assert f"1 TLS descriptor ({table})" in report.findings[0].message
        assert "-mtls-dialect=" in report.findings[0].hint


@pytest.mark.parametrize(("tag", "refused"), [("manylinux_2_17_x86_64", True), ("manylinux_2_42_x86_64", True), ("manylinux_2_43_x86_64", False)])
def test_missing_libc_version(tag: str, refused: bool, tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/m.so": descriptor(markers=("GLIBC_ABI_GNU2_TLS",))}, tag)
    assert found(report) == ([("missing-libc-version", "error")] if refused else [])
    if refused:
        assert "`libc.so.6: version `GLIBC_ABI_GNU2_TLS' not found (required by m.so)`" in report.findings[0].message


@pytest.mark.parametrize(
    ("tag", "size", "strict", "expected"),
    [
        ("manylinux_2_28_x86_64", 16, False, [("descriptor-clobber", "note")]),
        ("manylinux_2_28_x86_64", 600, False, [("descriptor-clobber", "warning")]),
        ("manylinux_2_28_x86_64", 600, True, [("descriptor-clobber", "error")]),
        ("manylinux_2_40_x86_64", 600, False, []),
        ("musllinux_1_2_x86_64", 600, False, []),
        ("manylinux_2_17_x86_64", 600, False, [("descriptor-clobber", "warning")]),
    ],
)
def test_descriptor_clobber(tag: str, size: int, strict: bool, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/k.so": compiled(tmp_path, size)}, tag, strict=strict)
    assert found(report) == expected
    (reported,) = report.modules
    assert [v.verdict for v in reported.verdicts] == ["unsafe" if expected and size > 512 else "always"]
    if expected:
        assert "1 of 1 TLS descriptor call (1 function, such as `f`)" in report.findings[0].message
        (entry,) = document([report])["wheels"][0]["modules"]
        calls = entry["descriptor_calls"]
        assert (calls["count"], calls["kept_total"], calls["kept"][0]["function"]) == (1, 1, "f")
        assert calls["kept"][0]["registers"] == ["xmm0", "xmm1"]


def test_code_that_keeps_nothing_is_silent(tmp_path: Path) -> None:
    source = "__thread char big[SIZE] = {1};\nint f(void) { return big[0]++; }\n"
    assert found(check(tmp_path, {"pkg/k.so": compiled(tmp_path, 600, source=source)}, "manylinux_2_34_x86_64")) == []


def test_other_modules_of_the_wheel_may_take_the_optional_part(tmp_path: Path) -> None:
    members = {"pkg/a.so": descriptor(size=480), "pkg/k.so": compiled(tmp_path, 200)}
    report = check(tmp_path, members, "manylinux_2_34_x86_64")
    assert found(report) == [("descriptor-clobber", "warning")]
    assert "all modules here are loaded" in report.findings[0].message


def test_a_live_process_decides(tmp_path: Path) -> None:
    compiled(tmp_path, 200)
    model = loader_called("glibc-2.36")
    for optional, severity in ((512, "note"), (100, "warning")):
        live = LiveProcess("python3", "x86_64", replace(model.fresh, optional=optional))
        report = check_wheel(tmp_path / "k.so", Config(), Asked(live=live))
        assert found(report) == [("descriptor-clobber", severity)]


def test_without_a_decoder_a_note_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = compiled(tmp_path, 600)
    monkeypatch.setitem(sys.modules, "capstone", None)
    report = check(tmp_path, {"pkg/k.so": data}, "manylinux_2_34_x86_64")
    assert found(report) == [("descriptor-clobber", "note")]
    assert "was not checked: capstone is not installed" in report.findings[0].message


def test_nothing_is_loaded_for_files_without_descriptors(tmp_path: Path) -> None:
    (tmp_path / "m.so").write_bytes(build(Spec(relocs=(Reloc(16), Reloc(17)), tls=Tls(8))))
    script = (
        "import sys; from tls_wheel_guard import check_wheel; check_wheel(sys.argv[1]);"
        "print([m for m in sys.modules if 'machine_code' in m or 'capstone' in m or m.endswith(('commands.descriptors', 'got_entries'))])"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "m.so")], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---- code


def sites_of(data: bytes, room: int = 1 << 20) -> DescriptorSites:
    source = BytesSource(data)
    entries = read_got_entries(source)
    functions = dict(entries.functions)
    return find_descriptor_sites(
        read_code(source, "x86_64"), entries.descriptors, entries.own, lambda slot: functions.get(slot, (None, "")), room
    )


def test_what_can_not_be_read_is_counted(tmp_path: Path) -> None:
    whole = compiled(tmp_path, 16)
    (site,) = sites_of(whole).sites
    broken = bytearray(whole)
    broken[site.address - 20 : site.address - 16] = b"\x06\x06\x06\x06"
    assert [reason.split(" at ")[0] for _, reason in sites_of(bytes(broken)).unread] in (["the code"], [])
    assert not sites_of(bytes(broken)).kept or sites_of(bytes(broken)).sites
    bare = compiled(tmp_path, 16, "-fno-asynchronous-unwind-tables", "-fno-unwind-tables")
    assert sites_of(bare) == DescriptorSites((), sites_of(bare).unread)
    assert len(sites_of(bare).unread) == 1
    assert "more code than is followed" in sites_of(whole, room=4).unread[0][1]


def test_computed_jumps_are_not_guessed(tmp_path: Path) -> None:
    source = KEEPS + (
        "double g(const unsigned char *p, double a) { static void *go[] = {&&x, &&y, &&z}; double r = a; goto *go[*p++];\n"
        "x: big[1]++; r += a; goto *go[*p++]; y: r *= a; goto *go[*p++]; z: return r; }\n"
    )
    result = sites_of(compiled(tmp_path, 16, source=source))
    assert [site.address for site in result.kept]
    assert ["targets of" in reason for _, reason in result.unread] == [True]


def test_damage_never_hangs_or_raises_what_nobody_expects(tmp_path: Path) -> None:
    whole = compiled(tmp_path, 16)
    for at in range(64, len(whole), 37):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        try:
            sites_of(bytes(damaged))
        except MalformedElf:
            continue


def test_a_module_over_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/k.so": compiled(tmp_path, 600)}, "manylinux_2_34_x86_64", limits=("traced-size=1000",))
    assert "limit traced-size" in report.findings[0].message


def test_depth_of_a_frame() -> None:
    program = bytes([0x41, 0x0E, 16, 0x86, 2, 0x43, 0x0E, 48, 0x50, 0x0A, 0x0E, 8, 0x41, 0x0B])
    assert [depth_at(program, at) for at in (0, 1, 4, 19, 20, 21)] == [0, 8, 40, 40, 0, 40]
    assert depth_at(bytes([0x41, 0x0D, 6]), 1) is None
    assert depth_at(bytes([0x41, 0x0E]), 1) is None


def test_names_of_registers() -> None:
    assert list(names(register_bits(3, 0b1) | register_bits(4, 0b1000) | register_bits(31) | mask_bit(33))) == ["xmm3", "ymm4", "zmm31", "k1"]


def test_a_call_behind_another_one_of_its_function_is_never_a_first_use(tmp_path: Path) -> None:
    """The block is there since the first call; where a way goes around that one, the later call may be the first."""
    source = """
    __thread char big[900]; __thread long n[2];
    double once(double a) { return a + big[0]; }
    double behind(const double *p) { double a = p[n[0] & 1]; return a * big[0] + a; }
    double around(const double *p, long k) { double a = p[0]; if (k) a += n[0]; return a * big[0] + a; }
    """
    names = {"once": 0, "behind": 1, "around": 0}
    data = compiled(tmp_path, 900, source=source)
    result = sites_of(data)
    nm = subprocess.run([require("nm"), "-D", "--defined-only", str(next(tmp_path.glob("*.so")))], capture_output=True, text=True, check=True)
    starts = {int(row[0], 16): row[2] for row in map(str.split, nm.stdout.splitlines())}
    later = {starts[site.function] for site in result.sites if site.kept and site.later}
    assert {starts[site.function] for site in result.kept} == {name for name, hidden in names.items() if not hidden}
    assert later >= {"behind"}
