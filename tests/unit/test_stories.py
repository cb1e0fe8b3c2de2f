"""A finding as people read it: what is the same is folded, the picture's parts are its numbers, and the table agrees with the verdicts."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checking import check
from tests.support.modules import CLEAN, ie
from tls_wheel_guard.culprits.advice import trace
from tls_wheel_guard.culprits.clues import Clues, ReachedVariable
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.report.block import BAR, Block, Segment, bar, shares
from tls_wheel_guard.report.identity import fingerprint, import_name, stem_of
from tls_wheel_guard.report.matrix import matrix_of
from tls_wheel_guard.report.story import stories_of

RELEASE = ("manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "musllinux_1_2_x86_64", "musllinux_1_2_aarch64")


def release(folder: Path, **settings: object) -> list[Report]:
    """Four wheels of one release; each names its module after its own platform."""
    reports = []
    for tag in RELEASE:
        machine = tag.split("_", 3)[3]
        data = ie(177, machine)
        system = "musl" if "musl" in tag else "gnu"
        reports.append(check(folder, {f"pkg/_core.cpython-312-{machine}-linux-{system}.so": data}, tag, **settings))
    return reports


def shown(reports: list[Report], **style: object) -> str:
    return WRITERS["text"](reports, Style(**{"width": 100, **style}))  # type: ignore[arg-type]


def test_a_release_is_one_finding_with_its_places_folded(tmp_path: Path) -> None:
    reports = release(tmp_path)
    (story,) = stories_of(reports)
    assert (story.severity, len(story.wheels), story.subjects) == ("error", 4, ("pkg._core",))
    lines = shown(reports).splitlines()
    assert lines[0] == "error: pkg._core will not import on Alpine (musl); on Linux with glibc only while there is room"
    assert sum("and 3 more wheels" in line for line in lines) == 1
    assert [line.split()[0] for line in lines if "[#" in line or "[!" in line] == ["musl", "glibc"]
    assert lines.index("") <= 13
    # Every place stands in the long report.
    long = shown(reports, verbosity=1)
    assert all(f"    {report.path}: pkg/_core" in long for report in reports)


def test_another_release_and_another_module_are_other_findings(tmp_path: Path) -> None:
    first = check(tmp_path, {"pkg/a.so": ie(177)}, "manylinux_2_17_x86_64")
    later = replace(first, wheel=first.wheel.replace("-1.0-", "-2.0-"))
    other = check(tmp_path, {"pkg/b.so": ie(64)}, "manylinux_2_17_x86_64")
    assert len(stories_of([first, later, other])) == 3


def test_modules_of_a_wheel_with_the_same_story_are_named_together(tmp_path: Path) -> None:
    (story,) = stories_of([check(tmp_path, {f"pkg/{name}.so": ie() for name in "abcd"}, "manylinux_2_17_x86_64")])
    assert story.headline == "pkg.a, pkg.b and 2 more modules import on Linux with glibc only while there is room"
    assert story.subjects == ("pkg.a", "pkg.b", "pkg.c", "pkg.d")


def test_the_worst_comes_first(tmp_path: Path) -> None:
    mild = check(tmp_path, {"a.so": ie()}, "manylinux_2_17_x86_64")
    bad = check(tmp_path, {"b.so": ie(), "note.so": ie(flags=0)}, "musllinux_1_2_x86_64")
    severities = [story.severity for story in stories_of([mild, bad])]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert {"error", "warning", "note"} == set(severities)


def test_the_table_says_for_each_wheel_what_happens_where(tmp_path: Path) -> None:
    reports = [*release(tmp_path, targets=("freebsd_14_2_amd64",)), check(tmp_path, {"x.dylib": b"\xcf\xfa\xed\xfe"}, "macosx_11_0_arm64")]
    matrix = matrix_of(reports)
    assert matrix.columns == ("glibc", "musl", "FreeBSD", "macOS")
    assert [row.cells for row in matrix.rows] == [
        {"glibc": "if room", "FreeBSD": "fails"}, {"glibc": "if room"}, {"musl": "fails", "FreeBSD": "fails"}, {"musl": "fails"},
        {"macOS": "loads"},
    ]  # fmt: skip
    table = shown(reports).split("\n\n")[-2].splitlines()
    assert any(re.fullmatch(r"pkg-1\.0-\.\.\. +glibc +musl +FreeBSD +macOS", line) for line in table)
    assert any(re.fullmatch(r"cp312-cp312-musllinux_1_2_x86_64 +- +fails +fails +-", line) for line in table)


def test_local_exec_code_gives_wrong_values(tmp_path: Path) -> None:
    report = check(tmp_path, {"m.so": CLEAN}, "manylinux_2_28_x86_64")
    (module,) = report.modules
    wrong = replace(module, shared_object=replace(module.shared_object, local_exec=(0x1000,)))
    from tls_wheel_guard.rules import DEFAULTS, RuleInput, run_rules  # noqa: PLC0415

    findings = run_rules(RuleInput((wrong,), (), {}, DEFAULTS), ("local-exec-tls",))
    (row,) = matrix_of([replace(report, findings=tuple(findings))]).rows
    assert row.cells == {"glibc": "wrong values"}


@pytest.mark.parametrize(
    ("path", "name", "stem"),
    [
        ("pkg/_core.cpython-312-x86_64-linux-gnu.so", "pkg._core", "pkg/_core.so"),
        ("pkg/_core.abi3.so", "pkg._core", "pkg/_core.so"),
        ("pkg-1.0.data/platlib/pkg/_core.pypy310-pp73-x86_64-linux-gnu.so", "pkg._core", "pkg/_core.so"),
        ("pkg.libs/libgomp-a34b3233.so.1.0.0", None, "pkg.libs/libgomp.so"),
        ("pkg/libplain.so", None, "pkg/libplain.so"),
        ("pkg/lib.cpython-312-x86_64-linux-gnu.so", "pkg.lib", "pkg/lib.so"),
        ("pkg/not-a-name.so", None, "pkg/not-a-name.so"),
        ("_native.so", "_native", "_native.so"),
    ],
)
def test_names_of_modules(path: str, name: str | None, stem: str) -> None:
    assert (import_name(path), stem_of(path)) == (name, stem)


def test_a_fingerprint_is_of_the_project_the_module_and_the_rule(tmp_path: Path) -> None:
    reports = release(tmp_path)
    prints = {fingerprint(report, finding) for report in reports for finding in report.findings if finding.rule == "initial-exec-tls"}
    assert len(prints) == 1
    later = replace(reports[0], wheel=reports[0].wheel.replace("-1.0-", "-2.0-"))
    other = replace(reports[0], wheel="other" + reports[0].wheel)
    finding = reports[0].findings[0]
    assert {fingerprint(later, finding)} == prints
    assert fingerprint(other, finding) not in prints
    assert fingerprint(reports[0], replace(finding, rule="static-tls-crowding")) not in prints
    assert fingerprint(reports[0], replace(finding, module="pkg/other.so")) not in prints


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=4), st.integers(8, 200))
def test_a_picture_is_full_and_shows_every_part(sizes: list[int], whole: int) -> None:
    segments = [Segment("asked", size) for size in sizes]
    found = shares(segments, whole)
    assert sum(found) == whole
    assert all(found)
    # In proportion: who is larger is never drawn smaller.
    ordered = sorted(zip(sizes, found, strict=True))
    assert all(a[1] <= b[1] for a, b in itertools.pairwise(ordered) if a[0] < b[0])


@given(st.integers(0, 4096), st.integers(0, 8192), st.integers(1, 8192), st.booleans())
def test_the_parts_of_a_block_are_its_numbers(used: int, room: int, taken: int, refused: bool) -> None:
    block = Block("glibc", used, room, taken, refused or taken > room)
    parts = {segment.kind: segment.size for segment in block.segments}
    assert parts.get("asked", 0) + parts.get("beyond", 0) == taken
    assert parts.get("asked", 0) + parts.get("left", 0) == room
    assert ("beyond" in parts) == block.refused
    (line, *_) = bar(block, Style(width=120))
    assert len(line.split("]")[0].split("[")[1]) == BAR


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_lines_fit_the_terminal(width: int, tmp_path: Path) -> None:
    for line in shown(release(tmp_path, targets=("freebsd_14_2_amd64",)), width=width).splitlines():
        # What is to be copied is never broken: a path, an option.
        assert len(line) <= max(width, 60) or len(line.split()) <= 2, line


def test_one_finding_with_one_culprit_is_twelve_lines(tmp_path: Path) -> None:
    reached = ReachedVariable(0, "_mi_heap_default", 8, True, True, True, 8, 14)
    traced = trace(Clues("x86_64", 8, 64, (reached,)), known_culprits(), "maturin (1.9.4)")
    report = check(tmp_path, {"pkg/_core.abi3.so": ie(177)}, "manylinux_2_17_x86_64.musllinux_1_2_x86_64")
    findings = tuple(replace(finding, culprits=traced.suspects) for finding in report.findings if finding.rule == "initial-exec-tls")
    text = shown([replace(report, path="dist/" + report.wheel, findings=findings)])
    assert "cause:    mimalloc (certain): the relocations reach `_mi_heap_default` (8 bytes)" in text
    assert "for good: cargo add mimalloc --features local_dynamic_tls" in text
    assert "more:     tls-wheel-guard explain mimalloc (2 other ways); -v" in text
    assert len(text.split("\n\n")[0].splitlines()) <= 12


def test_links_are_for_terminals_that_have_them(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/m.so": ie()}, "manylinux_2_17_x86_64")
    assert "\x1b]8" not in shown([report])
    linked = shown([report], pages=lambda page: f"https://docs.example/{page}.html")
    assert "\x1b]8;;https://docs.example/initial-exec-tls.html\x1b\\[initial-exec-tls]\x1b]8;;\x1b\\" in linked
    assert re.sub(r"\x1b\]8;;.*?\x1b\\", "", linked) == shown([report])


def test_names_of_any_length_and_kind_are_shown(tmp_path: Path) -> None:
    for name in ("x" * 4000, "a\x1b]8;;http://evil\x1b\\b", "<b>&amp;|`*_", "a\r\nb"):
        report = check(tmp_path, {f"pkg/{name}.so": ie()}, "manylinux_2_17_x86_64")
        text = shown([report])
        assert "\x1b" not in text
        assert "\r" not in text
        assert max(map(len, text.splitlines())) < 600
