"""Wheels built byte by byte in, findings out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.checking import check, found
from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import Config, check_wheel
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.check import check_wheel as judged
from tls_wheel_guard.config.model import Allow
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.rules import RULES


@pytest.mark.parametrize(
    ("tag", "size", "expected"),
    [
        ("manylinux_2_28_x86_64", 64, [("initial-exec-tls", "warning")]),
        ("manylinux_2_28_x86_64", 600, [("initial-exec-tls", "warning"), ("static-tls-crowding", "warning")]),
        ("manylinux_2_28_x86_64", 1664, [("initial-exec-tls", "warning"), ("static-tls-crowding", "warning")]),
        ("manylinux_2_28_x86_64", 1800, [("initial-exec-tls", "error")]),
        ("manylinux1_x86_64", 64, [("initial-exec-tls", "warning")]),
        ("musllinux_1_2_x86_64", 1, [("initial-exec-tls", "error")]),
        ("manylinux2014_x86_64.musllinux_1_1_x86_64", 1, [("initial-exec-tls", "error")]),
        ("android_34_x86_64", 8, [("initial-exec-tls", "error")]),
        ("android_24_x86_64", 8, [("initial-exec-tls", "error"), ("unsupported-elf-tls", "error")]),
        ("freebsd_14_2_amd64", 24, [("initial-exec-tls", "warning")]),
        ("freebsd_14_2_amd64", 25, [("initial-exec-tls", "warning"), ("static-tls-crowding", "warning")]),
        ("freebsd_14_2_amd64", 129, [("initial-exec-tls", "error")]),
        ("netbsd_10_0_amd64", 64, [("initial-exec-tls", "warning"), ("static-tls-crowding", "warning")]),
        ("netbsd_10_0_amd64", 65, [("initial-exec-tls", "error")]),
        ("openbsd_7_5_amd64", 8, [("initial-exec-tls", "error"), ("unsupported-elf-tls", "error")]),
        ("linux_x86_64", 64, [("initial-exec-tls", "warning")]),
        ("any", 64, [("initial-exec-tls", "warning")]),
        ("win_amd64", 64, [("initial-exec-tls", "warning")]),
    ],
)
def test_initial_exec_by_target(tag: str, size: int, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    assert found(check(tmp_path, {"pkg/m.so": ie(size)}, tag)) == expected


def test_no_finding_without_initial_exec(tmp_path: Path) -> None:
    members = {
        "pkg/gd.so": build(Spec(relocs=(Reloc(16), Reloc(17)), tls=Tls(143_000, 4096))),
        "pkg/none.so": build(Spec()),
        "pkg/segment.so": build(Spec(tls=Tls(100))),
        "pkg/tool": ie(interpreter="/lib64/ld-linux-x86-64.so.2"),
        "pkg/pie": ie(flags_1=0x08000000),
        "pkg/m.o": ie(e_type=1),
        "pkg/m.debug": ie(debug=True),
    }
    for tag in ("manylinux1_x86_64", "musllinux_1_1_x86_64", "freebsd_12_0_amd64", "netbsd_10_0_amd64", "android_29_x86_64"):
        report = check(tmp_path, members, tag)
        assert report.findings == ()
        assert len(report.modules) == len(members)


def test_the_message_says_what_happens_to_whom(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/m.so": ie(600)}, "musllinux_1_2_x86_64", targets=("freebsd_14_2_amd64", "freebsd_13_1_amd64"))
    (finding,) = report.findings
    assert "`Error relocating m.so: : initial-exec TLS resolves to dynamic definition in m.so`" in finding.message
    assert "the loader keeps 128 bytes for modules that come after the start and this asks for 600" in finding.message
    assert "`m.so: No space available for static Thread Local Storage`" in finding.message
    assert "LD_STATIC_TLS_EXTRA=1024" in finding.hint
    assert "FreeBSD 13 has no LD_STATIC_TLS_EXTRA yet" in finding.hint
    assert "-ftls-model=global-dynamic" in finding.hint
    assert "--allow 'pkg/m.so:initial-exec-tls:WHY'" in finding.hint
    assert finding.targets == ("musllinux_1_2_x86_64", "freebsd_14_2_amd64", "freebsd_13_1_amd64")
    assert (len(finding.relocs), finding.relocs_total) == (1, 1)


def test_the_story_of_freebsd(tmp_path: Path) -> None:
    """The same code: initial-exec is an error, global-dynamic is silent."""
    dynamic = build(Spec(relocs=(Reloc(16), Reloc(17)), tls=Tls(177, 8, filesz=48)))
    assert check(tmp_path, {"m.so": dynamic}, "freebsd_14_2_amd64").findings == ()
    assert found(check(tmp_path, {"m.so": ie(177)}, "freebsd_14_2_amd64")) == [("initial-exec-tls", "error")]


def test_many_relocations_are_counted_and_cut(tmp_path: Path) -> None:
    data = build(Spec(relocs=tuple(Reloc(18, addend=n % 64) for n in range(100)), tls=Tls(64, 8), flags=0x10))
    (finding,) = check(tmp_path, {"m.so": data}, "manylinux_2_28_x86_64").findings
    assert (len(finding.relocs), finding.relocs_total) == (32, 100)


def test_unflagged(tmp_path: Path) -> None:
    report = check(tmp_path, {"m.so": ie(machine="aarch64", flags=0)}, "manylinux_2_28_aarch64")
    assert found(report) == [("initial-exec-tls", "warning"), ("unflagged-static-tls", "note")]


def test_the_flag_alone_takes_room_on_freebsd(tmp_path: Path) -> None:
    data = build(Spec(relocs=(Reloc(16),), tls=Tls(200, 8), flags=0x10))
    assert found(check(tmp_path, {"m.so": data}, "freebsd_14_2_amd64")) == [("static-tls-overflow", "error")]
    assert found(check(tmp_path, {"m.so": data}, "manylinux_2_28_x86_64")) == []


def test_overflow_with_what_a_module_needs(tmp_path: Path) -> None:
    members = {
        "pkg/ext.so": ie(400, needed=("liba-1234.so", "libc.so.6")),
        "pkg.libs/liba-1234.so": ie(800, soname="liba-1234.so", needed=("libb.so",)),
        "pkg.libs/libb.so": ie(500, soname="libb.so"),
    }
    report = check(tmp_path, members, "manylinux_2_28_x86_64", select=("static-tls-overflow",))
    ((rule, severity),) = found(report)
    assert (rule, severity, report.findings[0].module) == ("static-tls-overflow", "error", "pkg/ext.so")
    assert "pkg.libs/libb.so, pkg.libs/liba-1234.so, pkg/ext.so" in report.findings[0].message


def test_overflow_of_all_modules_together_is_a_warning(tmp_path: Path) -> None:
    members = {f"pkg/m{n}.so": ie(400, soname=f"m{n}.so") for n in range(5)}
    report = check(tmp_path, members, "manylinux_2_28_x86_64", select=("static-tls-overflow",))
    assert [(f.severity, f.module) for f in report.findings] == [("warning", None)]
    del members["pkg/m4.so"]
    assert found(check(tmp_path, members, "manylinux_2_28_x86_64", select=("static-tls-overflow",))) == []


def test_modules_of_one_file_name_each_have_their_needs(tmp_path: Path) -> None:
    members = {f"pkg/{folder}/_ext.so": ie(900, needed=("liba.so",)) for folder in ("one", "two")}
    members["pkg.libs/liba.so"] = ie(900, soname="liba.so")
    report = check(tmp_path, members, "manylinux_2_28_x86_64", select=("static-tls-overflow",))
    assert [(f.severity, f.module) for f in report.findings] == [("error", "pkg/one/_ext.so"), ("error", "pkg/two/_ext.so")]


def test_a_chain_of_needs_may_be_long(tmp_path: Path) -> None:
    members = {f"m{n}.so": ie(2, soname=f"m{n}.so", needed=(f"m{n + 1}.so",)) for n in range(1200)}
    report = check(tmp_path, members, "musllinux_1_2_x86_64", select=("unknown-machine",))
    assert len(report.modules) == 1200


def test_a_cycle_of_needs_ends(tmp_path: Path) -> None:
    members = {"a.so": ie(900, soname="a.so", needed=("b.so",)), "b.so": ie(900, soname="b.so", needed=("a.so", "b.so"))}
    report = check(tmp_path, members, "manylinux_2_28_x86_64", select=("static-tls-overflow",))
    assert {f.severity for f in report.findings} == {"error"}


def test_room_is_a_setting(tmp_path: Path) -> None:
    """One number everywhere, and one finding."""
    report = check(tmp_path, {"m.so": ie(600)}, "manylinux_2_28_x86_64", room=512)
    assert found(report) == [("initial-exec-tls", "error")]
    (finding,) = report.findings
    assert "import fails where 512 bytes are left: it takes 600" in finding.message
    assert [(v.outcome.room, v.outcome.fits_start) for v in finding.verdicts] == [(512, False)]
    for shown in (WRITERS["text"]([report], Style()), WRITERS["text"]([report], Style(verbosity=1))):
        assert "512" in shown
        assert "1,664" not in shown
    crowded = check(tmp_path, {"m.so": ie(400)}, "manylinux_2_28_x86_64", room=512)
    assert found(crowded) == [("initial-exec-tls", "warning"), ("static-tls-crowding", "warning")]
    assert "1,664" not in WRITERS["text"]([crowded], Style(verbosity=1))


def test_one_library_that_many_need_is_one_finding(tmp_path: Path) -> None:
    """libgomp, and twenty extensions that need it and another."""
    libraries = {f"pkg.libs/lib{name}.so": ie(900, soname=f"lib{name}.so") for name in ("gomp", "other")}
    users = {f"pkg/m{number}.so": build(Spec(needed=("libgomp.so", "libother.so"))) for number in range(20)}
    report = check(tmp_path, {**libraries, **users}, "manylinux_2_28_x86_64", select=("static-tls-overflow",))
    assert found(report) == [("static-tls-overflow", "error")]
    report = check(tmp_path, {**libraries, **users}, "manylinux_2_28_x86_64", room=100)
    assert sorted(found(report)) == [("initial-exec-tls", "error")] * 2


FOREIGN = (Sym("theirs"),)


def user(symbol: Sym, **fields: Any) -> bytes:
    return build(Spec(relocs=(Reloc(18, symbol.name),), symbols=(symbol,), flags=0x10, **fields))


@pytest.mark.parametrize(
    ("tag", "symbol", "expected"),
    [
        ("manylinux_2_28_x86_64", Sym("errno", version="GLIBC_PRIVATE"), "note"),
        ("musllinux_1_2_x86_64", Sym("theirs"), "error"),
        ("manylinux_2_28_x86_64", Sym("theirs"), "warning"),
        ("manylinux_2_28_x86_64", Sym("theirs", weak=True), "note"),
        ("musllinux_1_2_x86_64", Sym("theirs", weak=True), "error"),
        ("android_34_x86_64", Sym("theirs"), "error"),
        ("android_34_x86_64", Sym("theirs", weak=True), "note"),
    ],
)
def test_foreign_variables(tag: str, symbol: Sym, expected: str, tmp_path: Path) -> None:
    report = check(tmp_path, {"m.so": user(symbol, needed=("libc.so.6",))}, tag)
    assert found(report) == [("foreign-initial-exec", expected)]
    assert report.findings[0].relocs_total == 1


def test_a_foreign_variable_is_judged_by_its_definer(tmp_path: Path) -> None:
    definer = build(Spec(tls=Tls(5000, 8), symbols=(Sym("theirs", defined=True),), soname="libdef.so"))
    report = check(tmp_path, {"m.so": user(Sym("theirs"), needed=("libdef.so",)), "libdef.so": definer}, "manylinux_2_28_x86_64")
    assert found(report) == [("foreign-initial-exec", "error")]
    assert "theirs (defined in this wheel)" in report.findings[0].message
    assert "libdef.so: cannot allocate memory in static TLS block" in report.findings[0].message


def test_unknown_machine_and_unreadable(tmp_path: Path) -> None:
    members = {"m.so": build(Spec(header=(50, 64, True))), "cut.so": ie()[:300], "tool": build(Spec(header=(50, 64, True), e_type=2))}
    report = check(tmp_path, members, "linux_ia64")
    assert found(report) == [("unknown-machine", "warning"), ("unreadable-module", "warning")]
    assert "EM_IA_64" in report.findings[0].message
    assert {severity for _, severity in found(check(tmp_path, members, "linux_ia64", strict=True))} == {"error"}


def test_select_and_ignore(tmp_path: Path) -> None:
    members = {"m.so": ie(600, flags=0)}
    assert found(check(tmp_path, members, "manylinux_2_28_x86_64", select=("unflagged-static-tls",))) == [("unflagged-static-tls", "note")]
    ignored = tuple(name for name in RULES if name != "static-tls-crowding")
    assert found(check(tmp_path, members, "manylinux_2_28_x86_64", ignore=ignored)) == [("static-tls-crowding", "warning")]


def test_allowing(tmp_path: Path) -> None:
    members = {"pkg/m.so": ie(), "pkg/n.so": ie()}
    allows = (
        Allow("pkg/m.so", "initial-exec-tls", "only ever preloaded"),
        Allow("*/gone.so", "initial-exec-tls", "x"),
        Allow("*/n.so", "initial-exec-tls"),
    )
    report = check(tmp_path, members, "manylinux_2_28_x86_64", allow=allows)
    assert found(report) == [("unused-allow", "note"), ("unexplained-allow", "note")]
    assert [(f.module, f.allowed) for f in report.allowed] == [("pkg/m.so", "only ever preloaded"), ("pkg/n.so", "no reason given")]


def test_own_tags_can_be_left_out(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"m.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64")
    report = judged(wheel, Config(targets=("freebsd_14_2_amd64",)), Asked(own_tags=False))
    assert [t.tag for t in report.targets] == ["freebsd_14_2_amd64"]
    assert found(report)[0] == ("initial-exec-tls", "warning")


def test_a_bare_shared_object(tmp_path: Path) -> None:
    path = tmp_path / "m.so"
    path.write_bytes(ie(needed=("libc.so",)))
    report = check_wheel(path)
    assert (report.path, report.tags, [t.libc for t in report.targets]) == (str(path), (), ["musl"])
    assert found(report) == [("initial-exec-tls", "error")]
    assert check_wheel(str(path)).worst == "error"
