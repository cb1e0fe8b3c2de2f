"""``explain``: a rule's or a culprit's page, in the terminal."""

from __future__ import annotations

import argparse

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.rules import RULES

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "page", "run"]

SUMMARY = "explain a rule or a culprit: what happens, why, what to do"
EXAMPLE = "tls-wheel-guard explain initial-exec-tls"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("rule", metavar="RULE|CULPRIT", help=f"rules: {', '.join(RULES)}; culprits: {', '.join(culprit_names())}")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")


def page(rule: str) -> str:
    """The page of a rule as Markdown."""
    from importlib import resources

    return resources.files("tls_wheel_guard").joinpath("rules", "pages", f"{rule}.md").read_text(encoding="utf-8")


def culprit_names() -> list[str]:
    """The culprits' ids: the names of the data files, without reading them."""
    from importlib import resources

    folder = resources.files("tls_wheel_guard") / "culprits" / "data"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def _called(word: str) -> list[str]:
    """The culprits whose full name has the word in it."""
    from tls_wheel_guard.culprits.data_files import known_culprits

    return [culprit.id for culprit in known_culprits() if len(word) > 2 and word.lower() in culprit.name.lower()]


def run(options: argparse.Namespace) -> int:
    """0, or 2 for a rule or culprit that does not exist."""
    from tls_wheel_guard.cli.links import documentation
    from tls_wheel_guard.cli.options import terminal_style
    from tls_wheel_guard.cli.output import write_text
    from tls_wheel_guard.report.page import rendered

    title, remark, text = _found(options.rule)
    style = terminal_style(options.color)
    head = style.paint(title, "bold") + (f"\n{remark}" if remark else "")
    write_text(f"{head}\n\n{rendered(text, style, documentation())}", None)
    return 0


def _found(name: str) -> tuple[str, str, str]:
    """Title, remark and page; raises UsageError."""
    if name in RULES:
        rule = RULES[name]
        return f"{rule.name}: {rule.summary}", f"severity: {rule.severity}", page(rule.name)
    names = culprit_names()
    if name not in names:
        import difflib

        near = difflib.get_close_matches(name, [*RULES, *names], 1)
        called = [] if near else _called(name)
        hint = f"did you mean {near[0]!r}?" if near else f"rules: {', '.join(RULES)}; culprits: {', '.join(names)}"
        hint = f"the pages about it: {', '.join(called)}" if called else hint
        raise UsageError(f"no rule and no culprit is called {name!r}", hint=hint)
    from tls_wheel_guard.culprits.data_files import known_culprits
    from tls_wheel_guard.culprits.page import page_of

    (culprit,) = (c for c in known_culprits() if c.id == name)
    return culprit.id if culprit.name == culprit.id else f"{culprit.id}: {culprit.name}", "", page_of(culprit)
