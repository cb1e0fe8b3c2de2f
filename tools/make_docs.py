#!/usr/bin/env python3
"""Write the docs that are made from the code: docs/rules.md and docs/configuration.md. A test checks that they are current."""

from __future__ import annotations

from dataclasses import fields
from importlib import resources
from pathlib import Path

from tls_wheel_guard.config import KEYS, Config
from tls_wheel_guard.limits import DEFAULT_LIMITS, LIMITS, Limits
from tls_wheel_guard.rules import RULES

DOCS = Path(__file__).resolve().parent.parent / "docs"


def rules() -> str:
    """A section a rule, from the pages that `explain` shows."""
    lines = ["# The rules", "", "| rule | finds | severity |", "|---|---|---|"]
    lines += [f"| [{rule.name}](#{rule.name}) | {rule.summary} | {rule.severity} |" for rule in RULES.values()]
    lines += ["", "Two notes are about the settings: `unused-allow` (matched nothing) and `unexplained-allow` (has no reason).", ""]
    for rule in RULES.values():
        page = resources.files("tls_wheel_guard").joinpath("pages", f"{rule.name}.md").read_text(encoding="utf-8").rstrip()
        lines += [f"## {rule.name}", "", page, ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def configuration() -> str:
    """The table of settings, from the fields of Config."""
    by_name = {field.name: field for field in fields(Config)}
    rows = [f"| `{key}` | `{_toml(by_name[name].default)}` | {by_name[name].metadata['doc']} |".replace('\\"', '"') for key, name in KEYS.items()]
    return CONFIGURATION.format(table="\n".join(rows))


CONFIGURATION = """\
# Settings

Command line > environment > `[tool.tls-wheel-guard]` in the nearest `pyproject.toml` > default. Lists of targets, ignored rules
and allows add up. An unknown key or value is an error that names the place and what was probably meant.

| key | default | meaning |
|---|---|---|
{table}

In the environment the same settings are `TLS_WHEEL_GUARD_` and the key in capitals with underscores
(`TLS_WHEEL_GUARD_FAIL_ON=error`); lists are separated by commas. `allow` has no variable.

## Accepting a finding

    [[tool.tls-wheel-guard.allow]]
    module = "pkg.libs/libgomp-*.so*"      # a glob on the member's path
    rule = "initial-exec-tls"
    reason = "shared by all users of OpenMP; 120 bytes"

An `allow` without a reason, or one that matched nothing, is a note. On the command line: `--allow 'GLOB:RULE:REASON'`.

## Room

`room` is what a glibc process is taken to have left for modules that come late. 1664 bytes is what every glibc grants to a fresh
process. Set it lower when users import other packages with initial-exec TLS before yours.
"""


LIMITS_BEGIN, LIMITS_END = "<!-- limits: made by tools/make_docs.py -->\n", "<!-- end of limits -->\n"


def limits() -> str:
    """The table of limits, from the fields of Limits."""
    by_name = {field.name: field for field in fields(Limits)}
    rows = [f"| `{key}` | {_size(getattr(DEFAULT_LIMITS, name))} | {by_name[name].metadata['doc']} |\n" for key, name in LIMITS.items()]
    return "| limit | default | of what |\n|---|---|---|\n" + "".join(rows)


def _size(number: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if number % (1 << shift) == 0:
            return f"{number >> shift} {unit} ({number})"
    return str(number)


def hardening(old: str) -> str:
    """docs/hardening.md with the table of limits brought up to date."""
    before, _, rest = old.partition(LIMITS_BEGIN)
    _, _, after = rest.partition(LIMITS_END)
    return before + LIMITS_BEGIN + limits() + LIMITS_END + after


if __name__ == "__main__":
    (DOCS / "rules.md").write_text(rules(), encoding="utf-8")
    (DOCS / "configuration.md").write_text(configuration(), encoding="utf-8")
    page = DOCS / "hardening.md"
    page.write_text(hardening(page.read_text(encoding="utf-8")), encoding="utf-8")
