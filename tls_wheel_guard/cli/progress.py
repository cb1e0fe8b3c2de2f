"""Progress on stderr, for people who wait: only on a terminal, only when the work takes longer than half a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tls_wheel_guard.report.style import printable

__all__ = ["Progress"]

PATIENCE = 0.5
"""Seconds before anything is shown."""


class Progress:
    """A count of files and bytes done, on one line that is wiped at the end. Safe to call from several threads."""

    def __init__(self, paths: Sequence[Path], quiet: bool) -> None:
        self._sizes = {path: _size(path) for path in paths}
        self._total = len(paths)
        self._done = self._bytes = 0
        self._name = ""
        self._shown = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._begin)
        self._timer.daemon = True
        if sys.stderr.isatty() and not quiet:
            self._timer.start()

    def __call__(self, path: Path) -> None:
        """Count one more file."""
        with self._lock:
            self._done += 1
            self._bytes += self._sizes[path]
            self._name = printable(path.name)[:48]
            if self._shown:
                self._draw()

    def _begin(self) -> None:
        with self._lock:
            self._shown = True
            self._draw()

    def _draw(self) -> None:
        total = sum(self._sizes.values())
        sys.stderr.write(f"\r\x1b[K{self._done}/{self._total} files, {self._bytes / 1e6:,.0f}/{total / 1e6:,.0f} MB {self._name}")
        sys.stderr.flush()

    def close(self) -> None:
        """Wipe the line."""
        self._timer.cancel()
        with self._lock:
            if self._shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
                self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
