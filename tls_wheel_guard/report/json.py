"""The report for programs; its schema is ``schema.json`` beside this file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tls_wheel_guard.findings import SEVERITIES, Report
from tls_wheel_guard.report.style import Style
from tls_wheel_guard.version import __version__

__all__ = ["document", "write"]


def document(reports: Sequence[Report]) -> dict[str, Any]:
    """The JSON document as values."""
    return {
        "version": 1,
        "tool": {"name": "tls-wheel-guard", "version": __version__},
        "wheels": [report.to_dict() for report in reports],
        "summary": {
            "wheels": len(reports),
            "modules": sum(len(report.modules) for report in reports),
            **{severity: sum(report.count(severity) for report in reports) for severity in reversed(SEVERITIES)},
        },
    }


def write(reports: Sequence[Report], style: Style) -> str:
    """The document as text; ASCII, so that any output encoding carries it."""
    del style
    return json.dumps(document(reports), indent=2) + "\n"
