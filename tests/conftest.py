"""What holds for the whole run, and what it says at its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_configure() -> None:
    """A shell that runs the tests in the background lets them ignore SIGINT, and all that they start: nothing could be interrupted."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests ran, how many were skipped, and how many of those were ground truth."""
    stats = terminalreporter.stats
    skipped = stats.get("skipped", [])
    ground = sum("ground_truth" in str(report.nodeid) for report in skipped)
    ran = sum(len(stats.get(kind, [])) for kind in ("passed", "failed"))
    terminalreporter.write_line(f"tests: {ran} ran, {len(skipped)} skipped ({ground} of them ground truth)")
