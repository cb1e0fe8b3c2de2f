"""Platform tags and a module's own evidence."""

from __future__ import annotations

import pytest

from tests.support.elf_builder import Spec, build
from tls_wheel_guard.elf import BytesSource, SharedObject, read_shared_object
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.inputs.wheel import wheel_tags
from tls_wheel_guard.targets import evidence_of, own_target, parse_tag, promised_by, require_target, targets_for


@pytest.mark.parametrize(
    ("tag", "machine", "libc", "oldest"),
    [
        ("manylinux1_x86_64", "x86_64", "glibc", (2, 5)),
        ("manylinux1_i686", "i386", "glibc", (2, 5)),
        ("manylinux2010_x86_64", "x86_64", "glibc", (2, 12)),
        ("manylinux2014_aarch64", "aarch64", "glibc", (2, 17)),
        ("manylinux_2_28_ppc64le", "ppc64le", "glibc", (2, 28)),
        ("manylinux_2_39_riscv64", "riscv64", "glibc", (2, 39)),
        ("manylinux_2_38_loongarch64", "loongarch64", "glibc", (2, 38)),
        ("manylinux_2_31_armv7l", "arm", "glibc", (2, 31)),
        ("musllinux_1_2_x86_64", "x86_64", "musl", (1, 2)),
        ("musllinux_1_1_armv7l", "arm", "musl", (1, 1)),
        ("linux_x86_64", "x86_64", "unknown", None),
        ("linux_armv6l", "arm", "unknown", None),
        ("android_24_arm64_v8a", "aarch64", "bionic", (24,)),
        ("android_21_armeabi_v7a", "arm", "bionic", (21,)),
        ("android_34_x86", "i386", "bionic", (34,)),
        ("freebsd_14_2_amd64", "x86_64", "freebsd", (14, 2)),
        ("freebsd_14_2_release_amd64", "x86_64", "freebsd", (14, 2)),
        ("freebsd_13_2_release_p4_arm64", "aarch64", "freebsd", (13, 2)),
        ("freebsd_15_0_current_amd64", "x86_64", "freebsd", (15, 0)),
        ("netbsd_10_0_amd64", "x86_64", "netbsd", (10, 0)),
        ("openbsd_7_5_amd64", "x86_64", "openbsd", (7, 5)),
        ("dragonfly_6_4_release_x86_64", "x86_64", "dragonfly", (6, 4)),
        ("solaris_2_11_i86pc_64bit", "x86_64", "illumos", (2, 11)),
        ("haiku_1_r1beta4_x86_64", "x86_64", "haiku", (1,)),
        ("macosx_11_0_arm64", None, "darwin", None),
        ("ios_13_0_arm64_iphoneos", None, "darwin", None),
        ("win_amd64", None, "windows", None),
        ("win32", None, "windows", None),
        ("pyodide_2024_0_wasm32", None, "wasm", None),
        ("any", None, "unknown", None),
    ],
)
def test_tags(tag: str, machine: str | None, libc: str, oldest: tuple[int, ...] | None) -> None:
    target = parse_tag(tag)
    assert target is not None
    assert (target.tag, target.machine, target.libc, target.oldest) == (tag, machine, libc, oldest)


def test_typed_tags_must_be_known() -> None:
    assert require_target("freebsd_14_2_amd64").libc == "freebsd"
    for tag in ("freebsd", "any", "plan9_x86_64", "manylinux_x86_64", ""):
        with pytest.raises(UsageError, match="unknown platform tag"):
            require_target(tag)
    with pytest.raises(UsageError, match="unknown machine 'z80'"):
        require_target("linux_z80")


def test_tags_in_a_wheels_name() -> None:
    assert wheel_tags("a_b-1.0-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl") == (
        "cp39-abi3-manylinux_2_17_x86_64",
        "cp39-abi3-manylinux2014_x86_64",
    )
    assert wheel_tags("a-1.0-1build-py2.py3-none-any.whl") == ("py2-none-any", "py3-none-any")
    assert wheel_tags("a.whl") == wheel_tags("a-1.0.zip") == ()
    assert [t.libc for t in promised_by(["cp39-abi3-manylinux2014_x86_64", "cp39-abi3-musllinux_1_1_x86_64"])] == ["glibc", "musl"]
    assert promised_by(["py3-none-plan9_x86"])[0].libc == "unknown"


def module(**fields: object) -> SharedObject:
    return read_shared_object(BytesSource(build(Spec(**fields))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "path", "libc", "evidence"),
    [
        ({"needed": ("libc.so.6",)}, "x.so", "glibc", "NEEDED libc.so.6"),
        ({"needed": ("libm.so.6",)}, "x-linux-musl.so", "glibc", "NEEDED libm.so.6"),
        ({"needed": ("libc.so",)}, "x-linux-gnu.so", "musl", "NEEDED libc.so"),
        ({"needed": ("libgcc_s-1.so.1", "libc.musl-x86_64.so.1")}, "x.so", "musl", "NEEDED libc.musl-x86_64.so.1"),
        ({"needed": ("libdl.so", "libc.so")}, "x.so", "bionic", "NEEDED libc.so"),
        ({"needed": ("libc.so.7",)}, "x.so", "freebsd", "NEEDED libc.so.7"),
        ({"needed": ("libc.so.12",)}, "x.so", "netbsd", "NEEDED libc.so.12"),
        ({"needed": ("libc.so.99.0",)}, "x.so", "openbsd", "NEEDED libc.so.99.0"),
        ({"note": "Android", "needed": ("libc.so",)}, "x.so", "bionic", "note Android"),
        ({"osabi": 9}, "x.so", "freebsd", "OS/ABI 9"),
        ({"soname": "ld-musl-x86_64.so.1"}, "x.so", "musl", "SONAME ld-musl-x86_64.so.1"),
        ({"soname": "x", "interpreter": "/lib/ld-musl-x86_64.so.1"}, "x.so", "musl", "interpreter /lib/ld-musl-x86_64.so.1"),
        ({}, "m.cpython-312-x86_64-linux-musl.so", "musl", "name m.cpython-312-x86_64-linux-musl.so"),
        ({}, "linux-musl/x.so", "glibc", "assumed"),
    ],
)
def test_evidence(fields: dict[str, object], path: str, libc: str, evidence: str) -> None:
    assert evidence_of(module(**fields), path) == (libc, evidence)


def test_which_promises_count_for_a_module() -> None:
    musl_x86 = module(needed=("libc.musl-x86_64.so.1",))
    both = promised_by(["cp39-abi3-manylinux_2_17_x86_64", "cp39-abi3-musllinux_1_1_x86_64"])
    assert [t.libc for t in targets_for(musl_x86, "x.so", both)] == ["glibc", "musl"]
    same = promised_by(["cp39-abi3-manylinux_2_17_x86_64", "cp39-abi3-manylinux2014_x86_64"])
    assert [t.tag for t in targets_for(musl_x86, "x.so", same)] == ["manylinux_2_17_x86_64"]
    other = promised_by(["cp39-abi3-manylinux_2_17_aarch64"])
    assert [(t.tag, t.libc) for t in targets_for(musl_x86, "x.so", other)] == [("musllinux_x86_64", "musl")]
    linux = promised_by(["cp39-abi3-linux_x86_64"])
    assert [(t.tag, t.libc) for t in targets_for(musl_x86, "x.so", linux)] == [("linux_x86_64", "musl")]
    assert [t.tag for t in targets_for(musl_x86, "x.so", promised_by(["py3-none-any"]))] == ["musllinux_x86_64"]
    assert [t.tag for t in targets_for(musl_x86, "x.so", promised_by(["py3-none-win_amd64"]))] == ["musllinux_x86_64"]
    assert own_target(module(machine="s390x"), "x.so").tag == "linux_s390x"
