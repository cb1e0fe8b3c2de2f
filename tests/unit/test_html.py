"""The HTML report: one file that stands alone, says what the text says, and is safe whatever a name holds."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.checking import check
from tests.support.modules import CLEAN, ie
from tests.support.pages import Page
from tests.support.reports import EVIL, every_kind
from tests.support.wheels import fetch
from tls_wheel_guard import check_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.commands.proposed import proposed_fix
from tls_wheel_guard.doctor.result import Asked, Diagnosis, Share, Stage
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.report.block import Segment
from tls_wheel_guard.report.block_svg import WIDTH, svg
from tls_wheel_guard.report.filling import diagnosis_frames
from tls_wheel_guard.report.html import MOST_NAME
from tls_wheel_guard.report.matrix import matrix_of
from tls_wheel_guard.report.story import stories_of
from tls_wheel_guard.report.style import printable, shortened


def test_a_page_stands_alone_whatever_a_name_holds(tmp_path: Path) -> None:
    reports = every_kind(tmp_path)
    source = WRITERS["html"](reports, Style())
    page = Page(source)
    assert not {"script", "iframe", "img", "object", "embed", "form", "base"} & set(page.tags)
    assert set(page.leads) == {"data:,", "#main"}
    assert len(page.ids) == len(set(page.ids))
    assert all(c.isprintable() or c == "\n" for c in source)
    assert "http" not in source.replace("http://evil", "")
    assert EVIL[0] in page.text
    assert "x\\x1b]8;;http://evil\\x1b\\y" in page.text
    assert "@import" not in source
    assert "url(" not in source


def test_a_page_says_what_the_text_says(tmp_path: Path) -> None:
    reports = every_kind(tmp_path)
    page = Page(WRITERS["html"](reports, Style()))
    for story in stories_of(reports):
        assert " ".join(f"{story.severity}: {printable(shortened(story.headline, MOST_NAME))}".split()) in page.text
        for block in story.blocks:
            assert block.caption in page.text
    for row in matrix_of(reports).rows:
        assert row.report.wheel in page.text
    assert "it is not a zip archive" in page.text
    assert "why <b>not</b>" in page.text


def test_links_lead_to_the_documentation_only(tmp_path: Path) -> None:
    report = check(tmp_path, {"m.so": ie()}, "musllinux_1_2_x86_64")
    page = Page(WRITERS["html"]([report], Style(pages=lambda name: f"https://docs.example/rules/#{name}")))
    assert {lead for lead in page.leads if lead.startswith("http")} == {"https://docs.example/rules/#initial-exec-tls"}


def test_the_drawing_has_the_bars_proportions() -> None:
    drawn = svg((Segment("start", 100), Segment("asked", 1), Segment("left", 299)), "label")
    found = [(kind, int(x), int(width)) for kind, x, width in re.findall(r'class="(\w+)" x="(\d+)" y="0" width="(\d+)"', drawn)]
    assert [kind for kind, _, _ in found] == ["start", "asked", "left"]
    assert found[0][1] == 0
    assert all(a[1] + a[2] == b[1] for a, b in itertools.pairwise(found))
    assert found[-1][1] + found[-1][2] == WIDTH
    assert abs(found[2][2] / found[0][2] - 2.99) < 0.05


def test_forty_wheels_are_a_small_file(tmp_path: Path) -> None:
    report = check(tmp_path, {"pkg/_core.abi3.so": ie(177)}, "musllinux_1_2_x86_64")
    many = [replace(report, wheel=f"pkg-1.0-cp{n}-cp{n}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl") for n in range(40)]
    assert len(WRITERS["html"](many, Style()).encode()) < 200_000


PROJECT = {
    "pyproject.toml": '[build-system]\nrequires = ["maturin"]\nbuild-backend = "maturin"\n[project]\nname = "cachebox"\nversion = "1"\n',
    "Cargo.toml": '[package]\nname = "cachebox"\nversion = "1.0.0"\n\n[lib]\ncrate-type = ["cdylib"]\n\n[dependencies]\n'
    'mimalloc = { version = "0.1.46" }\n',
    "src/lib.rs": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "a b"
    (folder / "src").mkdir(parents=True)
    (folder.parent / ".git").mkdir()
    for name, text in PROJECT.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.network
def test_the_edit_of_the_project_is_shown_where_it_is(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = fetch("cachebox==5.2.0", "musllinux_1_2_x86_64", "3.12")
    monkeypatch.chdir(project)
    assert main(["check", "-v", str(wheel), "--report", "html=o.html", "--report", "sarif=o.sarif"]) == 1
    added = '+mimalloc = { version = "0.1.46", features = ["local_dynamic_tls"] }'
    assert added in capsys.readouterr().out
    page = Page((project / "o.html").read_text(encoding="utf-8"))
    assert added in page.text
    assert "The code: " in page.text
    (run,) = json.loads((project / "o.sarif").read_text(encoding="utf-8"))["runs"]
    result = run["results"][0]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("a%20b/Cargo.toml", 9)
    # What SARIF says to replace, replaced, is what the diff says.
    (change,) = result["fixes"][0]["artifactChanges"]
    (replacement,) = change["replacements"]
    region = replacement["deletedRegion"]
    lines = PROJECT["Cargo.toml"].splitlines()
    assert region["startLine"] == region["endLine"] == 9
    line = lines[8]
    new = line[: region["startColumn"] - 1] + replacement["insertedContent"]["text"] + line[region["endColumn"] - 1 :]
    assert f"+{new}" == added


@pytest.mark.network
def test_another_projects_wheels_get_no_edit(project: Path, tmp_path: Path) -> None:
    wheel = fetch("cachebox==5.2.0", "musllinux_1_2_x86_64", "3.12")
    report = check_wheel(wheel)
    assert proposed_fix(project, [report]) is not None
    assert proposed_fix(tmp_path, [report]) is None
    (project / "pyproject.toml").write_text(PROJECT["pyproject.toml"].replace("cachebox", "other"))
    assert proposed_fix(project, [report]) is None
    (project / "pyproject.toml").write_bytes(b"\xff[")
    assert proposed_fix(project, [report]) is None


def test_without_the_extra_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["check", "--report", f"html={tmp_path / 'x.html'}", "no-such.whl"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "tls-wheel-guard: --format html needs jinja2; hint: pip install 'tls-wheel-guard[html]'\n"


def test_a_simulation_fills_the_block_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"a.so": 600, "b.so": 700, "plain.so": 0, "c.so": 900}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(ie(size) if size else CLEAN)
    paths = [str(tmp_path / name) for name in sizes]
    assert main(["simulate", "--loader", "glibc-2.36", *paths, "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert main(["simulate", "--loader", "glibc-2.36", *paths, "--format", "html", "-o", str(tmp_path / "o.html")]) == 1
    page = Page((tmp_path / "o.html").read_text(encoding="utf-8"))
    assert page.tags.count("svg") == 4
    start, room = document["start"]["used"], document["steps"][-1]["room"]
    for step in document["steps"]:
        assert f"{step['room']:,} left for other late modules" in page.text
    assert page.text.count(f"{start} taken when the process starts") == 4
    assert f"{1_712 - room:,} taken by modules that came before" in page.text
    assert "900 asked beyond the end" in page.text
    assert "c.so is refused" in page.text
    assert "cannot allocate memory in static TLS block" in page.text
    assert "1712 bytes left" in page.text.replace(",", "")


def test_a_diagnosis_shows_who_took_the_room() -> None:
    live = Live("python3", "cpython", "glibc", "2.36", "x86_64", 2, 144, 1856, 64, 512, 1712, "read", {})
    took = (Share(None, "libc.so.6", 144), Share("first", "/x/a.so", 1000), Share("second", "/x/b.so", 600))
    asked = Asked(("/x/c.so",), "/x/c.so", 500, 8, "/x/c.so")
    stages = (Stage("first"), Stage("third", "ImportError: no", "c.so: cannot allocate memory in static TLS block"))
    frames = list(diagnosis_frames(Diagnosis(live, "static-tls", stages, took, 112, asked=asked, has_model=True)))
    assert [[(s.kind, s.size) for s in frame.segments] for frame in frames] == [
        [("start", 144), ("asked", 1000), ("left", 712)],
        [("start", 144), ("before", 1000), ("asked", 600), ("left", 112)],
        [("start", 144), ("before", 1600), ("left", 112), ("beyond", 500)],
    ]
    assert frames[-1].fails
    assert frames[-1].words == ("c.so: cannot allocate memory in static TLS block",)
