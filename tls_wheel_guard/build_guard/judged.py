"""Which wheels a build inside another one has judged: `tls-wheel-guard build` around a project that has the plugin or the backend too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tls_wheel_guard.config.sources import JUDGED
from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.inputs.files import sha256_of

__all__ = ["judged_inside", "note_judged"]


@contextmanager
def judged_inside(environment: dict[str, str]) -> Iterator[Callable[[Path], bool]]:
    """Set a variable that tells builds inside to note what they judge; gives what asks whether a file is among it, by its bytes.

    Raises UsageError.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix="tls-wheel-guard-judged-")
    except OSError as error:
        raise UsageError(f"no temporary folder can be made: {error.strerror}", hint="set TMPDIR to a folder that can be written") from error
    with temporary as folder:
        notes = Path(folder, "sha256")
        environment[JUDGED] = str(notes)
        yield lambda path: notes.is_file() and sha256_of(path) in notes.read_text(encoding="ascii").split()


def note_judged(paths: Iterable[Path]) -> None:
    """Note files as judged, for the build around this one, if there is any."""
    notes = os.environ.get(JUDGED)
    # The folder has gone where a daemon, started inside, outlives the build.
    if notes and Path(notes).parent.is_dir():
        # Where the note can't be made, the build around judges the wheel again.
        with suppress(OSError, UnreadableInput), Path(notes).open("a", encoding="ascii") as file:
            file.writelines(f"{sha256_of(path)}\n" for path in paths if path.suffix == ".whl")
