"""The writers, and that every document fits the schema that ships."""

from __future__ import annotations

import json
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.checking import check
from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.config.model import Allow
from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import WRITERS, Anchor, Style
from tls_wheel_guard.report.style import printable

SCHEMA = json.loads(resources.files("tls_wheel_guard.report").joinpath("schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def valid(*reports: Report) -> dict[str, Any]:
    text = WRITERS["json"](reports, Style())
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    VALIDATOR.validate(found)
    return found


def test_the_document_of_the_contract(tmp_path: Path) -> None:
    data = build(Spec(relocs=(Reloc(18), Reloc(18, addend=8), Reloc(16)), tls=Tls(569, 8, filesz=64), needed=("libc.so",), flags=0x10))
    found = valid(check(tmp_path, {"pkg/m.so": data}, "musllinux_1_1_x86_64"))
    (wheel,) = found["wheels"]
    assert wheel["tags"] == ["cp312-cp312-musllinux_1_1_x86_64"]
    assert wheel["targets"] == [{"tag": "musllinux_1_1_x86_64", "machine": "x86_64", "libc": "musl", "oldest": "1.1"}]
    (module,) = wheel["modules"]
    assert module == {
        "path": "pkg/m.so",
        "kind": "shared",
        "machine": "x86_64",
        "soname": None,
        "needed": ["libc.so"],
        "tls_segment": {"filesz": 64, "memsz": 569, "align": 8},
        "initial_exec": {"count": 2, "types": {"R_X86_64_TPOFF64": 2}, "own": 2, "foreign": 0, "symbols": [], "addends": [0, 8]},
        "dynamic": {"dtpmod": 1, "tlsdesc": 0},
        "df_static_tls": True,
        "dynamic_relocations": 3,
        "verdicts": [
            {
                "target": "musllinux_1_1_x86_64",
                "loader": "musl",
                "verdict": "never",
                "taken": 569,
                "error": "Error relocating m.so: : initial-exec TLS resolves to dynamic definition in m.so",
            }
        ],
    }
    (finding,) = wheel["findings"]
    assert (finding["rule"], finding["severity"], finding["targets"]) == ("initial-exec-tls", "error", ["musllinux_1_1_x86_64"])
    assert [r["type"] for r in finding["relocations"]] == ["R_X86_64_TPOFF64"] * 2
    assert found["summary"] == {"wheels": 1, "modules": 1, "error": 1, "warning": 0, "note": 0}


def test_glibc_says_whether_it_fits_a_fresh_process(tmp_path: Path) -> None:
    """A fresh process of glibc 2.36 has 1,712 bytes left; 1,664 is what every release has."""
    for size, oldest, current in ((64, {True}, {True}), (1664, {True}, {True}), (1712, {True}, {True, False}), (1713, {False}, {False})):
        (wheel,) = valid(check(tmp_path, {"m.so": ie(size)}, "manylinux_2_36_x86_64"))["wheels"]
        fresh = wheel["modules"][0]["verdicts"][0]["fits_fresh_process"]
        assert set(fresh) == {"oldest", "current"}
        assert fresh["oldest"] in oldest, size
        assert fresh["current"] in current, size


def test_every_kind_of_report_is_valid(tmp_path: Path) -> None:
    members = {
        "a.so": ie(flags=0, symbols=(Sym("x"),)),
        "b.so": build(Spec(header=(50, 64, True))),
        "c.so": ie()[:200],
        "d.dylib": b"\xcf\xfa\xed\xfe",
        "e.zip": b"PK\x03\x04",
        "f": ie(interpreter="/lib/ld.so"),
        "g.so": build(Spec(relocs=(Reloc(18, "errno"),), symbols=(Sym("errno", version="GLIBC_PRIVATE"),), needed=("libc.so.6",))),
    }
    allow = (Allow("a.so", "initial-exec-tls", "why not"),)
    report = check(tmp_path, members, "manylinux1_x86_64.musllinux_1_1_x86_64", targets=("netbsd_10_0_amd64", "openbsd_7_5_amd64"), allow=allow)
    unreadable = Report("x.whl", "dist/x.whl", error="it is not a zip archive", error_hint="build it again")
    found = valid(report, unreadable, check(tmp_path, {}, "any"))
    assert found["wheels"][1] == {"wheel": "x.whl", "path": "dist/x.whl", "error": "it is not a zip archive", "hint": "build it again"}
    assert found["wheels"][0]["allowed"][0]["allowed"] == "why not"
    assert found["wheels"][0]["nested_archives"] == ["e.zip"]
    written = json.loads(WRITERS["json"]([report], Style()))
    assert written["wheels"] == [json.loads(json.dumps(report.to_dict()))], "the Python API says what the command prints"


def text(report: Report, **style: Any) -> str:
    return WRITERS["text"]([report], Style(**style))


def test_text_for_people(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/m.so": ie(600)}, "manylinux_2_36_x86_64.musllinux_1_2_x86_64")
    shown = text(report, width=100)
    assert shown.startswith("error: pkg.m will not import on Alpine (musl); on Linux with glibc only while there is room")
    assert re.search(r"glibc +\[=+#+\.+\] 600 of the 1,696 bytes that all imports share", shown)
    assert re.search(r"musl +\[!+ no room !+\] 600 bytes asked; imports get none", shown)
    assert shown.endswith("1 file, 1 ELF module: 1 error, 1 warning, 0 notes\n")
    assert "\x1b" not in shown
    assert all(len(line) <= 100 for line in shown.splitlines() if not line.startswith("  --> "))


def test_colour_and_narrow_terminals(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/m.so": ie(600)}, "musllinux_1_2_x86_64")
    assert "\x1b[31;1merror:\x1b[0m\x1b[1m pkg.m will not import" in text(report, color=True)
    narrow = text(report, width=40)
    assert "[!" not in narrow
    words = [line for line in narrow.splitlines()[:-1] if len(line) > 40]
    # Only what must not be broken is longer: names, flags and the table to copy.
    assert all(len(line.split()) <= 4 for line in words), words


def test_clean_wheels_are_one_line(tmp_path: Path) -> None:
    report = check(tmp_path, {"a.so": build(Spec())}, "manylinux_2_28_x86_64")
    assert text(report).splitlines()[0].endswith(".whl: ok (1 ELF module, for manylinux_2_28_x86_64 (glibc 2.28 and newer))")
    assert text(report, verbosity=-1) == ""
    assert "shared, x86_64; TLS segment: none" in text(report, verbosity=1)


def test_other_systems_are_mentioned_once(tmp_path: Path) -> None:
    members = {"a.pyd": b"MZ", "b.pyd": b"MZ", "c.zip": b"PK\x03\x04"}
    shown = text(check(tmp_path, members, "win_amd64"))
    assert shown.count("does not apply to 2 PE files") == 1
    assert "not entered: 1 nested archive (c.zip)" in shown


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    report = check(tmp_path, {"evil\x1b[31m.so": ie(), "cut\x1b.so": ie()[:80]}, "manylinux_2_28_x86_64")
    for name in ("text", "github"):
        shown = WRITERS[name]([report], Style(verbosity=1))
        assert "\x1b" not in shown


def test_github_annotations(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/a,b:c%.so": ie(flags=0)}, "manylinux_2_28_x86_64")
    first, second, summary = WRITERS["github"]([report], Style(anchor=Anchor("a,b c/pyproject.toml", "a%2Cb%20c/pyproject.toml", 3))).splitlines()
    place = "file=a%2Cb c/pyproject.toml,line=3"
    assert first.startswith(f"::warning {place},title=initial-exec-tls in pkg-1.0-cp312-cp312-manylinux_2_28_x86_64.whl::a,b:c%25.so loads on")
    assert second.startswith(f"::notice {place},title=unflagged-static-tls in ")
    assert summary == "1 file, 1 ELF module: 0 errors, 1 warning, 1 note"


def test_the_schema_is_one() -> None:
    VALIDATOR.check_schema(SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"version": 1})


def test_the_hint_to_accept_a_finding_works_as_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = str(make_wheel(tmp_path, {"pkg/it's [1].so": ie()}, "cp312-cp312-musllinux_1_2_x86_64"))
    assert main(["check", "-v", "--no-config", wheel]) == 1
    (printed,) = re.findall(r"--allow (.*) or, in pyproject", " ".join(capsys.readouterr().out.split()))
    (option,) = shlex.split(printed)
    assert main(["check", "--no-config", wheel, "--allow", option]) == 0
    assert "allowed: initial-exec-tls in pkg/it's [1].so: WHY" in capsys.readouterr().out
