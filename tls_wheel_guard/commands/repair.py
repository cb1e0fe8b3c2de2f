"""Rewrite the machine code of a wheel's modules so that no static TLS is needed: plan, apply, prove, new wheel, read again.

A wheel is repaired as a whole or not at all: one module that can't be repaired for certain leaves the wheel as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tls_wheel_guard.archive.atomic import written_whole
from tls_wheel_guard.archive.metadata import dist_info_member
from tls_wheel_guard.archive.update import Change, update_wheel
from tls_wheel_guard.commands.mark import copy_input, place_in
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import MalformedElf, Refused, UnreadableInput, UnreadableMember, UsageError, reason_of
from tls_wheel_guard.findings import Finding
from tls_wheel_guard.inputs.contents import InputModule
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.inputs.wheel import OpenWheel
from tls_wheel_guard.limits import over
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.repair.plan import RepairPlan, plan_repair
from tls_wheel_guard.repair.prove import repaired
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.result import Repair
from tls_wheel_guard.targets import promised_by, targets_for
from tls_wheel_guard.version import __version__

__all__ = ["NOTE", "Wanted", "plan_file", "repair_file", "repair_wheel", "require_repaired"]

NOTE = "tls_wheel_guard.json"
"""The member of the dist-info folder that says what was changed."""
MAX_NOTE = 16 << 20
"""Bytes of a note that is read."""
RULE = "initial-exec-tls"
"""The finding that a repair cures; a module that it is allowed in is left alone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks for. ``note``: whether to leave a note in the wheel; ``epoch``: SOURCE_DATE_EPOCH.

    ``own_tags``: whether the wheel's own tags say which systems load it.
    """

    config: Config = Config()
    allow_dropping_build_id: bool = False
    note: bool = True
    epoch: int | None = None
    own_tags: bool = True


@dataclass(frozen=True, slots=True)
class _Work:
    """A plan with what it was made of: by a module's index its plan, and its bytes."""

    result: Repair
    plans: Mapping[int, RepairPlan]
    before: Mapping[int, bytes]


def repair_wheel(path: str | os.PathLike[str], wheel_dir: str | os.PathLike[str] = "wheelhouse", config: Config | None = None) -> Repair:
    """Repair one wheel, or bare shared object, into a folder; raises Refused where it can't be done for certain, and nothing is written."""
    source = Path(path)
    found = repair_file(source, Path(wheel_dir) / source.name, Wanted(config or Config()))
    require_repaired(found)
    return found


def require_repaired(repair: Repair) -> None:
    """Raise Refused with the first refusal, where there is one."""
    for module, error in repair.refused:
        raise Refused(f"{repair.wheel}: {module}: {error.message}", hint=error.hint)


def plan_file(path: Path, wanted: Wanted) -> Repair:
    """What a repair would do; raises UnreadableInput, and UsageError without capstone. Nothing is written."""
    with open_input(path, wanted.config.bounds) as opened:
        return _look(opened, wanted).result


def _look(opened: OpenInput, wanted: Wanted) -> _Work:
    contents = opened.contents
    if contents.unreadable:
        name, reason = contents.unreadable[0]
        raise UnreadableInput(f"{name}: {reason}", hint="see `tls-wheel-guard check`")
    promised = (promised_by(contents.tags) if wanted.own_tags else ()) + wanted.config.more_targets
    left = [module for module in contents.initial_exec if _is_allowed(module.name, wanted.config)]
    plans: dict[int, RepairPlan] = {}
    before: dict[int, bytes] = {}
    refused: list[tuple[str, CannotRepair]] = []
    for module in contents.initial_exec:
        if module in left:
            continue
        data = _bytes_of(opened, module)
        try:
            plans[module.index] = _plan(data, targets_for(module.facts, module.name, promised), wanted)
            before[module.index] = data
        except CannotRepair as error:
            refused.append((module.name, error))
    names = {module.index: module.name for module in contents.initial_exec}
    changed = tuple((names[index], plan) for index, plan in plans.items())
    return _Work(Repair(opened.name, opened.path, changed, tuple(refused), tuple(module.name for module in left)), plans, before)


def _is_allowed(module: str, config: Config) -> bool:
    return any(allow.matches(Finding(RULE, "error", module, (), ())) for allow in config.allow)


def _plan(data: bytes, targets: Sequence[Target], wanted: Wanted) -> RepairPlan:
    try:
        plan = plan_repair(data, targets, allow_dropping_build_id=wanted.allow_dropping_build_id)
    except MalformedElf as error:
        raise CannotRepair("malformed", error.message, hint="see `readelf -aW`") from error
    if plan is None:
        raise CannotRepair("relocation", "its initial-exec relocations are of a kind that has no repair")
    return plan


def _bytes_of(opened: OpenInput, module: InputModule) -> bytes:
    with opened.open_module(module) as source:
        if source.size > opened.limits.traced_size:
            raise UnreadableMember(f"{module.name} has {source.size:,} bytes; {over(opened.limits, 'traced-size')}")
        return source.read(0, source.size)


def repair_file(path: Path, destination: Path, wanted: Wanted) -> Repair:
    """Repair a wheel or bare shared object and write the result to ``destination``, which may be ``path``.

    With a refusal nothing is written; where nothing is to be repaired the file is copied. Raises UnreadableInput, UsageError, and Refused where
    the wheel itself must not change.
    """
    with open_input(path, wanted.config.bounds) as opened:
        work = _look(opened, wanted)
        if work.result.refused:
            return work.result
        if not work.plans and destination == path:
            return replace(work.result, written=str(destination))
        place_in(destination.parent, path)
        if work.plans:
            _write(opened, work, destination, wanted)
        else:
            copy_input(opened, destination)
    return replace(work.result, written=str(destination))


def _write(opened: OpenInput, work: _Work, destination: Path, wanted: Wanted) -> None:
    """Everything is proved before anything is written."""
    results = {index: repaired(work.before[index], plan) for index, plan in work.plans.items()}
    try:
        with written_whole(destination, Path(opened.path)) as out:
            if isinstance(opened, OpenWheel):
                changes: dict[int, Change] = {index: _becomes(work.before[index], new) for index, new in results.items()}
                added = _note(opened, work, results, changes) if wanted.note else {}
                update_wheel(opened.archive, out, changes, wanted.epoch, added)
            else:
                out.writelines(results.values())
            opened.close()
    except OSError as error:
        hint = "choose a folder that can be written and has room"
        raise UsageError(f"{destination}: it can't be written: {reason_of(error)}", hint=hint) from error


def _becomes(old: bytes | None, new: bytes) -> Change:
    """The change of a member to bytes that are known; raises Refused where it no longer has the bytes that were planned for."""

    def change(pieces: Iterable[bytes]) -> Iterator[bytes]:
        read = b"".join(pieces)
        if old is not None and read != old:
            raise Refused("the wheel changed while it was repaired", hint="repair it again")
        return iter([new])

    return change


def _note(opened: OpenWheel, work: _Work, results: Mapping[int, bytes], changes: dict[int, Change]) -> dict[str, bytes]:
    """The note: a change where the wheel has one already, which keeps what it says of other modules; else a new member."""
    record, old = dist_info_member(opened.archive, "RECORD"), dist_info_member(opened.archive, NOTE)
    if record is None:
        raise Refused("the wheel has no RECORD", hint="build it again")
    names = {module.index: module.name for module in opened.contents.modules}
    entries = [entry for entry in _old_entries(opened) if entry.get("module") not in {names[index] for index in results}]
    for index, plan in work.plans.items():
        entries.append(
            {
                "module": names[index],
                "machine": plan.machine,
                "slots": len(plan.slots),
                "sites": len(plan.sites),
                "flavour": plan.flavour,
                "layout": plan.layout_words,
                "sha256_before": hashlib.sha256(work.before[index]).hexdigest(),
                "sha256_after": hashlib.sha256(results[index]).hexdigest(),
            }
        )
    document = {"version": 1, "tool": {"name": "tls-wheel-guard", "version": __version__}, "repaired": entries}
    text = (json.dumps(document, indent=2) + "\n").encode()
    if old is not None:
        changes[old.index] = _becomes(None, text)
        return {}
    return {f"{record.name.rpartition('/')[0]}/{NOTE}": text}


def _old_entries(opened: OpenWheel) -> list[dict[str, object]]:
    member = dist_info_member(opened.archive, NOTE)
    if member is None or member.size > MAX_NOTE:
        return []
    try:
        found = json.loads(opened.archive.source(member).read(0, member.size)).get("repaired", [])
    except (UnreadableMember, ValueError, AttributeError, RecursionError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
