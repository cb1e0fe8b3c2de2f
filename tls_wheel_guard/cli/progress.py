"""Progress on stderr, for people who wait: only on a terminal, only when the work takes longer than half a second."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.report.style import printable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Progress", "Status"]

PATIENCE = 0.5
"""Seconds before anything is shown."""


class _Line:
    """One line on a terminal that is written over, and wiped at the end. Safe to call from several threads."""

    def __init__(self, quiet: bool = False) -> None:
        self._shown = False
        self._lock = threading.Lock()
        self._closed = not sys.stderr.isatty() or quiet
        if not self._closed:
            self._later(PATIENCE)

    def _later(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._tick)
        self._timer.daemon = True
        self._timer.start()

    def text(self) -> str:
        """What the line says now."""
        raise NotImplementedError

    def _tick(self) -> None:
        """Every second, so that who waits sees that the work goes on."""
        with self._lock:
            if not self._closed:
                self._shown = True
                self.draw()
                self._later(1)

    def draw(self) -> None:
        """Write it, if it is time for it; the lock is held."""
        if self._shown:
            width = shutil.get_terminal_size((80, 24)).columns
            sys.stderr.write(f"\r\x1b[K{printable(self.text())[: width - 1]}")
            sys.stderr.flush()

    def close(self) -> None:
        """Wipe the line."""
        with self._lock:
            if not self._closed:
                self._timer.cancel()
            self._closed = True
            if self._shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
                self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Status(_Line):
    """What is going on, and the seconds since the start: for work whose end nobody knows."""

    def __init__(self, quiet: bool = False) -> None:
        self._what, self._since = "", time.monotonic()
        super().__init__(quiet)

    def __call__(self, what: str) -> None:
        """Say what is going on from now on."""
        with self._lock:
            self._what = what
            self.draw()

    def text(self) -> str:
        """Seconds, and what is going on."""
        return f"{time.monotonic() - self._since:.0f} s  {self._what}"


class Progress(_Line):
    """A count of files and bytes done."""

    def __init__(self, paths: Sequence[Path], quiet: bool) -> None:
        self._sizes = {path: _size(path) for path in paths}
        self._done = self._bytes = self._inside = 0
        self._name = ""
        super().__init__(quiet)

    def __call__(self, path: Path) -> None:
        """Count one more file."""
        with self._lock:
            self._done += 1
            self._bytes += self._sizes[path]
            self._name = path.name[:48]
            self.draw()

    def inside(self, name: str) -> None:
        """Count a file of a folder that counts as one."""
        with self._lock:
            self._inside += 1
            self._name = name[-48:]
            # Thousands a second are too many to draw.
            if self._inside % 100 == 0:
                self.draw()

    def text(self) -> str:
        """Files and megabytes, and the last name; of a folder its files."""
        if self._inside:
            return f"{self._inside:,} files  {self._name}"
        total = sum(self._sizes.values())
        return f"{self._done}/{len(self._sizes)} files, {self._bytes / 1e6:,.0f}/{total / 1e6:,.0f} MB {self._name}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
