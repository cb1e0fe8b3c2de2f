"""``fix --init``: what adds the guard itself to a project. Nothing is asked: what the files say decides, and what they don't say is advice."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tls_wheel_guard.fix.cibuildwheel import audit_proposal, uses_audit
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, line_of, named, newline_of
from tls_wheel_guard.fix.paths import joined
from tls_wheel_guard.fix.project import Project
from tls_wheel_guard.fix.propose import check_syntax
from tls_wheel_guard.fix.pyproject import backend_of
from tls_wheel_guard.fix.settle import settle
from tls_wheel_guard.fix.toml_text import Splice, TomlText
from tls_wheel_guard.fix.versions import numbers

__all__ = ["init_proposal"]

GUARD = "tls-wheel-guard"
BACKEND = "tls_wheel_guard.backend"
OLDEST = (3, 10)
"""The oldest Python that the guard runs on."""
_SETUPTOOLS = ("setuptools.build_meta", "setuptools.build_meta:__legacy__")
_BUILDS = re.compile(
    r"^(?P<indent>[ ]*)(?P<item>- )?(?:uses:[ ]*(?P<action>pypa/cibuildwheel|PyO3/maturin-action)@"
    r"|run:.*?(?P<command>cibuildwheel|-m build|pip wheel|uv build|maturin build))",
    re.MULTILINE,
)
_FOLDERS = {
    "pypa/cibuildwheel": "wheelhouse", "cibuildwheel": "wheelhouse", "PyO3/maturin-action": "target/wheels", "maturin build": "target/wheels",
}  # fmt: skip
_UNPROVED = "the edit could not be proved"


def init_proposal(project: Project, parse_yaml: Callable[[str], Any] | None) -> Proposal:
    """The edits that put the guard in front of every build and every release. ``parse_yaml``: a parser, None where none is installed.

    Raises Unparsable, with the path, for a pyproject.toml that is no TOML.
    """
    found = _proposed(project, parse_yaml)
    settle(found, project.files, check_syntax)
    return found


def _proposed(project: Project, parse_yaml: Callable[[str], Any] | None) -> Proposal:
    found = Proposal()
    path = project.pyproject
    text = project.files.get(path)
    if text is None:
        found.add(_new_pyproject(project))
    else:
        with named(path):
            toml = TomlText(text)
            found.add(_build_system(path, toml))
            found.add(audit_proposal(path, text, uses_audit(project.files)))
            has_audit = toml.get(("tool", "cibuildwheel")) is not None
        if has_audit:
            return found
    for workflow, lines in project.files.items():
        if workflow.startswith(".github/workflows/") and GUARD not in lines:
            found.add(_workflow(workflow, lines, parse_yaml))
    return found


def _new_pyproject(project: Project) -> Proposal:
    """A project with a setup.py alone is built by setuptools, and needs a pyproject.toml to say what its build requires."""
    found = Proposal()
    if joined(project.folder, "setup.py") not in project.files and joined(project.folder, "setup.cfg") not in project.files:
        found.advice.append(Advice("", 0, "add a pyproject.toml with a [build-system]", "no file says how this project is built", ""))
        return found
    tables: dict[tuple[str, ...], dict[str, Any]] = {
        ("build-system",): {"requires": ["setuptools", _requirement(marked=True)], "build-backend": "setuptools.build_meta:__legacy__"},
        ("tool", GUARD): {"action": "fail"},
    }
    splice = TomlText("").append(tables)
    if splice is not None:
        doubt = "with a pyproject.toml the build is isolated: what setup.py imports must be in requires too"
        found.edits.append(TextEdit(project.pyproject, 0, 0, splice.new, "the guard judges each wheel before the build hands it out", "", doubt))
    return found


def _requirement(*, marked: bool) -> str:
    return f"{GUARD}; python_version >= '{'.'.join(map(str, OLDEST))}'" if marked else GUARD


def _build_system(path: str, toml: TomlText) -> Proposal:
    found = Proposal()
    requires = toml.get(("build-system", "requires"))
    if isinstance(requires, list) and any(str(r).startswith((GUARD, "tls_wheel_guard")) for r in requires):
        return found
    backend = backend_of(toml)
    if toml.get(("build-system",)) is None:
        return _legacy(path, toml)
    if backend in _SETUPTOOLS:
        splices = [(_set_requires(toml, requires, marked=True), "the guard's plugin for setuptools")]
        if toml.get(("tool", GUARD)) is None:
            table = toml.append({("tool", GUARD): {"action": "fail"}})
            splices.append((table, "the plugin acts where this table is: a wheel that fails is not released"))
        return _edits(path, splices, "")
    if toml.get(("build-system", "backend-path")) is not None:
        text = f'build-backend = "{BACKEND}", and in [tool.{GUARD}]: build-backend = "{backend}" and the backend-path, which moves there'
        found.advice.append(Advice(path, 0, text, "the backend lies in the source tree, and moving its path is left to its author", ""))
        return found
    if toml.get(("tool", GUARD)) is None:
        table = toml.append({("tool", GUARD): {"build-backend": backend}})
    else:
        table = toml.set(("tool", GUARD, "build-backend"), backend)
    splices = [
        (_set_requires(toml, requires, marked=False), "the guard, as a backend around the project's own"),
        (toml.set(("build-system", "build-backend"), BACKEND), f"each wheel that {backend} builds is judged before it is handed out"),
        (table, "the backend that builds"),
    ]
    return _edits(path, splices, _too_old(toml))


def _legacy(path: str, toml: TomlText) -> Proposal:
    """No [build-system]: setuptools, as PEP 518 says."""
    tables: dict[tuple[str, ...], dict[str, Any]] = {
        ("build-system",): {"requires": ["setuptools", _requirement(marked=True)], "build-backend": "setuptools.build_meta:__legacy__"}
    }
    if toml.get(("tool", GUARD)) is None:
        tables["tool", GUARD] = {"action": "fail"}
    return _edits(path, [(toml.append(tables), "the guard judges each wheel before the build hands it out")], "")


def _set_requires(toml: TomlText, requires: Any, marked: bool) -> Splice | None:
    given = requires if isinstance(requires, list) else []
    return toml.set(("build-system", "requires"), [*given, _requirement(marked=marked)])


def _edits(path: str, splices: list[tuple[Splice | None, str]], doubt: str) -> Proposal:
    """All of them or, where one is not proved, none: half of them would break the build."""
    found = Proposal()
    for splice, why in splices:
        if splice is None:
            found.edits.clear()
            found.advice.append(Advice(path, 0, f"{GUARD}: {why}; see docs/builds.md", _UNPROVED, ""))
            return found
        found.edits.append(TextEdit(path, splice.start, splice.end, splice.new, why, "", doubt))
    return found


def _too_old(toml: TomlText) -> str:
    """A backend can't have a marker, so an older Python could not build the project from source any more."""
    asked = toml.get(("project", "requires-python"))
    if asked is None:
        asked = toml.get(("tool", "poetry", "dependencies", "python"))
    lowest = [numbers(version) for version in re.findall(r"(?:>=|==|~=|\^|>)\s*(\d[\d.]*)", str(asked))]
    if lowest and max(lowest) >= OLDEST:
        return ""
    says = f"requires-python is {asked!r}" if asked is not None else "requires-python is not stated"
    return f"{says}: with a Python older than 3.10 the guard does not run, and this project could not be built from source"


def _workflow(path: str, text: str, parse_yaml: Callable[[str], Any] | None) -> Proposal:
    found = Proposal()
    place = _BUILDS.search(text)
    if place is None:
        return found
    start = place.start() if place["item"] else _item_start(text, place)
    indent = place["indent"] if place["item"] else place["indent"][:-2]
    end = _item_end(text, place.end(), len(indent))
    folder = _folder(text[start:end], place["action"] or place["command"])
    step = {"name": "Will the wheels load?", "run": f"pipx run {GUARD} check {folder} --format github"}
    nl = newline_of(text)
    lines = f"{indent}- name: {step['name']}{nl}{indent}  run: {step['run']}{nl}"
    new = ("" if text[:end].endswith("\n") else nl) + lines
    advice = Advice(path, line_of(text, place.start()), lines.strip().replace(nl, "; "), "", "")
    if start < 0 or "\t" in text[start:end]:
        found.advice.append(_because(advice, "the step that builds the wheels is not written as a list's item of its own"))
        return found
    doubt = "" if parse_yaml else "no YAML parser is installed here, so it is not proved: pip install pyyaml"
    if parse_yaml is not None and not _one_more(parse_yaml, text, text[:end] + new + text[end:], step):
        found.advice.append(_because(advice, _UNPROVED))
        return found
    found.edits.append(TextEdit(path, end, end, new, "each wheel is checked before it is uploaded", "", doubt))
    return found


def _because(advice: Advice, why_not: str) -> Advice:
    return Advice(advice.path, advice.line, advice.text, why_not, advice.culprit)


def _item_start(text: str, place: re.Match[str]) -> int:
    """Where the list's item of a key begins; -1 where it is no item."""
    at = text.rfind("\n" + place["indent"][:-2] + "- ", 0, place.start()) if len(place["indent"]) >= 2 else -1
    return at + 1 if at >= 0 else -1


def _item_end(text: str, at: int, indent: int) -> int:
    """The start of the first line behind an item that is not deeper than the item; blank lines before it stay behind."""
    end = len(text)
    for line in re.compile(r"^(?P<blank>[ ]*)(?=[^\s])", re.MULTILINE).finditer(text, text.find("\n", at) + 1 or len(text)):
        if len(line["blank"]) <= indent:
            end = line.start()
            break
    kept = text[:end].rstrip(" \r\n")
    behind = text.find("\n", len(kept))
    return end if behind < 0 else min(behind + 1, end)


def _folder(step: str, builder: str) -> str:
    stated = re.search(r"output-dir:[ ]*([\w./-]+)|(?:--out(?:put-dir|dir)?|-o|-w)[ =]([\w./-]+)", step)
    return (stated[1] or stated[2]) if stated else _FOLDERS.get(builder, "dist")


def _one_more(parse_yaml: Callable[[str], Any], before: str, after: str, step: dict[str, str]) -> bool:
    """Whether the only difference is one more step in one list."""
    try:
        return _differences(parse_yaml(before), parse_yaml(after), step) == 1
    except Exception:
        return False


def _differences(one: Any, other: Any, step: dict[str, str]) -> int:
    """How often ``other`` has the step more than ``one``; 2 for any other difference."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return sum(_differences(value, other[key], step) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other):
            return sum(_differences(a, b, step) for a, b in zip(one, other, strict=True))
        rest = list(other)
        if step in rest and len(rest) == len(one) + 1:
            rest.remove(step)
            return 1 if rest == one else 2
        return 2
    return 0 if one == other and type(one) is type(other) else 2
