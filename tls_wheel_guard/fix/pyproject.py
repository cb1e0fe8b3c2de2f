"""pyproject.toml: flags in build systems' tables, options of CMake for scikit-build-core, build requirements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tls_wheel_guard.culprits.remedy_edits import CmakeOption, Requirement
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, line_of
from tls_wheel_guard.fix.toml_text import Key, TomlText, quoted
from tls_wheel_guard.fix.versions import older

__all__ = ["backend_of", "build_doubt", "define_proposal", "defines", "manifests_of", "project_name", "requirement_proposal", "same_project"]

_FLAG_TABLES = frozenset({"scikit-build", "meson-python", "setuptools", "cibuildwheel", "maturin", "setuptools-rust", "tls-wheel-guard"})
_DEFINES: Key = ("tool", "scikit-build", "cmake", "define")


def build_doubt(path: Key) -> str | None:
    """What a string in pyproject.toml is, by its path: a flag in the tables that build systems read, else something of its own."""
    if path[:1] != ("tool",) or len(path) < 3:
        return None
    return "" if path[1] in _FLAG_TABLES else f"what [tool.{path[1]}] does with it is not known"


def backend_of(toml: TomlText) -> str:
    """The build backend; setuptools where none is named, as PEP 517 says. The guard's own stands for the one behind it."""
    named = toml.get(("build-system", "build-backend"))
    if named == "tls_wheel_guard.backend":
        named = toml.get(("tool", "tls-wheel-guard", "build-backend"))
    return named if isinstance(named, str) else "setuptools.build_meta:__legacy__"


def project_name(toml: TomlText) -> str | None:
    """The distribution's name where the file has it: PEP 621's, poetry's."""
    for path in (("project", "name"), ("tool", "poetry", "name")):
        if isinstance(name := toml.get(path), str):
            return name
    return None


def same_project(wheel: str, name: str) -> bool:
    """Whether a wheel's file name is of a project; a bare shared object's may be of any."""
    return not wheel.endswith(".whl") or _plain(wheel.partition("-")[0]) == _plain(name)


def manifests_of(toml: TomlText) -> list[str]:
    """The Cargo.toml of the crates that the build names: maturin's, setuptools-rust's."""
    named = toml.get(("tool", "maturin", "manifest-path"))
    found = [named] if isinstance(named, str) else []
    modules = toml.get(("tool", "setuptools-rust", "ext-modules"))
    for module in modules if isinstance(modules, list) else ():
        path = module.get("path", "Cargo.toml") if isinstance(module, dict) else None
        found += [path] if isinstance(path, str) else []
    return found


def define_proposal(path: str, text: str, edit: CmakeOption, culprit: str, brought: str) -> Proposal:
    """Set a CMake option in ``[tool.scikit-build.cmake.define]``. ``brought``: how the library comes in, for the sentence of why."""
    found = Proposal()
    toml = TomlText(text)
    if defines(toml, edit):
        found.solved.add(culprit)
        return found
    splice = toml.set((*_DEFINES, edit.option), edit.value)
    line = f'[{".".join(map(str, _DEFINES))}] {edit.option} = "{edit.value}"'
    if splice is None:
        found.advice.append(Advice(path, 0, line, "the edit could not be proved", culprit))
        return found
    why = f"{culprit}: {edit.option} = {edit.value} ({brought})"
    found.edits.append(TextEdit(path, splice.start, splice.end, splice.new, why, culprit, edit.doubt))
    return found


def defines(toml: TomlText, edit: CmakeOption) -> bool:
    """Whether scikit-build-core's settings give the option the wanted value."""
    given = toml.get((*_DEFINES, edit.option))
    if isinstance(given, dict) or given is not None:
        return str(given).upper() == edit.value.upper() or given is (edit.value == "ON")
    arguments = toml.get(("tool", "scikit-build", "cmake", "args"))
    return isinstance(arguments, list) and any(
        re.fullmatch(rf"-D{re.escape(edit.option)}(:\w+)?={re.escape(edit.value)}", str(word), re.IGNORECASE) for word in arguments
    )


def requirement_proposal(path: str, text: str, edit: Requirement, culprit: str) -> Proposal:
    """Raise a build requirement that allows only versions that are too old."""
    found = Proposal()
    toml = TomlText(text)
    requires: Any = toml.get(("build-system", "requires"))
    for n, requirement in enumerate(requires if isinstance(requires, list) else ()):
        if not isinstance(requirement, str) or not _is_too_old(requirement, edit):
            continue
        _, mark, condition = requirement.partition(";")
        new = f"{edit.name}>={edit.at_least}" + (f"; {condition.strip()}" if mark else "")
        entry = toml.entry(("build-system", "requires"))
        if entry is None or n >= len(entry.value.items):
            continue
        item = entry.value.items[n]
        after = TomlText(text[: item.start] + quoted(new) + text[item.end :])
        if after.get(("build-system", "requires")) != [*requires[:n], new, *requires[n + 1 :]]:
            found.advice.append(Advice(path, line_of(text, item.start), new, "the edit could not be proved", culprit))
            continue
        why = f"{culprit}: fixed in {edit.name} {edit.at_least}"
        found.edits.append(TextEdit(path, item.start, item.end, quoted(new), why, culprit, edit.doubt))
    return found


def _is_too_old(requirement: str, edit: Requirement) -> bool:
    """Whether a requirement keeps the package below the version: by ==, ~=, < or <=."""
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;]*)", requirement)
    if found is None or _plain(found[1]) != _plain(edit.name):
        return False
    bounds: Mapping[str, str] = dict(re.findall(r"(==|~=|<=|<)\s*(\d[\w.]*)", found[2]))
    return any(older(version, edit.at_least) or (mark == "<" and not older(edit.at_least, version)) for mark, version in bounds.items())


def _plain(name: str) -> str:
    """A name of PyPI as all spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
