"""What a report or a wheel asks ``fix`` for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.findings import Report
from tls_wheel_guard.fix.project import Project
from tls_wheel_guard.fix.propose import Asked
from tls_wheel_guard.fix.pyproject import project_name, same_project
from tls_wheel_guard.inputs.bare_file import OpenFile
from tls_wheel_guard.inputs.opening import open_input

__all__ = ["asked_by", "asked_from"]

_ALLOCATOR = frozenset({"malloc", "free"})
LARGEST_REPORT = 256 << 20


def asked_from(path: Path, project: Project) -> Asked:
    """What a wheel, a bare shared object or a report in JSON asks for. Raises UsageError where it is of another project."""
    if not path.exists():
        raise UsageError(f"--from {path}: no such file", hint="give a wheel, or what `check --format json -o FILE` wrote")
    with open_input(path) as opened:
        if isinstance(opened, OpenFile) and not opened.is_elf:
            return _from_document(path, opened.file, project)
        report = check_wheel(opened, Config())
        _require_same([report.wheel], project, path)
        interposers = opened.exporters(_ALLOCATOR, lambda module: module.facts.initial_exec.own > 0)
        return asked_by([report], sorted({module.name for module in interposers}))


def asked_by(reports: Sequence[Report], interposers: Sequence[str] | None = None) -> Asked:
    """What reports ask for. ``interposers``: modules with initial-exec TLS that export malloc and free; None where nobody looked."""
    findings = [finding for report in reports for finding in report.findings]
    culprits = {suspect.match.culprit.id for finding in findings for suspect in finding.culprits}
    looked = None if interposers is None else tuple(interposers)
    return Asked(frozenset(culprits), frozenset(finding.rule for finding in findings), looked)


def _from_document(path: Path, file: IO[bytes], project: Project) -> Asked:
    file.seek(0)
    data = file.read(LARGEST_REPORT + 1)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableInput(f"--from {path}: neither a wheel nor JSON", hint="give a wheel, or what `check --format json` wrote") from error
    wheels = document.get("wheels") if isinstance(document, dict) else None
    rows = [row for row in wheels if isinstance(row, dict)] if isinstance(wheels, list) else []
    if not rows:
        raise UnreadableInput(f"--from {path}: it is no report of check: it has no wheels", hint="give what `check --format json` wrote")
    names = _require_same([str(row.get("wheel")) for row in rows], project, path)
    findings = [f for row in rows if str(row.get("wheel")) in names for f in _tables(row.get("findings"))]
    culprits = {str(culprit.get("id")) for finding in findings for culprit in _tables(finding.get("culprits"))}
    return Asked(frozenset(culprits), frozenset(str(finding.get("rule")) for finding in findings))


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _require_same(wheels: Sequence[str], project: Project, path: Path) -> set[str]:
    """The names of those that are the project's wheels; all of them where one of the names is not known."""
    name = project_name(project.toml())
    same = {wheel for wheel in wheels if name is None or same_project(wheel, name)}
    if not same:
        other = wheels[0].partition("-")[0]
        raise UsageError(f"--from {path}: it is a wheel of {other}, and this project is {name}", hint="give a wheel of this project")
    return same
