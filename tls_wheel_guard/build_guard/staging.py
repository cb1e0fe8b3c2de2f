"""A wheel is built in a temporary folder and renamed into place when it is accepted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tls_wheel_guard.errors import UsageError

__all__ = ["release", "source_date_epoch", "unreleased"]


def source_date_epoch(environment: Mapping[str, str]) -> int | None:
    """SOURCE_DATE_EPOCH in seconds since 1970, None where it is not set; raises UsageError."""
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH={text!r} is not a number of seconds", hint="set it to the output of `date +%s`")
    return int(text)


@contextmanager
def unreleased(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, so that what is built in it can be renamed into place whole; removed at the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".tls-wheel-guard-", dir=folder)
    except OSError as error:
        raise UsageError(f"{folder}: it can't be written: {error.strerror}", hint="choose an output folder that can be written") from error
    with temporary as path:
        yield Path(path)


def release(wheel: Path, folder: Path) -> None:
    """Give an accepted wheel its final place; raises UsageError."""
    try:
        wheel.replace(folder / wheel.name)
    except OSError as error:
        raise UsageError(f"{folder / wheel.name}: it can't be written: {error.strerror}", hint="see what lies there") from error
