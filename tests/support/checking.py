"""Wheels checked as the command checks them, for tests of findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import Config, Report, check_wheel

__all__ = ["check", "found"]


def check(folder: Path, members: dict[str, bytes], tag: str, **settings: Any) -> Report:
    return check_wheel(make_wheel(folder, members, f"cp312-cp312-{tag}"), Config(**settings))


def found(report: Report) -> list[tuple[str, str]]:
    return [(f.rule, f.severity) for f in report.findings]
