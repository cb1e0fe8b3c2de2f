"""What a child wrote, checked like any input: whatever it imported ran in the same process."""

from __future__ import annotations

import re

from tls_wheel_guard.errors import UnreadableInterpreter
from tls_wheel_guard.live.model import KEEPS_NO_ROOM, NO_STATIC_TLS, Live, version_numbers
from tls_wheel_guard.loaders.glibc.tunables import read_tunables
from tls_wheel_guard.platforms import LIBCS, Machine, machine_called, machine_of

__all__ = ["Answer", "live_from"]

MAX_FILES = 10_000


class Answer:
    """The lines of an answer. What a child writes is not trusted: whatever it imported ran in the same process."""

    def __init__(self, python: str, text: str) -> None:
        self.python = python
        self.pairs = [(name, value) for name, _, value in (line.partition(" ") for line in text.split("\n")) if name]

    def broken(self, name: str) -> UnreadableInterpreter:
        """The error for an impossible value."""
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
        extra=answer.get("static-tls-extra"),
        files=tuple(path for path in answer.all("file")[:MAX_FILES] if path.startswith("/")),
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
    found = read_tunables(environment, version_numbers(answer.get("libc-version")))
    for line in answer.all("tunable"):
        name, _, value = line.partition(" ")
        if name in found and len(value) <= 18 and re.fullmatch("0x[0-9a-f]+", value):
            found[name] = int(value, 16)
    return found
