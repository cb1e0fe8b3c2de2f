"""``explain``: a rule's page, in the terminal."""

from __future__ import annotations

import argparse
import difflib
from importlib import resources

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.rules import RULES

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "page", "run"]

SUMMARY = "explain a rule: what happens, why, what to do"
EXAMPLE = "tls-wheel-guard explain initial-exec-tls"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("rule", metavar="RULE", help=", ".join(RULES))


def page(rule: str) -> str:
    """The page of a rule as Markdown."""
    return resources.files("tls_wheel_guard").joinpath("pages", f"{rule}.md").read_text(encoding="utf-8")


def run(options: argparse.Namespace) -> int:
    """0, or 2 for a rule that does not exist."""
    if options.rule not in RULES:
        near = difflib.get_close_matches(options.rule, RULES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"rules: {', '.join(RULES)}"
        raise UsageError(f"no rule is called {options.rule!r}", hint=hint)
    rule = RULES[options.rule]
    print(f"{rule.name}: {rule.summary}\nseverity: {rule.severity}\n\n{page(rule.name).rstrip()}")
    return 0
