"""The edits that ``fix`` has for the project here, where the wheels that are judged are its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tls_wheel_guard.errors import TlsWheelGuardError
from tls_wheel_guard.findings import Report
from tls_wheel_guard.fix.edit import Unparsable
from tls_wheel_guard.fix.pyproject import project_name, same_project
from tls_wheel_guard.fix.result import Fix
from tls_wheel_guard.fix.toml_text import TomlText
from tls_wheel_guard.inputs.project import read_file

__all__ = ["proposed_fix"]


def proposed_fix(folder: Path, reports: Sequence[Report]) -> Fix | None:
    """The edits for what the reports found; None without any, or where the wheels are of another project.

    A project that can't be read has no edits here: `fix` says why.
    """
    try:
        data = read_file(folder / "pyproject.toml")
        name = project_name(TomlText(data.decode("utf-8"))) if data is not None else None
        own = [report for report in reports if name is not None and report.tags and same_project(report.wheel, name)]
        if not any(finding.severity != "note" for report in own for finding in report.findings):
            return None
        # Most wheels that are checked in a project's folder are its own, but not all, and this takes longer than judging a small one.
        from tls_wheel_guard.commands.fix import plan_for  # noqa: PLC0415
        from tls_wheel_guard.commands.fix_report import asked_by  # noqa: PLC0415

        fix = plan_for(folder, asked_by(own, _interposers(own))).fix
    except (TlsWheelGuardError, Unparsable, UnicodeDecodeError):
        return None
    return fix if fix.edits else None


def _interposers(reports: Sequence[Report]) -> list[str]:
    """Modules that replace the C library's malloc and free."""
    return sorted({module.path for report in reports for module in report.modules if module.traced.interposer is not None})
