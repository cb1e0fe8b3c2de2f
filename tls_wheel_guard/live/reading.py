"""The static TLS of a live interpreter: how much room its loader has left for modules that come late.

The numbers are found in a child of that interpreter (scripts/static_tls.py says how): glibc's own variables are read where they
can be; otherwise the loader is asked, by modules of a few hundred bytes. Where no room is ever kept, or where the object format
knows no static TLS, that is the answer.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from tls_wheel_guard.errors import UnreadableInterpreter, UsageError
from tls_wheel_guard.live.answer import Answer, live_from
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.live.probe_module import TPOFF, tiny
from tls_wheel_guard.live.process import Ended, run_child
from tls_wheel_guard.loaders.refusals import MARKS
from tls_wheel_guard.platforms import MACHINES

__all__ = ["METHODS", "ask", "interpreter", "read_live"]

METHODS = ("auto", "read", "bisect")
"""How the numbers may be found: ``auto`` reads, and bisects where that can't be done."""
_ANSWER_LIMIT = 1 << 24


def interpreter(name: str | Path) -> Path:
    """The path of an interpreter that is named by its path or, without a slash, as on the command line.

    Raises:
        UsageError: there is none.
    """
    text = str(name)
    separators = [mark for mark in (os.sep, os.altsep) if mark]
    found = Path(text) if any(mark in text for mark in separators) else Path(shutil.which(text) or text)
    if found.is_dir():
        raise UsageError(f"{text}: it is a folder, not an interpreter", hint=f"its interpreter may be {found / 'bin' / 'python'}")
    if not found.exists():
        raise UsageError(f"{text}: there is no such interpreter", hint="give the path of a Python")
    if not os.access(found, os.X_OK):
        raise UsageError(f"{text}: it can't be executed", hint="give the path of a Python, not of a script for one")
    return Path(os.path.abspath(found))  # noqa: PTH100  (resolve() would follow a virtual environment's link out of it)


def read_live(
    python: str | Path,
    *,
    imports: Sequence[str] = (),
    method: str = "auto",
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Live:
    """Read a new process of an interpreter.

    Args:
        python: its path, or its name on PATH.
        imports: modules that it imports first, in this order; the current folder is searched too, as by ``python -c``.
        method: one of METHODS.
        timeout: seconds until it is ended.
        environment: all its variables; None for those of this process.

    Raises:
        UsageError: there is no such interpreter, or a name in ``imports`` can't be one.
        UnreadableInterpreter: it can't be started, hangs, dies, is no Python, can't import, or its loader gives no clear answer.
    """
    path = interpreter(python)
    return live_from(ask(path, imports=imports, method=method, timeout=timeout, environment=environment), tuple(imports))


def ask(
    path: Path,
    *,
    imports: Sequence[str] = (),
    method: str = "auto",
    stages: Sequence[str] = (),
    arguments: Sequence[str] = (),
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """What a child of the interpreter answers.

    ``stages``: what it does, ``module NAME``, ``distribution NAME``, ``file PATH`` or ``script PATH`` each, with all that it opens written
    down. ``arguments``: those of the script.

    Raises:
        UsageError: a name in ``imports`` can't be one.
        UnreadableInterpreter: there is no answer.
    """
    for name in imports:
        if not name or any(not part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{name!r} is not the name of a module", hint="write it as in an import statement")
    try:
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-env-", ignore_cleanup_errors=True) as folder:
            said = _asked(path, Path(folder), _task(imports, method, stages, arguments), timeout, environment)
    except OSError as error:
        raise UnreadableInterpreter(f"{path}: no temporary folder to ask it by: {error}", hint="TMPDIR chooses another") from error
    return Answer(str(path), said)


def _asked(path: Path, folder: Path, task: str, timeout: float, environment: Mapping[str, str] | None) -> str:
    """The text of the answer."""
    for file in resources.files("tls_wheel_guard").joinpath("live", "scripts").iterdir():
        if file.name.endswith(".py"):
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "task").write_text(task, encoding="utf-8")
    ended = run_child([str(path), str(folder / "static_tls.py"), str(folder)], timeout, environment)
    answer = folder / "answer"
    if ended.code != 0 or not answer.is_file():
        raise _no_answer(path, ended, timeout, _doing(folder))
    with answer.open("rb") as stream:
        return stream.read(_ANSWER_LIMIT).decode("utf-8", "replace")


def _task(imports: Sequence[str], method: str, stages: Sequence[str], arguments: Sequence[str]) -> str:
    lines = [f"method {method}", *(f"import {name}" for name in imports)]
    lines += [f"open {stage}" for stage in stages]
    lines += [f"argument {json.dumps(argument)}" for argument in arguments]
    lines += [f"refusal {mark}" for mark in MARKS]
    for machine in MACHINES:
        identity = f"{machine.e_machine} {machine.bits} {int(machine.little_endian)}"
        if machine.name in TPOFF:
            asking, control = tiny(machine.name), tiny(machine.name, asks=False)
            modules = f"{asking.memsz_at} {asking.align_at} {asking.flags_at} {control.data.hex()} {asking.data.hex()}"
        else:
            modules = "0 0 0  "
        lines.append(f"machine {identity} {machine.tls_variant} {modules}")
    return "\n".join(lines) + "\n"


def _doing(folder: Path) -> str:
    """What the child was doing at the end, where it has said so."""
    try:
        with (folder / "doing").open("rb") as stream:
            said = stream.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""
    return " while " + "".join(letter if letter.isprintable() else "?" for letter in said)


def _no_answer(path: Path, ended: Ended, timeout: float, doing: str) -> UnreadableInterpreter:
    last = doing + (f": {ended.last_line}" if ended.last_line else "")
    if ended.timed_out:
        return UnreadableInterpreter(f"{path}: no answer within {timeout:g} seconds{last}", hint="--timeout SECONDS gives it more")
    if ended.not_started:
        return UnreadableInterpreter(
            f"{path}: it can't be started here: {ended.not_started}",
            hint="another machine's Python can be named by a script that starts its emulator",
        )
    if ended.code < 0:
        return UnreadableInterpreter(f"{path}: it was killed by {ended.signal}{last}", hint="start it by hand to see why")
    return UnreadableInterpreter(f"{path}: it is no working Python: exit code {ended.code}, no answer{last}", hint="start it by hand to see why")
