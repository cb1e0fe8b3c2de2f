"""The reports of ``index``: every format says the same; the page stands alone, stays small, and is safe whatever a name holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import ie
from tests.support.pages import Page
from tests.support.reports import EVIL
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.results import Results
from tls_wheel_guard.index.rows import Row, packed_row
from tls_wheel_guard.index.store import Store
from tls_wheel_guard.index.summary import IndexSummary
from tls_wheel_guard.report.index import MOST_MARKDOWN, document_pieces, markdown, text
from tls_wheel_guard.report.index_html import MOST_PROJECTS, MOST_ROWS, write
from tls_wheel_guard.report.style import Style, printable

COUNTS = dict.fromkeys(("wheels", "known", "clear", "judged", "failed", "bytes_read", "bytes_whole"), 7)
SEVERITY = ("error", "warning", "note")


def put(store: Store, run: int, wheels: Iterator[tuple[str, str, str, str]]) -> None:
    """Wheels with one finding each: project, severity, module, culprit."""
    rows = []
    for number, (project, severity, module, culprit) in enumerate(wheels):
        wheel = ListedWheel(f"{project}-1.0-cp{number}-x.whl", project, "1.0", url=f"http://h/{number}", sha256=f"{number:064}")
        finding = {
            "rule": "initial-exec-tls", "severity": severity, "module": module, "targets": ["t"],
            "culprits": [{"id": culprit, "confidence": "certain"}] if culprit else [],
        }  # fmt: skip
        entry: dict[str, Any] = {"wheel": wheel.filename, "targets": [{"tag": "t", "libc": "musl"}], "findings": [finding], "read": "whole"}
        rows.append(packed_row(Row(str(wheel.sha256), wheel, "whole", 1, [], entry)))
    store.put(run, rows, [("http://h/bad", f"bad<b>{EVIL[3]}", None, f"it is gone: {EVIL[0]}")])


def summary_of(found: Results, since: int | None = None) -> IndexSummary:
    return IndexSummary(EVIL[0], COUNTS, 1.0, found.worst, found.projects, found.culprits, found.failed, found.worse, since)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store("", "shape", "judgement")
    yield opened
    opened.close()


def test_a_page_stands_alone_whatever_a_name_holds(store: Store) -> None:
    before, run = store.begin("here", "a"), store.begin("here", "b")
    evil = [name for name in EVIL if "\ud800" not in name]
    put(store, run, ((name, SEVERITY[number % 3], name, name if number else "") for number, name in enumerate(evil)))
    found = Results(store, run, before)
    source = write(summary_of(found, before), found.findings_of, Style(pages=lambda name: f"https://docs.example/#{len(name)}"))
    page = Page(source)
    assert not {"script", "iframe", "img", "object", "embed", "form", "base"} & set(page.tags)
    assert all(lead.startswith(("data:,", "#main", "https://docs.example/#")) for lead in page.leads)
    assert len(page.ids) == len(set(page.ids))
    assert all(c.isprintable() or c == "\n" for c in source)
    assert "<b>" not in source.replace("&lt;b&gt;", "")
    assert page.text.count(EVIL[0]) >= 4
    assert "x\\x1b]8;;http://evil\\x1b\\y" in page.text
    for written in (text(summary_of(found, before), Style(verbosity=1)), markdown(summary_of(found, before))):
        assert all(c.isprintable() or c == "\n" for c in written)


def test_every_format_says_the_same(store: Store) -> None:
    before, run = store.begin("here", "a"), store.begin("here", "b")
    put(store, run, iter([("alpha", "note", "a.so", ""), ("beta", "error", "b.so", "mimalloc"), ("gamma", "error", "c.so", "mimalloc")]))
    found = Results(store, run, before, [("gamma", 1_234_567)])
    summary = summary_of(found, before)
    document = json.loads("".join(document_pieces(store.entries(run), summary)))
    assert [row["project"] for row in document["summary"]["projects"]] == ["gamma", "beta", "alpha"]
    assert document["summary"]["culprits"] == [{"id": "mimalloc", "projects": 2, "wheels": 2}]
    assert document["summary"]["worst"] == {"note": 1, "warning": 0, "error": 2}
    assert len(document["summary"]["worse"]) == 3
    assert [entry.get("error") for entry in document["wheels"]].count(None) == 3
    page = Page(write(summary, found.findings_of, Style())).text
    for words in (page, text(summary, Style()), markdown(summary).replace("\\", "")):
        places = [words.index(f"{name} 1.0") for name in ("gamma", "beta", "alpha")]
        assert places == sorted(places)
        for said in ("mimalloc", "musl", f"in run {before}", "gamma-1.0-cp2-x.whl", "it is gone"):
            assert printable(said) in words
    assert "1,234,567" in page
    assert "an error in 2 wheels, a warning in 0 wheels, a note in 1 wheel" in page


def test_ten_thousand_findings_are_a_small_file_that_says_what_it_leaves_out(store: Store) -> None:
    before, run = store.begin("here", "a"), store.begin("here", "b")
    put(store, run, ((f"project-{number // 2}", SEVERITY[number % 3], f"pkg/module_{number}.so", f"c{number % 300}") for number in range(10_000)))
    found = Results(store, run, before)
    summary = summary_of(found, before)
    source = write(summary, found.findings_of, Style())
    page = Page(source)
    assert len(source.encode()) < 300_000
    assert page.tags.count("summary") == 50
    for words in (f"And {5000 - MOST_PROJECTS} more projects", f"And {300 - MOST_ROWS} more culprits", f"And {10_000 - MOST_ROWS:,} more wheels"):
        assert words.replace(",", "") in page.text.replace(",", "")
    assert "and 4,900 more projects; -v shows them" in text(summary, Style())
    assert f"And {5000 - MOST_MARKDOWN:,} more projects" in markdown(summary)
    assert len(markdown(summary).encode()) < 1 << 20


def test_a_report_beside_another_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_wheel(tmp_path, {"pkg/a.so": ie(64)}, "cp312-cp312-musllinux_1_2_x86_64")
    page, table = tmp_path / "audit.html", tmp_path / "audit.md"
    command = ["index", str(tmp_path), "--no-config", "--report", f"html={page}", "--report", f"markdown={table}", "-q"]
    assert main(command) == 1
    assert "pkg 1.0" in capsys.readouterr().out
    assert "pkg 1.0" in Page(page.read_text(encoding="utf-8")).text
    assert "| pkg 1.0 |" in table.read_text(encoding="utf-8")
    (tmp_path / "folder").mkdir()
    assert main([*command, "--report", f"html={tmp_path / 'folder'}"]) == 2
    assert "it can't be written" in capsys.readouterr().err
    assert main([*command, "--report", "sarif=x"]) == 2
    assert "no format is called 'sarif'; hint: formats: text, json, markdown, html" in capsys.readouterr().err
