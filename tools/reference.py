"""docs/reference.md, from the code: commands with their options, exit codes, variables, and the JSON document of `check` from its schema."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from tls_wheel_guard.cli import COMMANDS, build_parser
from tls_wheel_guard.config.model import KEYS
from tls_wheel_guard.errors import EXIT_CODES

HEAD = """\
# Reference

Made from the code by `tools/make_docs.py`. Settings have a page of their own, [configuration.md](configuration.md), as have the limits on what is
read, [hardening.md](hardening.md), and the [Python functions](api.md).
"""

VARIABLES = {
    "NO_COLOR": "not empty: no colours; wins over FORCE_COLOR",
    "FORCE_COLOR": "not empty: colours also where the output is no terminal",
    "COLUMNS": "the width of a text report; 100 where the output is no terminal and it is not set",
    "TERM": "`dumb`: no colours",
    "SOURCE_DATE_EPOCH": "the date of members that `mark` and builds change",
    "TLS_WHEEL_GUARD_TRACEBACK": "`1`: where a bug of ours arises",
    "TMPDIR": "where temporary folders are made",
    "LD_LIBRARY_PATH": "where libraries of this machine are looked up, for wheels that auditwheel has not seen",
    "GITHUB_STEP_SUMMARY": "the file for a job's summary, set by GitHub Actions",
}


def reference() -> str:
    """The page."""
    return "\n".join([HEAD, *_exit_codes(), *_commands(), *_variables(), *_document()]).rstrip() + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("%(prog)s", "tls-wheel-guard").replace("%%", "%").split()).replace("|", "\\|")


def _exit_codes() -> Iterator[str]:
    yield from ("## Exit codes", "", "| code | when |", "|---|---|")
    yield from (f"| {code} | {_cell(meaning)} |" for code, meaning in EXIT_CODES.items())
    yield from ("", "Of several, 2 wins over 5, 5 over 3, and 3 over 1.", "")


def _commands() -> Iterator[str]:
    yield from ("## Commands", "", "`tls-wheel-guard help COMMAND` shows the same. Every command also works as `python -m tls_wheel_guard`.", "")
    for name in COMMANDS:
        yield from _command(name)


def _command(name: str) -> Iterator[str]:
    parser = build_parser(name)
    (children,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    child = children.choices[name]
    yield from (f"### {name}", "", f"`{child.usage}`", "", str(child.description), "", "| argument | meaning |", "|---|---|")
    for action in child._actions:
        if not {"-h", "-V"} & set(action.option_strings):
            yield f"| {_spelled(action)} | {_cell(action.help or '')} |"
    yield from ("", f"    {str(child.epilog).removeprefix('example: ')}", "")


def _spelled(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_cell(str(action.metavar or action.dest))}`" + (" ..." if action.nargs in ("*", "...") else "")
    value = ""
    if action.nargs != 0:
        value = " " + str(action.metavar or ("\\|".join(map(str, action.choices)) if action.choices else action.dest.upper()))
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _variables() -> Iterator[str]:
    yield from ("## Environment variables", "", "| variable | meaning |", "|---|---|")
    for key in KEYS:
        if key != "allow":
            yield f"| `TLS_WHEEL_GUARD_{key.upper().replace('-', '_')}` | the setting [`{key}`](configuration.md) |"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items())
    yield ""


def _document() -> Iterator[str]:
    schema = json.loads(resources.files("tls_wheel_guard").joinpath("report", "schema.json").read_text(encoding="utf-8"))
    yield from (
        "## The JSON document",
        "",
        "Of `check --format json` and `show --format json`: one entry of `wheels` a file. The schema lies in the",
    )
    yield from (
        "package, `tls_wheel_guard/report/schema.json`. Sizes are bytes, offsets are virtual addresses. Those of `simulate` and `doctor` are",
    )
    yield from ("described on [their](simulate.md) [pages](doctor.md).", "", "| field | type | meaning |", "|---|---|---|")
    yield from _fields(schema, schema, "")
    yield ""


def _fields(found: dict[str, Any], schema: dict[str, Any], path: str, shown: dict[int, str] | None = None) -> Iterator[str]:
    shown = {} if shown is None else shown
    for name, value in found.get("properties", {}).items():
        meaning = value.get("description", "")
        inners = list(_inner(value, schema))
        known = [shown[id(inner)] for inner, _ in inners if id(inner) in shown]
        if known:
            meaning += f"; as `{known[0]}`"
        yield f"| `{path}{name}` | {_type(value, schema)} | {_cell(meaning)} |"
        for inner, suffix in () if known else inners:
            shown[id(inner)] = f"{path}{name}{suffix}"
            yield from _fields(inner, schema, f"{path}{name}{suffix}.", shown)


def _inner(value: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects that a field holds, and how one is reached."""
    found = _resolved(value, schema)
    if "items" in found:
        yield from ((inner, f"[]{suffix}") for inner, suffix in _inner(found["items"], schema))
    for choice in found.get("oneOf", ()):
        yield from _inner(choice, schema)
    if "properties" in found:
        yield found, ""


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][value["$ref"].rsplit("/", 1)[-1]] if "$ref" in value else value


def _type(value: dict[str, Any], schema: dict[str, Any]) -> str:
    found = _resolved(value, schema)
    if "const" in found:
        return f"`{json.dumps(found['const'])}`"
    if "enum" in found:
        return " ".join(f"`{word}`" for word in found["enum"])
    if "oneOf" in found:
        return " or ".join(dict.fromkeys(_type(choice, schema) for choice in found["oneOf"]))
    kinds = found["type"] if isinstance(found["type"], list) else [found["type"]]
    names = [f"list of {_type(found['items'], schema)}" if kind == "array" else kind for kind in kinds]
    return " or ".join(names)
