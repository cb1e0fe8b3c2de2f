"""A child process that may hang, crash or write without end: it is ended in time, with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

__all__ = ["Ended", "run_child"]

_KEPT = 1 << 14
"""Bytes of the end of stderr that are kept."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. ``code``: its exit code, less than 0 for a signal; ``not_started``: the system's reason, or ""."""

    code: int
    errors: str
    timed_out: bool = False
    not_started: str = ""

    @property
    def last_line(self) -> str:
        """The last line that it wrote to stderr, without control characters."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return "".join(letter if letter.isprintable() else "?" for letter in lines[-1])[:500] if lines else ""

    @property
    def signal(self) -> str:
        """The signal's name."""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"


class _Tail(threading.Thread):
    """Reads a stream to its end and keeps the last part."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.kept = b""

    def run(self) -> None:
        while part := os.read(self._stream.fileno(), 1 << 16):
            self.kept = (self.kept + part)[-_KEPT:]

    def close(self) -> None:
        """Wait a moment for the end, and close the stream."""
        self.join(1)
        if not self.is_alive():
            self._stream.close()


def run_child(command: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a program without input; its stdout is not wanted, the end of its stderr is kept.

    It gets a session of its own, and after ``timeout`` seconds the whole session is killed.
    """
    timed_out = False
    # After a good end too: nothing that the child started may outlive it.
    with contextlib.ExitStack() as ending:
        try:
            with _interrupts_wait():
                process = subprocess.Popen(  # noqa: S603  (the program is the user's choice)
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True
                )
                if process.stderr is None:
                    raise AssertionError("a pipe was asked for")
                tail = _Tail(process.stderr)
                tail.start()
                ending.callback(_end, process, tail)
        except OSError as error:
            return Ended(-1, "", not_started=error.strerror or str(error))
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
    return Ended(process.returncode, tail.kept.decode("utf-8", "replace"), timed_out)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delay Ctrl-C until the child is registered: an interrupt right after its start would leave it running."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if came:
        usual(*came[0])


def _end(process: subprocess.Popen[bytes], tail: _Tail) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    tail.close()
