"""Writers: reports in, one text out. Pure; width and colour are arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import github, json, text
from tls_wheel_guard.report.style import Style

__all__ = ["WRITERS", "Style"]

WRITERS: dict[str, Callable[[Sequence[Report], Style], str]] = {
    "text": text.write,
    "json": json.write,
    "github": github.write,
}
"""``--format`` -> writer."""
