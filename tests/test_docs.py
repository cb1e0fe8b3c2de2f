"""The docs that are made from the code are current, and what the README shows works."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.wheels import fetch
from tls_wheel_guard.__main__ import main
from tls_wheel_guard.cli import COMMANDS, build_parser
from tls_wheel_guard.rules import RULES

Captured = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parent.parent
MADE = runpy.run_path(str(ROOT / "tools" / "make_docs.py"))


def test_made_docs_are_current() -> None:
    assert (ROOT / "tls_wheel_guard" / "culprits" / "data.json").read_text(encoding="utf-8") == MADE["culprit_data"](), "run tools/make_docs.py"
    for name in ("rules", "configuration", "culprits", "reference"):
        assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == MADE[name](), "run tools/make_docs.py"


def test_the_table_of_limits_is_current() -> None:
    text = (ROOT / "docs" / "hardening.md").read_text(encoding="utf-8")
    assert MADE["hardening"](text) == text, "run tools/make_docs.py"


def test_the_readmes_links_are_current_and_work_on_an_index() -> None:
    """Every link has its target in the block at the end, which is made from the project's addresses."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert MADE["readme"](text) == text, "run tools/make_docs.py"
    targets = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    assert len(targets) > 20
    assert all((ROOT / target.partition("#")[0]).exists() for target in targets.values())
    urls = {"Documentation": "https://example.org/guard", "Source": "https://example.org/src"}
    public = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", MADE["readme"](text, urls), re.MULTILINE))
    assert public["docs/builds.md"] == "https://example.org/guard/builds/"
    assert public["docs/proofs/index.md"] == "https://example.org/guard/proofs/"
    assert public["CHANGELOG.md"] == "https://example.org/src/blob/HEAD/CHANGELOG.md"
    assert all(target.startswith("https://") for target in public.values())
    # No other kind of link stands in it.
    assert "](" not in re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def test_every_rule_has_a_page_and_no_page_is_left_over() -> None:
    assert {path.stem for path in (ROOT / "tls_wheel_guard" / "rules" / "pages").glob("*.md")} == set(RULES)


def test_commands_in_the_docs_parse() -> None:
    command = re.compile(rf"^    (?:\$ )?tls-wheel-guard ((?:{'|'.join(COMMANDS)}) .*)$", re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
    shown = [match.split("  #")[0] for text in texts for match in command.findall(text)]
    assert len(shown) > 5
    for line in shown:
        build_parser().parse_args(shlex.split(line))


def test_links_between_docs_lead_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "sample_projects" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def pages(nav: list[Any]) -> list[str]:
    """The files that a site's navigation names."""
    return [page for entry in nav for page in ([entry] if isinstance(entry, str) else [p for part in entry.values() for p in pages(part)])]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """`make docs` says so too; this needs no site."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    found = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(pages(settings["nav"])) == found


def test_the_index_of_proofs_names_every_proof() -> None:
    proofs = ROOT / "docs" / "proofs"
    linked = set(re.findall(r"\]\(([a-z0-9-]+\.md)\)", (proofs / "index.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in proofs.glob("*.md")} - {"index.md"}


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}" in readme for name in COMMANDS)


@pytest.mark.network
def test_the_report_that_the_readme_shows_is_what_check_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    (tmp_path / "dist").mkdir()
    for platform in ("manylinux_2_17_x86_64", "musllinux_1_2_x86_64"):
        wheel = fetch("cachebox==5.2.0", platform, "3.12")
        (tmp_path / "dist" / wheel.name).symlink_to(wheel)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["check", "--no-config", "dist"]) == 1
    shown = "".join(f"    {line}\n" if line else "\n" for line in capsys.readouterr().out.splitlines())
    for page in ("README.md", "docs/usage.md"):
        assert shown in (ROOT / page).read_text(encoding="utf-8"), page
