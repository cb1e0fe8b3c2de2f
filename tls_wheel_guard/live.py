"""The static TLS of a live interpreter: how much room its loader has left for modules that come late.

The numbers are found in a child of that interpreter (children/static_tls.py says how): glibc's own variables are read where they
can be; otherwise the loader is asked, by modules of a few hundred bytes. Where no room is ever kept, or where the object format
knows no static TLS, that is the answer.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from tls_wheel_guard.child import Ended, run_child
from tls_wheel_guard.elf.tiny import TPOFF, tiny
from tls_wheel_guard.errors import UnreadableInterpreter, UsageError
from tls_wheel_guard.loaders import glibc
from tls_wheel_guard.platforms import LIBCS, MACHINES, Libc, Machine, machine_called, machine_of
from tls_wheel_guard.tunables import read_tunables

__all__ = ["KEEPS_NO_ROOM", "METHODS", "NO_STATIC_TLS", "Answer", "Live", "ask", "interpreter", "live_from", "read_live"]

METHODS = ("auto", "read", "bisect")
"""How the numbers may be found: ``auto`` reads, and bisects where that can't be done."""

NO_STATIC_TLS = "the system has no static TLS block"
KEEPS_NO_ROOM = "the loader keeps no room for late modules"

_ANSWER_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True)
class Live:
    """What one process has; sizes in bytes.

    ``python`` is the path of the interpreter, ``implementation`` its name and version. ``used``, ``limit`` and ``align`` are
    glibc's ``_dl_tls_static_used``, ``_dl_tls_static_size`` less the TCB where blocks end at it, and ``_dl_tls_static_align``;
    found by bisecting, ``used`` and ``limit`` are right modulo ``align`` and in their difference, which is all that decides about
    later modules. They are None for other libcs. ``optional`` is what descriptors may still take; None where there is no such
    limit, and where it was not read. ``room`` is the largest block of alignment 1 that fits; None where the question has no
    meaning. ``tunables``: of glibc, in force when the process started.
    """

    python: str
    implementation: str
    libc: Libc
    libc_version: str | None
    machine: str
    variant: Literal[1, 2] | None
    used: int | None
    limit: int | None
    align: int | None
    optional: int | None
    room: int | None
    method: str
    tunables: Mapping[str, int]
    imported: tuple[str, ...] = ()

    def glibc_state(self) -> glibc.State | None:
        """The process as the model of glibc sees it; None for another loader's."""
        if self.variant is None or self.used is None or self.limit is None or self.align is None:
            return None
        version = tuple(int(part) for part in (self.libc_version or "").split(".") if part.isdigit()) or glibc.CURRENT
        return glibc.State(self.variant, self.used, self.limit, self.align, self.optional, version)

    def to_dict(self) -> dict[str, object]:
        """The document of ``env --format json``."""
        start = {"used": self.used, "limit": self.limit, "align": self.align, "optional": self.optional}
        return {
            "version": 1,
            "python": self.python,
            "implementation": self.implementation,
            "libc": self.libc,
            "libc_version": self.libc_version,
            "machine": self.machine,
            "start": None if self.used is None else start,
            "room": self.room,
            "method": self.method,
            "tunables": dict(self.tunables),
            "imported": list(self.imported),
        }


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
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """What a child of the interpreter answers.

    ``stages``: what it does, ``module NAME`` or ``file PATH`` each, with all that it opens written down.

    Raises:
        UsageError: a name in ``imports`` can't be one.
        UnreadableInterpreter: there is no answer.
    """
    for name in imports:
        if not name or any(not part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{name!r} is not the name of a module", hint="write it as in an import statement")
    try:
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-env-", ignore_cleanup_errors=True) as folder:
            said = _asked(path, Path(folder), _task(imports, method, stages), timeout, environment)
    except OSError as error:
        raise UnreadableInterpreter(f"{path}: no temporary folder to ask it by: {error}", hint="TMPDIR chooses another") from error
    return Answer(str(path), said)


def _asked(path: Path, folder: Path, task: str, timeout: float, environment: Mapping[str, str] | None) -> str:
    """The text of the answer."""
    for file in resources.files("tls_wheel_guard").joinpath("children").iterdir():
        if file.name.endswith(".py"):
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "task").write_text(task, encoding="utf-8")
    ended = run_child([str(path), str(folder / "static_tls.py"), str(folder)], timeout, environment)
    answer = folder / "answer"
    if ended.code != 0 or not answer.is_file():
        raise _no_answer(path, ended, timeout, _doing(folder))
    with answer.open("rb") as stream:
        return stream.read(_ANSWER_LIMIT).decode("utf-8", "replace")


def _task(imports: Sequence[str], method: str, stages: Sequence[str]) -> str:
    lines = [f"method {method}", *(f"import {name}" for name in imports)]
    lines += [f"open {stage}" for stage in stages]
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


class Answer:
    """The lines of an answer. What a child writes is not trusted: whatever it imported ran in the same process."""

    def __init__(self, python: str, text: str) -> None:
        self.python = python
        self.pairs = [(name, value) for name, _, value in (line.partition(" ") for line in text.split("\n")) if name]

    def broken(self, name: str) -> UnreadableInterpreter:
        """The error for a value that can't be."""
        text = f"{self.python}: its answer is broken: {name!r} is {(self.get(name) or '')[:100]!r}"
        return UnreadableInterpreter(text, hint="start it by hand, without the modules to import")

    def get(self, name: str) -> str | None:
        """The first value of a name."""
        return next((value for key, value in self.pairs if key == name), None)

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for key, value in self.pairs if key == name]

    def number(self, name: str) -> int | None:
        """A value that is a count of bytes."""
        text = self.get(name)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 20:
            raise self.broken(name)
        return int(text)


def live_from(answer: Answer, imports: tuple[str, ...] = ()) -> Live:
    """The process that a child has found; raises UnreadableInterpreter."""
    python = answer.python
    if failed := answer.get("import-failed"):
        raise UnreadableInterpreter(f"{python}: import {failed}", hint="--import takes modules that this interpreter can import")
    if failed := answer.get("failed"):
        raise UnreadableInterpreter(f"{python}: {failed}", hint="simulate takes the numbers as options too")
    libc = answer.get("libc")
    if libc not in LIBCS:
        raise answer.broken("libc")
    machine = _machine(answer)
    numbers = {name: answer.number(name) for name in ("used", "limit", "align", "optional", "room")}
    room, method = numbers["room"], answer.get("method")
    if libc in ("darwin", "windows", "wasm"):
        room, method = None, NO_STATIC_TLS
    elif libc in ("musl", "bionic"):
        room, method = 0, KEEPS_NO_ROOM
    elif method is None or room is None:
        raise UnreadableInterpreter(
            f"{python}: its machine or its libc ({libc}) is not one whose room can be found", hint="simulate takes the numbers as options too"
        )
    glibc = libc == "glibc"
    return Live(
        python=python,
        implementation=answer.get("implementation") or "unknown",
        libc=libc,
        libc_version=answer.get("libc-version") or None,
        machine=machine.name if machine else "unknown",
        variant=machine.tls_variant if machine else None,
        used=numbers["used"] if glibc else None,
        limit=numbers["limit"] if glibc else None,
        align=numbers["align"] if glibc else None,
        optional=numbers["optional"] if glibc else None,
        room=room,
        method=method,
        tunables=_tunables(answer),
        imported=imports,
    )


def _machine(answer: Answer) -> Machine | None:
    words = (answer.get("machine") or "").split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return machine_called((answer.get("uname") or "").lower())
    return machine_of(int(words[0]), int(words[1]), words[2] == "1")


def _tunables(answer: Answer) -> dict[str, int]:
    """The loader's own list; where it makes none, what the environment's words mean to it."""
    environment = answer.get("has-tunables")
    if environment is None:
        return {}
    version = tuple(int(part) for part in (answer.get("libc-version") or "").split(".") if part.isascii() and part.isdigit())
    found = read_tunables(environment, version)
    for line in answer.all("tunable"):
        name, _, value = line.partition(" ")
        if name in found and len(value) <= 18 and re.fullmatch("0x[0-9a-f]+", value):
            found[name] = int(value, 16)
    return found
