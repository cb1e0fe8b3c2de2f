"""`explain` in the terminal: no raw Markdown, no line too long but what is to be typed, no file of the repository."""

from __future__ import annotations

import re

import pytest

from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli.explain import culprit_names
from tls_wheel_guard.report.page import rendered
from tls_wheel_guard.report.style import Style
from tls_wheel_guard.rules import RULES

Captured = pytest.CaptureFixture[str]
SITE = "https://example.org/guard/"


@pytest.mark.parametrize("name", [*RULES, *culprit_names()])
@pytest.mark.parametrize("width", [40, 80])
def test_every_page_is_rendered(name: str, width: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["explain", name]) == 0
    shown = capsys.readouterr().out
    assert "**" not in shown
    assert "](" not in shown
    assert not re.search(r"docs/\S+\.md", shown)
    for line in shown.splitlines()[2:]:
        # One word, or what is to be typed, is never broken.
        assert len(line) <= width or line.startswith("    ") or len(line.split()) <= 2, line


def test_words_marks_and_indentation() -> None:
    text = "**What.** A `code span` (`x`), and\nmore of [the page](rules.md) and [a site](https://x.org).\n\n- one\n  two\n\n"
    text += "      cargo add x\n\n  Since: 1.\n1. three\n"
    assert rendered(text, Style(60)) == (
        "What. A `code span` (`x`), and more of the page and a site\n(https://x.org).\n\n- one two\n\n    cargo add x\n\n  Since: 1.\n1. three\n"
    )
    coloured = rendered(text, Style(60, color=True))
    assert "\x1b[1mWhat.\x1b[0m" in coloured
    assert "(\x1b[36mx\x1b[0m)," in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == rendered(text.replace("`", ""), Style(60))


def test_pages_of_the_repository_are_those_of_the_site() -> None:
    assert rendered("see docs/proofs/culprits.md.", Style(80), SITE) == f"see {SITE}proofs/culprits/.\n"
    assert rendered("see docs/proofs/culprits.md.", Style(80)) == "see the page proofs/culprits of the documentation.\n"


def test_a_page_can_not_steer_the_terminal() -> None:
    assert "\x1b" not in rendered("a\x1b[31mb `c\x1b]0;x\x07`", Style(80))
