"""The parts of a repair by themselves: the guard, thunks and their proof, flags, frames, layouts, and what is refused."""

from __future__ import annotations

import itertools
import random
import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.repairing import GLIBC, MUSL, build_object, planned, repair_file
from tests.support.toolchain import require
from tls_wheel_guard import check_wheel
from tls_wheel_guard.errors import MalformedElf, Refused
from tls_wheel_guard.machine_code.call_frames import sleb, uleb
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.repair.damage import damage_of
from tls_wheel_guard.repair.elf_file import read_elf_file
from tls_wheel_guard.repair.machine import Site
from tls_wheel_guard.repair.patch import apply_to
from tls_wheel_guard.repair.plan import plan_repair
from tls_wheel_guard.repair.prove import faults, repaired
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.x86_64 import MACHINE
from tls_wheel_guard.repair.x86_64.flags import flags_live
from tls_wheel_guard.repair.x86_64.proof import NAMES, prove
from tls_wheel_guard.repair.x86_64.thunks import GUARD, GUARD_TEXT, thunk

pytestmark = pytest.mark.compiler

AT, DESCRIPTOR, GUARD_AT = 0x5000, 0x9000, 0x4000
ALL_SITES = [
    Site(0x1000, 0x8000, form, register, 7, keep and form == "mov", "")
    for form, register, keep in itertools.product(("mov", "add"), [n for n in range(16) if n != 4], (False, True))
]


def assemble(text: str, folder: Path) -> bytes:
    require("as")
    (folder / "a.s").write_text(text)
    subprocess.run(["as", "-o", str(folder / "a.o"), str(folder / "a.s")], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(folder / "a.o"), str(folder / "a.bin")], check=True)
    return (folder / "a.bin").read_bytes()


def test_the_guard_is_its_text(tmp_path: Path) -> None:
    assert assemble(".text\n" + GUARD_TEXT, tmp_path)[: len(GUARD)] == GUARD
    assert len(GUARD) == 209


@pytest.mark.parametrize("flavour", ["guarded", "plain"])
def test_every_thunk_is_proved(flavour: str) -> None:
    guard = GUARD_AT if flavour == "guarded" else 0
    for site in ALL_SITES:
        piece = thunk(site, flavour, AT, DESCRIPTOR, GUARD_AT)  # type: ignore[arg-type]
        proof = prove(site, MACHINE.redirect(site, AT), AT, piece.code, DESCRIPTOR, guard)
        assert proof.wrong == "", (site, proof.wrong)
        assert 20 < len(piece.code) <= 46


def test_the_proof_sees_every_changed_bit() -> None:
    """Whatever bit of a thunk changes, the proof fails, but for other encodings of the same and for what is pushed only to make room."""
    same = {("48", "49"), ("48", "4a"), ("49", "4b"), ("4c", "4e"), ("50", "51"), ("50", "52"), ("c0", "c8"), ("c0", "d0"), ("c0", "e0")}
    passed = set()
    for site in ALL_SITES:
        if NAMES[site.register] not in ("rax", "r12"):
            continue
        code = thunk(site, "guarded", AT, DESCRIPTOR, GUARD_AT).code
        for place, bit in itertools.product(range(len(code)), range(8)):
            changed = bytearray(code)
            changed[place] ^= 1 << bit
            if not prove(site, MACHINE.redirect(site, AT), AT, bytes(changed), DESCRIPTOR, GUARD_AT).wrong:
                passed.add((f"{code[place]:02x}", f"{changed[place]:02x}"))
    assert passed <= same


@pytest.mark.parametrize(
    ("behind", "live"),
    [
        ("cmp", False), ("mov lea test", False), ("movsd addsd comisd", False), ("jne", True), ("mov adc", True), ("call", True), ("ret", True),
        ("inc dec jb", True), ("mov cmove", True), ("rcl", True), ("cmc", True), ("kortestw", True), ("shl xor", False), ("setb", True),
        ("", True), (" ".join(["mov"] * 64 + ["cmp"]), True),
    ],
)  # fmt: skip
def test_flags(behind: str, live: bool) -> None:
    assert flags_live([(0, 1, name, "") for name in behind.split()]) is live


@pytest.mark.parametrize("number", [0, 1, 63, 64, 127, 128, 300, 1 << 40, -1, -64, -65, -300])
def test_leb128(number: int) -> None:
    def decode(data: bytes) -> int:
        return sum((byte & 0x7F) << 7 * n for n, byte in enumerate(data))

    if number >= 0:
        assert decode(uleb(number)) == number
    signed = sleb(number)
    assert decode(signed) - (1 << 7 * len(signed) if signed[-1] & 0x40 else 0) == number


# What is refused.

IE = '__attribute__((tls_model("initial-exec")))'
PLAIN = f"static __thread int v[99] {IE}; int work(int n) {{ return v[n] += n; }}\n"


def object_of(folder: Path, text: str, *flags: str, name: str = "m.c") -> bytes:
    (folder / name).write_text(text)
    return build_object(folder / name, folder / "m.so", "gcc", "-O1", *flags).read_bytes()


def refused(data: bytes, *targets: Target) -> CannotRepair:
    with pytest.raises(CannotRepair) as caught:
        plan_repair(data, targets or (GLIBC,))
    assert caught.value.hint
    assert caught.value.exit_code == 4
    return caught.value


SWITCHES = "int swapcontext(void *, void *); int turn(void *a, void *b) { return swapcontext(a, b); }"
CODE = {
    "interposer": "void *malloc(unsigned long n) { return (void *)n; } void free(void *p) { (void)p; }",
    "stack-switcher": SWITCHES,
    "go": '__attribute__((section(".gopclntab"))) int go = 1;',
    "signed": '__attribute__((section(".gnupg.sig"))) int signature = 1;',
    "rseq": '__attribute__((section("__rseq_cs"))) long rseq[4] = {1};',
}


@pytest.mark.parametrize("rule", CODE)
def test_code_that_is_refused(rule: str, tmp_path: Path) -> None:
    assert refused(object_of(tmp_path, PLAIN + CODE[rule])).rule == rule
    planned(object_of(tmp_path, PLAIN))


ASSEMBLER = {
    "unknown-form": ["lea v@gottpoff(%rip), %rax", "cmp v@gottpoff(%rip), %rax", "mov v@gottpoff(%rip), %eax", "mov v@gottpoff(%rip), %rsp"],
    "undecodable": [".byte 0x06, 0x06, 0x06\n mov v@gottpoff(%rip), %rax"],
}


@pytest.mark.parametrize(("rule", "line"), [(rule, line) for rule, lines in ASSEMBLER.items() for line in lines])
def test_reads_that_are_refused(rule: str, line: str, tmp_path: Path) -> None:
    """A form that is not in the table, and code that does not decode: the address and the bytes are said."""
    first = "mov v@gottpoff(%rip), %rax\nmov %fs:(%rax), %eax\n"
    text = f'.text\n.globl work\nwork: .cfi_startproc\n{first}{line}\nret\n.cfi_endproc\n.section .tbss,"awT",@nobits\nv: .zero 8\n'
    if "gottpoff" in line and rule == "unknown-form":
        # An assembler takes only the forms of the psABI: the relocation is put beside a form that it does not allow.
        base = line.replace("v@gottpoff(%rip)", "v_slot(%rip)")
        text = text.replace(line, base) + ".hidden v_slot\n"
    data = with_slot(tmp_path, text) if "v_slot" in text else object_of(tmp_path, text, "-nostdlib", name="m.s")
    error = refused(data)
    assert (error.rule, bool(error.found)) == (rule, True)
    assert f"{error.address:#x} ({error.found.hex(' ')})" in error.message


def with_slot(folder: Path, text: str) -> bytes:
    """An object whose second instruction reaches the first's slot: linked once to learn where the slot is."""
    (folder / "m.s").write_text(text)
    flags = ("-nostdlib", "-Wl,--defsym=v_slot=0")
    slot = 0
    for _ in range(2):
        path = build_object(folder / "m.s", folder / "m.so", "gcc", *flags)
        relocs = subprocess.run(["readelf", "-rW", str(path)], check=True, capture_output=True, text=True).stdout
        slot = int(re.search(r"^([0-9a-f]+) .*TPOFF64", relocs, re.MULTILINE)[1], 16)  # type: ignore[index]
        flags = ("-nostdlib", f"-Wl,--defsym=v_slot={slot:#x}")
    return (folder / "m.so").read_bytes()


@pytest.mark.parametrize(
    ("tag", "libc"),
    [("freebsd_14_0_amd64", "freebsd"), ("android_24_x86_64", "bionic"), ("netbsd_10_0_amd64", "netbsd"), ("openbsd_7_5_amd64", "openbsd")],
)
def test_systems_without_descriptors(tag: str, libc: str, tmp_path: Path) -> None:
    error = refused(object_of(tmp_path, PLAIN), GLIBC, Target(tag, "x86_64", libc, None))  # type: ignore[arg-type]
    assert error.rule == "target"
    assert tag in error.message


def test_relocations_that_are_refused(tmp_path: Path) -> None:
    weak = f"extern __thread int gone {IE} __attribute__((weak)); int work(void) {{ return &gone ? gone : 0; }}"
    assert refused(object_of(tmp_path, weak)).rule == "weak-undefined"
    data = bytearray(object_of(tmp_path, PLAIN))
    file = read_elf_file(bytes(data))
    number = next(n for n, section in enumerate(file.sections) if section.name == ".got")
    struct.pack_into("<I", data, file.shoff + 64 * number, next(s.name_index for s in file.sections if s.name == ".text"))
    assert refused(bytes(data)).rule == "relocation"
    assert "outside of the GOT, in .text" in refused(bytes(data)).message


def test_relocations_in_code(tmp_path: Path) -> None:
    """A dynamic relocation that would change a read's bytes, as an object with text relocations may have."""
    data = bytearray(object_of(tmp_path, PLAIN + "int x; int *p = &x;"))
    (site,) = planned(bytes(data)).sites
    file = read_elf_file(bytes(data))
    entry = file.offset_of(file.tag(7), 24, "DT_RELA")
    assert struct.unpack_from("<I", data, entry + 8) == (8,), "no relative relocation to misuse"
    struct.pack_into("<Q", data, entry, site.site.address + 3)
    assert refused(bytes(data)).rule == "relocation"


def test_programs_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text(f"extern __thread int errno_copy {IE}; int main(void) {{ return errno_copy; }}")
    definer = build_object_of(tmp_path, "__thread int errno_copy;")
    subprocess.run(["gcc", "-fPIE", "-pie", "-o", str(tmp_path / "p"), str(tmp_path / "p.c"), str(definer)], check=True)
    try:
        plan = plan_repair((tmp_path / "p").read_bytes(), (GLIBC,))
    except CannotRepair as error:
        assert error.rule == "program"  # noqa: PT017  (a linker may relax the access away)
    else:
        assert plan is None
    data = object_of(tmp_path, PLAIN)
    subprocess.run([require("llvm-strip-19"), "--strip-sections", str(tmp_path / "m.so")], check=True)
    assert refused((tmp_path / "m.so").read_bytes()).rule == "no-section-headers"
    other = bytearray(data)
    other[18:20] = struct.pack("<H", 243)
    assert refused(bytes(other)).rule == "machine"


def build_object_of(folder: Path, text: str) -> Path:
    (folder / "d.c").write_text(text)
    return build_object(folder / "d.c", folder / "libd.so", "gcc")


# Layouts.


def test_flavours(tmp_path: Path) -> None:
    data = object_of(tmp_path, PLAIN, "-nostdlib")
    assert planned(data, (GLIBC,)).flavour == "guarded"
    assert planned(data, (MUSL,)).flavour == "plain"
    assert planned(data, (MUSL, GLIBC)).flavour == "guarded"
    assert planned(object_of(tmp_path, PLAIN, "-Wl,--no-as-needed"), (MUSL,)).flavour == "guarded", "it needs libc.so.6"


def test_patches_are_checked(tmp_path: Path) -> None:
    """A file that is not the one that was planned for is refused."""
    data = object_of(tmp_path, PLAIN)
    plan = planned(data)
    changed = bytearray(data)
    changed[plan.patches[len(plan.patches) // 2].offset] ^= 1
    with pytest.raises(Refused, match="not the ones that were planned"):
        repaired(bytes(changed), plan)


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    data = object_of(tmp_path, PLAIN)
    first, second = repaired(data, planned(data)), repaired(data, planned(data))
    assert first == second != data


def test_the_proof_reads_what_was_left(tmp_path: Path) -> None:
    """Each kind of patch that is left out is seen."""
    data = object_of(tmp_path, PLAIN)
    plan = planned(data)
    for patch in plan.patches:
        left = tuple(other for other in plan.patches if other is not patch)
        result = apply_to(data, left, plan.tail, plan.appended)
        assert list(faults(data, result, replace(plan, patches=left))) != [], patch.why


def test_a_table_of_another_form(tmp_path: Path) -> None:
    """A last function with an exception table: a longer copy of .eh_frame_hdr is made, and its section moves."""
    head = f"struct G {{ ~G(); }}; void call(); static __thread int v[99] {IE};\n"
    text = head + 'extern "C" int work(int n) { G g; call(); return v[n] += n; }\n'
    (tmp_path / "m.cpp").write_text(text)
    path = build_object(tmp_path / "m.cpp", tmp_path / "m.so", "g++", "-O1", "-nostartfiles", "-Wl,--unresolved-symbols=ignore-all")
    plan = repair_file(path, tmp_path / "after.so")
    assert plan.unwinding == "copy"
    run = subprocess.run(["readelf", "-wf", str(tmp_path / "after.so")], capture_output=True, text=True, check=True)
    assert run.stderr == ""


# Damage afterwards.


def test_damage_is_seen(tmp_path: Path) -> None:
    """A changed byte of guard, thunk or site; zeroed code; a section under the program headers; a descriptor without its relocation."""
    data = repaired(object_of(tmp_path, PLAIN), planned(object_of(tmp_path, PLAIN)))
    assert damage_of(data) == ()
    plan = planned(object_of(tmp_path, PLAIN))
    text = read_elf_file(data).section(".tls_guard.text")
    assert text is not None
    site = plan.sites[0].site
    damages = {
        text.offset + 100: b"\xcc",
        text.offset + len(GUARD) + 6: b"\xcc",
        read_elf_file(data).offset_of(site.address, 5, "a site") + 2: b"\xcc",
        text.offset: bytes(text.size),
        plan.slots[0].entry + 8: b"\0",
        56: struct.pack("<H", 30),
    }
    for offset, new in damages.items():
        assert damage_of(data[:offset] + new + data[offset + len(new) :]) != (), offset


def test_the_rule(tmp_path: Path) -> None:
    """`check` says it of a module that was repaired and broken, and nothing of one that was not broken or not repaired."""
    data = repaired(object_of(tmp_path, PLAIN), planned(object_of(tmp_path, PLAIN)))
    path = tmp_path / "r.so"
    path.write_bytes(data)
    assert [finding.rule for finding in check_wheel(path).findings] == []
    text = read_elf_file(data).section(".tls_guard.text")
    assert text is not None
    path.write_bytes(data[: text.offset] + bytes(text.size) + data[text.offset + text.size :])
    (finding,) = check_wheel(path).findings
    assert (finding.rule, finding.severity) == ("damaged-repair", "error")
    assert "is not what was written there" in finding.message
    object_of(tmp_path, "__thread int v[9]; int work(int n) { return v[n]++; }", "-mtls-dialect=gnu2")
    assert [finding.rule for finding in check_wheel(tmp_path / "m.so").findings] == []


def test_damaged_files_are_refused_or_proved(tmp_path: Path) -> None:
    """Files with bytes changed by chance: an error of ours, or a result that passes the proof; never anything else."""
    data = object_of(tmp_path, PLAIN)
    whole = repaired(data, planned(data))
    draw, outcomes = random.Random(16), {"refused": 0, "repaired": 0}
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(draw.choice((1, 2, 4))):
            at = draw.choice((draw.randrange(64), draw.randrange(800), draw.randrange(len(data)), len(data) - 8 - draw.randrange(2500)))
            changed[at : at + 8] = draw.choice((bytes(8), b"\xff" * 8, draw.randbytes(8), bytes(changed[at : at + 7]) + draw.randbytes(1)))
        try:
            plan = plan_repair(bytes(changed), (GLIBC,))
            outcomes["repaired"] += plan is not None and bool(repaired(bytes(changed), plan))
        except (Refused, MalformedElf):
            outcomes["refused"] += 1
        broken = bytearray(whole)
        broken[draw.randrange(len(broken))] ^= 0xFF
        damage_of(bytes(broken))
    assert min(outcomes.values()) > 20, outcomes
