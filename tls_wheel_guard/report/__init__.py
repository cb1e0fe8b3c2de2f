"""Writers: reports in, one text out. Pure; width and colour are arguments."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report.style import Anchor, Style

__all__ = ["WRITERS", "Anchor", "Style"]

Writer = Callable[[Sequence[Report], Style], str]


def _writer(name: str) -> Writer:
    """A writer that is imported when it writes: a run needs one or two of them."""

    def write(reports: Sequence[Report], style: Style) -> str:
        found: Writer = importlib.import_module(f"{__name__}.{name}").write
        return found(reports, style)

    return write


WRITERS: dict[str, Writer] = {name: _writer(name) for name in ("text", "json", "github", "sarif", "markdown", "gitlab", "junit", "html")}
"""``--format`` -> writer."""
