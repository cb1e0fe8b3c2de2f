"""One wheel of an index -> its entry and its facts: read as little as is certain, or judged anew by what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tls_wheel_guard.commands.check import Asked, judge_contents
from tls_wheel_guard.commands.facts import StoredClear, StoredWheel, facts_of, is_certain
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.index.connection import Connection
from tls_wheel_guard.index.facts import decoded, encoded
from tls_wheel_guard.index.listing import ListedWheel
from tls_wheel_guard.index.policy import Policy
from tls_wheel_guard.index.reading import WheelRead, read_wheel
from tls_wheel_guard.index.rows import Row, key_of
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.inputs.wheel import wheel_tags
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.targets import promised_by

__all__ = ["Done", "Task", "judge_wheel"]


@dataclass(frozen=True, slots=True)
class Task:
    """One wheel to read, or with ``facts`` to judge anew."""

    wheel: ListedWheel
    facts: Any = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task. ``row`` None: it could not be read, for the reason ``error``; ``again``: its facts do not suffice."""

    task: Task
    row: Row | None = None
    error: str | None = None
    again: bool = False


def judge_wheel(task: Task, config: Config, asked: Asked, screening: bool, connection: Connection) -> Done:
    """Read one wheel and judge it, or judge it by its facts; raises TlsWheelGuardError where it can't be read."""
    wheel = task.wheel
    promised = (*(promised_by(wheel_tags(wheel.filename)) if asked.own_tags else ()), *config.more_targets)
    policy = Policy(config.room, int(config.room * config.crowding)) if screening else None
    if task.facts is not None:
        return _from_facts(task, promised, policy, config, asked)
    with read_wheel(wheel, promised, connection, policy, config.bounds) as found:
        clear = StoredClear(found.modules)
        if found.file is None:
            return Done(task, _row(found, ["clear", encoded(clear)], _clear_entry(wheel, promised, clear)))
        if found.rest is not None and policy is not None:
            stored = _facts(found, config)
            if stored is not None and is_certain(stored, clear.modules, promised, policy):
                facts = ["part", [encoded(stored), encoded(clear)]]
                return Done(task, _row(found, facts, _part_entry(stored, clear, wheel, config, asked)))
        read = found.rest() if found.rest is not None else found
        whole = _facts(read, config)
        return Done(task, _row(read, ["whole", encoded(whole)], _judged(whole, wheel, config, asked)))


def _facts(found: WheelRead, config: Config) -> StoredWheel:
    if found.file is None:
        raise AssertionError("what was read lies in a file")
    with open_input(found.file, config.bounds, only=found.members) as opened:
        return facts_of(opened)


def _from_facts(task: Task, promised: Sequence[Target], policy: Policy | None, config: Config, asked: Asked) -> Done:
    """Judge anew; facts that say too little, or are damaged, are read again."""
    wheel = task.wheel
    try:
        kind, data = task.facts
        if kind == "whole":
            entry = _judged(decoded(StoredWheel, data), wheel, config, asked)
        elif policy is None:
            return Done(task, again=True)
        elif kind == "part":
            stored, clear = decoded(StoredWheel, data[0]), decoded(StoredClear, data[1])
            if not is_certain(stored, clear.modules, promised, policy):
                return Done(task, again=True)
            entry = _part_entry(stored, clear, wheel, config, asked)
        else:
            clear = decoded(StoredClear, data)
            if not policy.allows(promised, clear.modules):
                return Done(task, again=True)
            entry = _clear_entry(wheel, promised, clear)
    except (ValueError, TypeError, IndexError):
        return Done(task, again=True)
    found = WheelRead(wheel, "whole" if kind == "whole" else "ranges", 0, wheel.sha256, size=wheel.size)
    return Done(task, _row(found, task.facts, entry))


def _part_entry(stored: StoredWheel, clear: StoredClear, wheel: ListedWheel, config: Config, asked: Asked) -> dict[str, Any]:
    """The entry of a wheel of which some members were read whole: all that a check finds, and of the others what their beginnings say."""
    entry = _judged(stored, wheel, config, asked)
    return {**entry, "modules": [*entry["modules"], *_clear_modules(clear)]}


def _judged(stored: StoredWheel, wheel: ListedWheel, config: Config, asked: Asked) -> dict[str, Any]:
    return judge_contents(stored.contents, wheel.place, stored.looks, config, asked).to_dict()


def _row(found: WheelRead, facts: Any, entry: dict[str, Any]) -> Row:
    wheel = replace(found.wheel, sha256=found.sha256, size=found.size or found.wheel.size)
    more = {"url": wheel.place, "sha256": wheel.sha256, "bytes_read": found.bytes_read, "read": found.read}
    return Row(key_of(wheel, found.version), wheel, found.read, found.bytes_read, facts, {**entry, "path": wheel.place, **more})


def _clear_entry(wheel: ListedWheel, promised: Sequence[Target], clear: StoredClear) -> dict[str, Any]:
    """The entry of a wheel that was not read whole: it has no findings, and of its modules only what their beginnings say."""
    return {
        "wheel": wheel.filename,
        "tags": list(wheel_tags(wheel.filename)),
        "targets": [
            {"tag": t.tag, "machine": t.machine, "libc": t.libc, "oldest": ".".join(map(str, t.oldest)) if t.oldest else None} for t in promised
        ],
        "modules": _clear_modules(clear),
        "findings": [],
        "allowed": [],
        "not_applicable": {},
        "nested_archives": [],
    }


def _clear_modules(clear: StoredClear) -> list[dict[str, Any]]:
    return [{"path": m.path, "machine": m.machine, "screening": "clear", "descriptors": m.descriptors} for m in clear.modules]
