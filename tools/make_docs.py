#!/usr/bin/env python3
"""Write what is made from the code and the data: docs of rules, configuration, culprits, and the culprits' data as one file.

A test checks that all of it is current.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path

from tls_wheel_guard.config.model import KEYS, Config
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.culprits.model import culprit_from
from tls_wheel_guard.culprits.page import page_of
from tls_wheel_guard.limits import DEFAULT_LIMITS, LIMITS, Limits
from tls_wheel_guard.rules import RULES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parent.parent / "docs"
CULPRIT_DATA = DOCS.parent / "tls_wheel_guard" / "culprits" / "data.json"


def culprit_data() -> str:
    """All data files of culprits, checked, in the order of their ids."""
    files = sorted(CULPRIT_DATA.with_name("data").glob("*.toml"))
    tables = {file.stem: tomllib.loads(file.read_text(encoding="utf-8")) for file in files}
    for stem, table in tables.items():
        culprit_from(stem, table)
    return json.dumps(tables, indent=1, ensure_ascii=False) + "\n"


def rules() -> str:
    """A section a rule, from the pages that `explain` shows."""
    lines = ["# The rules", "", "| rule | finds | severity |", "|---|---|---|"]
    lines += [f"| [{rule.name}](#{rule.name}) | {rule.summary} | {rule.severity} |" for rule in RULES.values()]
    lines += ["", "Two notes are about the settings: `unused-allow` (matched nothing) and `unexplained-allow` (has no reason).", ""]
    for rule in RULES.values():
        page = resources.files("tls_wheel_guard").joinpath("rules", "pages", f"{rule.name}.md").read_text(encoding="utf-8").rstrip()
        lines += [f"## {rule.name}", "", page, ""]
    return "\n".join(lines)


def culprits() -> str:
    """A section a culprit, from its data file."""
    known = known_culprits()
    lines = [CULPRITS.rstrip(), "", "| culprit | what it is | how initial-exec gets in |", "|---|---|---|"]
    lines += [f"| [{c.id}](#{c.id}) | {c.name} | {HOW[c.how]} |" for c in known]
    for culprit in known:
        lines += ["", f"## {culprit.id}", "", f"{culprit.name}.", "", page_of(culprit)]
    return "\n".join(lines) + "\n"


HOW = {
    "flag": "a flag of its own build",
    "attribute": "an attribute in its source",
    "assembler": "assembler",
    "toolchain": "compiled elsewhere",
    "objects": "objects compiled for programs",
    "linker": "the linker",
}

CULPRITS = """\
# Culprits

Who brings initial-exec TLS into wheels, and what helps. `tls-wheel-guard explain NAME` prints the same. `measured` says that it was
built and run, and where; `read` that it stands in a source or a manual; `not measured` that it is only believed.
[proofs/culprits.md](proofs/culprits.md) has the figures.

The guard names a culprit by evidence in the module and its wheel, never by the wheel's or the project's name:

| class | what it says | ties it to the access |
|---|---|---|
| variable | a relocation leads to a variable with its name, in a symbol table or in the relocation | yes |
| readers | functions with its names read the slot | yes |
| layout | number, sizes, initial values and reads of the variables reached are its own | yes |
| provenance | an SBOM in the wheel, or cargo-auditable's section, names its crate | no |
| structure | sections that only its own tools write, such as .go.buildinfo | no |
| file | the SONAME, or the file's name as auditwheel mangles it | no |
| functions | it defines functions with its names | no |
| comment | .comment names its compiler | no |
| strings | its texts are in the file | no |

`certain`: a variable with its own name. `likely`: a class that ties it to the access, and one more. `possible`: the rest; texts in the
file alone are never more. Where symbols name every variable reached, only names count.
"""


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

Command line > environment > `[tool.tls-wheel-guard]` in the nearest `pyproject.toml` that has it > default. Lists of targets, ignored rules
and allows add up. An unknown key or value is an error that names the place and what was probably meant.

| key | default | meaning |
|---|---|---|
{table}

In the environment the same settings are `TLS_WHEEL_GUARD_` and the key in capitals with underscores
(`TLS_WHEEL_GUARD_FAIL_ON=error`); lists are separated by commas. `allow` has no variable.

## Accepting a finding

    [[tool.tls-wheel-guard.allow]]
    module = "pkg.libs/libgomp-*.so*"      # a glob on the member's path; of a file on disk its end counts
    rule = "initial-exec-tls"
    reason = "shared by all users of OpenMP; 120 bytes"

An `allow` without a reason, or one that matched nothing, is a note. On the command line: `--allow 'GLOB:RULE:REASON'`. Beside the rules there
is `rewritten-interposer`, which only a rewritten build finds: see [rewrite.md](rewrite.md).

## Findings that are known today

A project that takes the guard on late has findings that it can't cure at once. A baseline keeps them apart: what is in it is shown as known
and does not fail; what is new does.

    tls-wheel-guard check dist/ --baseline tls-baseline.json --write-baseline     # once, and again when less is left
    tls-wheel-guard check dist/ --baseline tls-baseline.json

Commit the file. `baseline = "tls-baseline.json"` in the table names it for every command and build; the path counts from the table's file.
Add it to the sdist, or builds from the sdist say that it is missing (and go on). An entry is a project, a member without its ABI tag
and auditwheel's hash, and a rule, with the systems and severities and the culprits that were found. It holds for the next release. A
higher severity, one more system, or somebody else who brings initial-exec in is new. Prefer `allow` for what stays for a reason, and the
baseline for what is to go.

## What is left out

    [tool.tls-wheel-guard]
    exclude = ["*/tests/*", "*-win_amd64.whl"]

Members and files that match are not judged; `--exclude GLOB` adds one. The report says which ELF files were left out.

## What is in force

`tls-wheel-guard check --show-settings` prints all settings, and behind each who says it: the default, the file, the environment or the command
line. `-v` and the JSON document (`settings_file`) say which pyproject.toml was read. In a monorepo that is the nearest one *with* the table.

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


def reference() -> str:
    """Commands, exit codes, variables and the JSON document."""
    page: str = runpy.run_path(str(Path(__file__).with_name("reference.py")))["reference"]()
    return page


LINKS = "<!-- links: made by tools/make_docs.py -->\n"
"""What stands below it in the README is made: links that also work on a package index, as soon as the project has addresses."""


def readme(old: str, urls: Mapping[str, str] | None = None) -> str:
    """README.md with the targets of its links: from ``[project.urls]`` in pyproject.toml, else files of the repository."""
    addresses = _project_urls() if urls is None else urls
    text = old.partition(LINKS)[0]
    prose = re.sub(r"^    .*$|`[^`]*`", "", text, flags=re.MULTILINE)
    names = re.findall(r"\[[^\]]+\]\[([^\]]+)\]|\[([^\]]+\.(?:md|json))\](?!\[)", prose)
    targets = sorted({first or second for first, second in names})
    return text + LINKS + "\n" + "".join(f"[{name}]: {_target(name, addresses)}\n" for name in targets)


def _target(name: str, addresses: Mapping[str, str]) -> str:
    page, hash_, anchor = name.partition("#")
    if page.startswith("docs/") and "Documentation" in addresses:
        path = page.removeprefix("docs/").removesuffix(".md").removesuffix("index")
        return f"{addresses['Documentation'].rstrip('/')}/{path}{'' if path.endswith('/') or not path else '/'}{hash_}{anchor}"
    return f"{addresses['Source'].rstrip('/')}/blob/HEAD/{name}" if "Source" in addresses else name


def _project_urls() -> Mapping[str, str]:
    text = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("\n[project.urls]\n")[2].partition("\n[")[0]
    return dict(re.findall(r'^(\w+) = "([^"]+)"', block, re.MULTILINE))


if __name__ == "__main__":
    CULPRIT_DATA.write_text(culprit_data(), encoding="utf-8")
    front = DOCS.parent / "README.md"
    front.write_text(readme(front.read_text(encoding="utf-8")), encoding="utf-8")
    (DOCS / "reference.md").write_text(reference(), encoding="utf-8")
    (DOCS / "rules.md").write_text(rules(), encoding="utf-8")
    (DOCS / "configuration.md").write_text(configuration(), encoding="utf-8")
    (DOCS / "culprits.md").write_text(culprits(), encoding="utf-8")
    page = DOCS / "hardening.md"
    page.write_text(hardening(page.read_text(encoding="utf-8")), encoding="utf-8")
