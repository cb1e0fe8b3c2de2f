"""Progress on stderr, for people who wait: only on a terminal, only when the work takes longer than half a second."""

from __future__ import annotations

import sys
import time

from tls_wheel_guard.findings import Report

__all__ = ["Progress"]

PATIENCE = 0.5
"""Seconds before anything is shown."""


class Progress:
    """A counter of files done, on one line that is wiped at the end."""

    def __init__(self, total: int, quiet: bool) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._shown = False
        self._on = sys.stderr.isatty() and not quiet and total > 1

    def __call__(self, report: Report) -> None:
        """Count one more file."""
        self._done += 1
        if self._on and time.monotonic() - self._started >= PATIENCE:
            sys.stderr.write(f"\r\x1b[K{self._done}/{self._total} {report.wheel[:60]}")
            sys.stderr.flush()
            self._shown = True

    def close(self) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
