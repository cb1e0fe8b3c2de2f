"""``--report``: more reports of one run; and hyperlinks only where a terminal has them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli import links

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    return str(make_wheel(tmp_path, {"pkg/m.so": ie()}, "cp312-cp312-musllinux_1_2_x86_64"))


def test_several_reports_of_one_run(wheel: str, tmp_path: Path, capsys: Captured) -> None:
    more = ["--report", f"json={tmp_path / 'a.json'}", "--report", f"text={tmp_path / 'a.txt'}"]
    assert main(["check", "--no-config", "--format", "json", *more, wheel]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8").startswith("error: pkg.m will not import")
    assert shown.err == ""


def test_a_report_that_cannot_be_written_hides_no_other(wheel: str, tmp_path: Path, capsys: Captured) -> None:
    more = ["--report", f"json={tmp_path / 'missing' / 'a.json'}", "--report", f"text={tmp_path / 'a.txt'}"]
    assert main(["check", "--no-config", *more, wheel]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "a.json: it can't be written: No such file or directory; hint:" in shown.err
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == shown.out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--report", "json"], "it is not FORMAT=FILE; hint: such as --report html=report.html"),
        (["--report", "json="], "it is not FORMAT=FILE"),
        (["--report", "jsn=x"], "no format is called 'jsn'; hint: did you mean 'json'?"),
        (["--report", "json=x", "--report", "text=./x"], "another report goes to that file"),
        (["-o", "x", "--report", "text=x"], "another report goes to that file"),
    ],
)
def test_a_wrong_report_is_refused_before_anything_is_read(asked: list[str], said: str, capsys: Captured) -> None:
    assert main(["check", "--no-config", *asked, "no-such.whl"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert said in shown.err


@pytest.mark.parametrize(
    ("environment", "to_terminal", "linked"),
    [
        ({"TERM": "xterm-256color", "VTE_VERSION": "7600"}, True, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4800"}, True, False),
        ({"TERM": "xterm-kitty"}, True, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True, True),
        ({"TERM": "xterm-256color"}, True, False),
        ({"TERM": "xterm-kitty"}, False, False),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb", "WT_SESSION": "x"}, True, False),
        ({"FORCE_HYPERLINK": "1"}, False, True),
        ({"FORCE_HYPERLINK": "0", "TERM": "xterm-kitty"}, True, False),
    ],
)
def test_links_are_for_terminals_that_have_them(environment: dict[str, str], to_terminal: bool, linked: bool) -> None:
    assert (links.terminal_pages(environment, to_terminal) is not None) == linked


def test_a_page_lies_on_the_site_or_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "documentation", lambda: "https://docs.example/guard/")
    assert links.page_address("initial-exec-tls") == "https://docs.example/guard/rules/#initial-exec-tls"
    assert links.page_address("mimalloc") == "https://docs.example/guard/culprits/#mimalloc"
    monkeypatch.setattr(links, "documentation", lambda: None)
    page = resources.files("tls_wheel_guard").joinpath("rules", "pages", "initial-exec-tls.md")
    assert links.page_address("initial-exec-tls") == Path(str(page)).as_uri()
    assert links.page_address("mimalloc") is None
