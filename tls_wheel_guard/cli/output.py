"""The one way out: stdout, stderr, files. What goes out is made safe to show here, and a failure to write is one line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.errors import UsageError, reason_of
from tls_wheel_guard.report.style import printable, safe_text

if TYPE_CHECKING:
    from tls_wheel_guard.findings import Report

__all__ = [
    "flush_stdout",
    "forget_stdout",
    "say",
    "say_text",
    "say_unreadable",
    "wants_traceback",
    "write_exact",
    "write_line",
    "write_pieces",
    "write_text",
]


def say(message: str) -> None:
    """One line on stderr, whatever a file's name may hold."""
    say_text(f"tls-wheel-guard: {printable(message)}")


def say_text(text: str) -> None:
    """Some lines on stderr. Where they can't be written, nobody can be told."""
    with contextlib.suppress(OSError):
        print(safe_text(text), file=sys.stderr, flush=True)


def write_line(line: str) -> None:
    """One line on stdout, whatever a file's name may hold; raises UsageError."""
    write_text(f"{printable(line)}\n", None)


def write_text(text: str, output: Path | None) -> None:
    """A text to stdout or to a file, whole or not at all; raises UsageError."""
    write_pieces((text,), output)


def write_pieces(pieces: Iterable[str], output: Path | None) -> None:
    """A text in pieces, as :func:`write_text`: a long one is never in memory as a whole. What making a piece raises passes through."""
    if output is None:
        for piece in pieces:
            _to_stdout(safe_text(piece))
        return
    try:
        _to_file((safe_text(piece).encode("utf-8") for piece in pieces), output)
    except OSError as error:
        raise UsageError(f"{output}: it can't be written: {reason_of(error)}", hint="name a file in a folder that can be written") from error


def write_exact(text: str, output: Path | None) -> None:
    """A patch: to a file or a pipe byte for byte, since carriage returns count in it; to a terminal as any text. Raises UsageError."""
    if output is None and sys.stdout.isatty():
        _to_stdout(safe_text(text))
        return
    data = text.encode("utf-8", "surrogateescape")
    try:
        if output is not None:
            _to_file((data,), output)
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    except BrokenPipeError:
        forget_stdout()
        return
    except OSError as error:
        where, hint = (
            (output, "name a file in a folder that can be written") if output else ("stdout", "see where it goes; -o FILE writes it elsewhere")
        )
        raise UsageError(f"{where}: it can't be written: {reason_of(error)}", hint=hint) from error
    flush_stdout()


def flush_stdout() -> None:
    """Write what is waiting; raises UsageError where that fails, but not where `| head` has read enough."""
    _to_stdout("")


def _to_stdout(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The exit code still says what was found.
        forget_stdout()
    except OSError as error:
        forget_stdout()
        hint = "see where it goes; -o FILE writes a report elsewhere"
        raise UsageError(f"stdout: it can't be written: {reason_of(error)}", hint=hint) from error


def forget_stdout() -> None:
    """Send what is still to come nowhere: nobody reads it, and the interpreter would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_file(pieces: Iterable[bytes], output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_file()):
        # A FIFO; /dev/stderr, a link that may lead to a file: what is there must not be replaced.
        with output.open("wb") as stream:
            stream.writelines(pieces)
        return
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.writelines(pieces)
        unfinished.replace(output)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def wants_traceback(environment: Mapping[str, str]) -> bool:
    """Whether the user asked to see where a bug of ours arises."""
    return environment.get("TLS_WHEEL_GUARD_TRACEBACK") == "1"


def say_unreadable(reports: Iterable[Report]) -> None:
    """A line on stderr for each file that could not be read."""
    for report in reports:
        if report.error is not None:
            say(f"{report.path}: {report.error}" + (f"; hint: {report.error_hint}" if report.error_hint else ""))
        if report.error_trace is not None and wants_traceback(os.environ):
            say_text(report.error_trace)
