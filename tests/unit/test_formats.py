"""Reports for services: valid by their own schemas, within their limits, and safe whatever a name holds."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import xmlschema

from tests.support.checking import check
from tests.support.modules import ie
from tests.support.reports import EVIL, every_kind
from tests.support.schemas import junit_schema, sarif_schema
from tests.support.wheel_builder import make_wheel
from tests.support.wheels import fetch
from tls_wheel_guard import check_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli.anchor import anchor_of
from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import WRITERS, Anchor, Style
from tls_wheel_guard.report.markdown import code, plain

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def reports(tmp_path: Path) -> list[Report]:
    return every_kind(tmp_path)


def sarif(reports: list[Report], **style: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(WRITERS["sarif"](reports, Style(**style)))
    jsonschema.Draft4Validator(sarif_schema()).validate(found)
    return found


def test_sarif_is_valid_and_what_github_takes(reports: list[Report]) -> None:
    (run,) = sarif(reports, page_text=lambda name: f"# {name}", pages=lambda name: f"https://docs.example/{name}")["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rule["help"]["markdown"] and rule["helpUri"] and rule["shortDescription"]["text"] for rule in rules)
    assert {result["ruleId"] for result in run["results"]} >= {"initial-exec-tls", "unflagged-static-tls", "unknown-machine", "unused-allow"}
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        # Without a location in the repository GitHub rejects the whole file.
        assert re.fullmatch(r"[!-~]+", location["physicalLocation"]["artifactLocation"]["uri"])
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert all("!" in place["fullyQualifiedName"] or place["name"].endswith(".whl") for place in location["logicalLocations"])
        assert result["partialFingerprints"]
    order = [result["level"] for result in run["results"] if "suppressions" not in result]
    assert order == sorted(order, key=["error", "warning", "note"].index)
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "it is not a zip archive" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_an_allowed_finding_is_suppressed_with_its_reason(reports: list[Report]) -> None:
    suppressed = [result for result in sarif(reports)["runs"][0]["results"] if "suppressions" in result]
    assert [result["suppressions"][0]["justification"] for result in suppressed] == ["why <b>not</b>"]


def test_the_place_is_the_table_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    project = tmp_path / "a folder" / "src"
    project.mkdir(parents=True)
    assert anchor_of(project) is None
    (project.parent / "pyproject.toml").write_text('[project]\nname = "x"\n\n[tool.tls-wheel-guard]\n')
    assert anchor_of(project) == Anchor("a folder/pyproject.toml", "a%20folder/pyproject.toml", 4)
    (project / "pyproject.toml").write_bytes(b"\xff")
    assert anchor_of(project) == Anchor("a folder/src/pyproject.toml", "a%20folder/src/pyproject.toml", 1)


def test_sarif_is_cut_where_github_would(tmp_path: Path) -> None:
    report = check(tmp_path, {"m.so": ie()}, "musllinux_1_2_x86_64")
    (finding,) = (f for f in report.findings if f.rule == "initial-exec-tls")
    note = replace(finding, severity="note")
    many = replace(report, findings=(*(replace(note, module=f"m{n}.so") for n in range(5_000)), finding))
    (run,) = sarif([many, *(replace(report, wheel=f"pkg-1.0-cp3{n}-none-any.whl") for n in range(200))])["runs"]
    assert len(run["results"]) == 5_000
    assert run["results"][0]["level"] == "error"
    assert len(run["results"][0]["locations"][0]["logicalLocations"]) == 100
    assert "1 results more than 5000" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_gitlab_has_what_its_documentation_asks_for(reports: list[Report]) -> None:
    entries = json.loads(WRITERS["gitlab"](reports, Style(anchor=Anchor("sub dir/pyproject.toml", "sub%20dir/pyproject.toml", 7))))
    assert entries
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert entry["location"] == {"path": "sub dir/pyproject.toml", "lines": {"begin": 7}}
    prints = [entry["fingerprint"] for entry in entries]
    assert len(set(prints)) == len(prints)


@pytest.mark.network
def test_junit_is_valid_for_jenkins(reports: list[Report], tmp_path: Path) -> None:
    text = WRITERS["junit"](reports, Style())
    schema = xmlschema.XMLSchema(str(junit_schema()))
    schema.validate(text)
    clear = check(tmp_path, {}, "any")
    schema.validate(WRITERS["junit"]([clear], Style()))
    suite = ET.fromstring(text)[0]  # noqa: S314  (what we wrote)
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["4", "2", "1"]
    assert len(suite) == 4


def test_github_shows_ten_of_a_level_and_the_summary_all(
    reports: list[Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    wheels = [str(make_wheel(tmp_path, {"m.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64", name=f"p{n}")) for n in range(12)]
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.other]\n[tool.tls-wheel-guard]\nfail-on = "error"\n')
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert main(["check", "--format", "github", *wheels]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("::error file=pyproject.toml,line=2,title=initial-exec-tls in p") for line in lines) == 10
    assert "2 more errors: the job's summary has all of them" in lines
    written = summary.read_text(encoding="utf-8")
    assert written.startswith("before\n## tls-wheel-guard: 12 files")
    assert written.count("### error: m will not import on Alpine (musl)") == 12
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "missing" / "x"))
    assert main(["check", "--format", "github", wheels[0]]) == 2
    assert "GITHUB_STEP_SUMMARY" in capsys.readouterr().err
    # A command is one line: nothing in a name can begin another.
    shown = WRITERS["github"](reports, Style()).splitlines()
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in shown[:-1])


def rendered(text: str) -> Iterator[str]:
    """The raw HTML and the links that CommonMark makes of a text."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  (Rich and import-linter bring it)

    for token in MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text):
        for part in (token, *(token.children or ())):
            if part.type in ("html_block", "html_inline"):
                yield part.content.strip()
            elif part.type == "link_open":
                yield str(part.attrs["href"])


def test_markdown_means_nothing_but_what_we_mean(reports: list[Report]) -> None:
    text = WRITERS["markdown"](reports, Style())
    assert set(rendered(text)) == {"<details><summary>3 wheels by system</summary>", "</details>"}
    assert "\x1b" not in text
    for words in EVIL:
        assert set(rendered(f"{plain(words)} {code(words)}")) == set()
    assert html.unescape(plain("<b>")) == "<b>"


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"text", "json", "html"}))
def test_no_control_character_gets_through(name: str, reports: list[Report]) -> None:
    text = WRITERS[name](reports, Style())
    assert all(c.isprintable() or c == "\n" for c in text)
    text.encode("utf-8")


def test_imports_are_for_what_is_written() -> None:
    """A text report loads no other writer."""
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    script = "import sys; from tls_wheel_guard.report import WRITERS, Style; WRITERS['text']([], Style()); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "tls_wheel_guard.report.text" in loaded
    assert not {"jinja2", "markupsafe", "xml.etree.ElementTree", "tls_wheel_guard.report.sarif", "tls_wheel_guard.report.html"} & set(loaded)


@pytest.mark.network
def test_fingerprints_of_two_releases_differ_where_the_releases_do() -> None:
    """cachebox 5.1.0 has no initial-exec TLS, 5.2.0 has: what is new is new, and another wheel of 5.2.0 has the same print."""
    prints = []
    for requirement, platform in (("5.1.0", "musllinux_1_2_x86_64"), ("5.2.0", "musllinux_1_2_x86_64"), ("5.2.0", "musllinux_1_2_aarch64")):
        report = check_wheel(fetch(f"cachebox=={requirement}", platform, "3.12"))
        results = sarif([report])["runs"][0]["results"]
        prints.append({result["partialFingerprints"]["tlsWheelGuard/v1"] for result in results if result["ruleId"] == "initial-exec-tls"})
    assert prints[0] == set()
    assert len(prints[1]) == 1
    assert prints[1] == prints[2]
