"""Descriptors beside real loaders: who opens them and in which words not, the version that new linkers ask for, values that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.auditwheel import auditwheel_site
from tests.support.elf_builder import Reloc, Spec, Tls, build
from tests.support.runtimes import Runtime, emulated, musl, native, release
from tests.support.toolchain import DESCRIPTORS, SOURCES, compile_shared, require
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import check_wheel
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.loaders import Given, Open, Step, loader_called
from tls_wheel_guard.tls import tls_module

pytestmark = [pytest.mark.compiler, pytest.mark.emulated, pytest.mark.network]

NUMBERS = {"x86_64": 36, "i386": 41, "aarch64": 1031, "arm": 13, "riscv64": 12}
PLACES = [
    "native", "musl", "i386", "aarch64", "arm", "riscv64",
    *(f"{suite}/{machine}" for suite in ("bullseye", "trixie", "sid") for machine in ("x86_64", "aarch64", "arm")),
    "bullseye/i386", "trixie/i386", "trixie/riscv64", "sid/riscv64",
]  # fmt: skip
"""Not i386 of sid: there any dlopen crashes in the unpacked release, with TLS or without."""
KEEPS = "__thread char big[SIZE] = {1};\ndouble f(double a, double b) { big[0]++; return a * b + a; }\n"


def place_called(name: str) -> Runtime:
    suite, _, machine = name.partition("/")
    return {"native": native, "musl": musl}[name]() if name in ("native", "musl") else release(suite, machine) if machine else emulated(name)


def model_of(place: Runtime, data: bytes, path: Path) -> Step:
    """What the model says of one dlopen; versions of musl are taken as measured."""
    model = loader_called(f"{place.libc}-{'.'.join(map(str, place.version))}", place.machine)
    step: Step = model.step(model.fresh, Open(tls_module(read_shared_object(BytesSource(data)), str(path)), Given()))[1]
    return step


@pytest.mark.parametrize("name", PLACES)
def test_a_loader_opens_descriptors_or_says_what_its_model_says(name: str, tmp_path: Path) -> None:
    place = place_called(name)
    path, source = tmp_path / "d.so", tmp_path / "d.c"
    source.write_text("__thread int v = 1;\nint *f(void) { return &v; }\n")
    data = compile_shared(DESCRIPTORS[place.machine], source, path)
    facts = read_shared_object(BytesSource(data))
    assert facts.dynamic.tlsdesc == 1
    assert facts.dynamic.descriptors_in_plt == (place.machine != "riscv64"), "GNU ld writes DT_JMPREL, lld DT_RELA"
    (said,) = place.open_in_turn(path)
    assert said.replace(f"{tmp_path}/", "") == (model_of(place, data, path).error or "")
    if place.machine == "riscv64":
        assert "unexpected reloc type 0x0c" in said


@pytest.mark.parametrize("name", ["native", "bullseye/x86_64", "trixie/x86_64", "sid/x86_64", "bullseye/i386", "i386"])
def test_the_marker_version(name: str, tmp_path: Path) -> None:
    """An object as a linker makes it that adds GLIBC_ABI_GNU2_TLS. Debian's 2.41 is an updated one: it has the version already."""
    place = place_called(name)
    path = tmp_path / "d.so"
    spec = Spec(
        machine=place.machine, relocs=(Reloc(NUMBERS[place.machine]),), tls=Tls(16), needed=("libc.so.6",), markers=("GLIBC_ABI_GNU2_TLS",)
    )
    data = build(spec)
    path.write_bytes(data)
    (said,) = place.open_in_turn(path)
    words = model_of(place, data, path).error or ""
    if place.version == (2, 41):
        assert (said, words) == ("", "libc.so.6: version `GLIBC_ABI_GNU2_TLS' not found (required by d.so)")
    else:
        assert said.rpartition("/libc.so.6")[1:] == ("/libc.so.6" if words else "", said.rpartition("/libc.so.6")[2])
        assert said.replace(f"{tmp_path}/", "").rpartition("/")[2] == words
        assert bool(words) == (place.version < (2, 41))


def shown_by_auditwheel(folder: Path, data: bytes) -> str:
    """What `auditwheel show` says of a wheel with one extension; it looks at the files that RECORD lists."""
    info, tag = "pkg-1.0.dist-info", "cp311-cp311-linux_x86_64"
    members = {
        "pkg/k.cpython-311-x86_64-linux-gnu.so": data,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*members, f"{info}/RECORD")).encode()
    wheel = make_wheel(folder, members, tag, metadata=False)
    environment = {**os.environ, "PYTHONPATH": str(auditwheel_site())}
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_auditwheel_has_no_policy_for_it(tmp_path: Path) -> None:
    """A stub of libc.so.6 gives the version to a symbol, as a linker gives it to none."""
    gcc = [require("gcc"), "-O2", "-fPIC", "-shared", "-nostdlib"]
    (tmp_path / "stub.c").write_text("void marker(void) {}\n")
    (tmp_path / "stub.map").write_text("GLIBC_ABI_GNU2_TLS { global: marker; };\n")
    stub = ["-Wl,--version-script=stub.map", "-Wl,-soname,libc.so.6", "-o", "libc.so.6", "stub.c"]
    subprocess.run([*gcc, *stub], check=True, capture_output=True, cwd=tmp_path)
    (tmp_path / "k.c").write_text("void marker(void);\n__thread int v;\nvoid *PyInit_k(void) { MARK; return &v; }\n")
    answers = []
    for name, mark in (("plain.so", "(void)0"), ("marked.so", "marker()")):
        subprocess.run(
            [*gcc, "-mtls-dialect=gnu2", f"-DMARK={mark}", "-o", name, "k.c", "./libc.so.6"], check=True, capture_output=True, cwd=tmp_path
        )
        data = (tmp_path / name).read_bytes()
        assert bool(read_shared_object(BytesSource(data)).markers) == (name == "marked.so")
        answers.append(shown_by_auditwheel(tmp_path, data).replace("\n", " "))
    assert 'tag: "manylinux' in answers[0], answers[0]
    assert 'tag: "linux_x86_64"' in answers[1], answers[1]


@pytest.mark.parametrize(("name", "wrong"), [("native", True), ("bullseye/x86_64", True), ("trixie/x86_64", False), ("sid/x86_64", False)])
def test_values_are_wrong_where_the_model_says_so(name: str, wrong: bool, tmp_path: Path) -> None:
    """The system's own malloc; 15 is right. 4 KiB of variables are never static; on 2.31 as in Debian descriptors have 512 bytes too."""
    place = place_called(name)
    (tmp_path / "k.c").write_text(KEEPS)
    output = tmp_path / "k.so"
    command = [require("gcc"), "-O2", "-fPIC", "-shared", "-mtls-dialect=gnu2", "-DSIZE=4096", "-o", str(output), str(tmp_path / "k.c")]
    subprocess.run(command, check=True, capture_output=True)
    run = subprocess.run(place.command(place.program(SOURCES / "clobber_host.c", "-pthread"), output), capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [f"{0 if wrong else 15} 15"] * 3
    report = check_wheel(make_wheel(tmp_path, {"pkg/k.so": output.read_bytes()}, "cp311-cp311-manylinux_{}_{}_x86_64".format(*place.version)))
    assert [(f.rule, f.severity) for f in report.findings] == ([("descriptor-clobber", "warning")] if wrong else [])
