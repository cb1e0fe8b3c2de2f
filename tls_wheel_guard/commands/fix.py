"""Project files -> edits -> a diff, or the files written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tls_wheel_guard.archive.atomic import written_together
from tls_wheel_guard.commands.fix_report import asked_from
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.errors import Refused, UnreadableInput, UsageError
from tls_wheel_guard.fix.edit import BuildFile, Proposal, Unparsable, decode
from tls_wheel_guard.fix.init import init_proposal
from tls_wheel_guard.fix.paths import folder_of
from tls_wheel_guard.fix.project import Ambiguous, Project
from tls_wheel_guard.fix.propose import Asked, check_syntax, propose
from tls_wheel_guard.fix.result import Fix
from tls_wheel_guard.fix.settle import holds
from tls_wheel_guard.inputs.project import ProjectFiles, read_file, read_project
from tls_wheel_guard.records import replace

__all__ = ["Plan", "fix_project", "plan_fix", "write_fix"]

_SHOWN_ONLY = "run it again with --unsafe to write these too, once you have read them"


class Plan:
    """A project that was read, and the edits that were found for it. ``fix``: what is shown; ``write``: puts it into the files."""

    def __init__(self, read: ProjectFiles, decoded: Mapping[str, BuildFile], proposal: Proposal) -> None:
        self.read, self._decoded = read, decoded
        paths = {edit.path for edit in proposal.edits}
        texts = {path: decoded[path].text if path in decoded else None for path in paths}
        self.fix = Fix(str(read.top / read.folder), tuple(proposal.edits), tuple(proposal.advice), texts)

    def changed(self, unsafe: bool) -> dict[str, tuple[bytes | None, bytes]]:
        """Old and new bytes of each file with the edits in it, proved once more; raises Refused and UnreadableInput."""
        chosen = [edit for edit in self.fix.edits if edit.safe or unsafe]
        found: dict[str, tuple[bytes | None, bytes]] = {}
        for path in dict.fromkeys(edit.path for edit in chosen):
            text = self.fix.new_text(path, chosen)
            if not holds(self.fix.texts[path] or "", [edit for edit in chosen if edit.path == path], check_syntax):
                raise Refused(f"{path}: these edits contradict each other, so nothing was written", hint="read the diff, and make them by hand")
            with _readable():
                file = self._decoded.get(path) or BuildFile(path, "")
                found[path] = (self.read.files.get(path), file.encode(text))
        return found


def fix_project(
    project: str | os.PathLike[str] = ".", *, report: str | os.PathLike[str] | None = None, write: bool = False, unsafe: bool = False
) -> Fix:
    """The lasting edits of a project's build files. ``report``: a report in JSON, or a wheel, that chooses what to fix.

    ``write``: put the safe edits into the files, with ``unsafe`` the others too: all files or none. Raises UsageError, UnreadableInput,
    and Refused where a file changed meanwhile.
    """
    plan = plan_fix(Path(project), Path(report) if report is not None else None)
    return write_fix(plan, unsafe) if write else plan.fix


def plan_fix(folder: Path, report: Path | None = None, *, init: bool = False) -> Plan:
    """Read a project and find its edits; raises UsageError and UnreadableInput."""
    read = read_project(folder)
    with _readable():
        decoded = _decoded(read)
        project = Project({path: file.text for path, file in decoded.items()}, read.folder, _submodules(decoded))
        if init:
            return Plan(read, decoded, init_proposal(project, _yaml_parser()))
        asked = asked_from(report, project) if report is not None else None
        return Plan(read, decoded, propose(project, known_culprits(), asked))


def plan_for(folder: Path, asked: Asked) -> Plan:
    """As :func:`plan_fix`, for what is asked."""
    read = read_project(folder)
    with _readable():
        decoded = _decoded(read)
        project = Project({path: file.text for path, file in decoded.items()}, read.folder, _submodules(decoded))
        return Plan(read, decoded, propose(project, known_culprits(), asked))


class _readable:  # noqa: N801  (read as a word in `with`)
    """Turns what the pure package raises into errors with an exit code, one line each."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unparsable):
            raise UnreadableInput(f"{error.path}: {error}", hint="correct the file first; nothing was changed") from error
        if isinstance(error, UnicodeEncodeError):
            raise UnreadableInput(f"the edit can't be written in the file's encoding: {error}", hint="nothing was changed") from error
        if isinstance(error, Ambiguous):
            hint = f"name one: tls-wheel-guard fix {folder_of(error.manifests[0]) or '.'}"
            raise UsageError(f"several crates here become shared objects: {error}", hint=hint) from error


def _decoded(read: ProjectFiles) -> dict[str, BuildFile]:
    """Texts of all files; one that is no text and that nothing else names is left out."""
    found: dict[str, BuildFile] = {}
    for path, data in read.files.items():
        try:
            found[path] = decode(path, data)
        except Unparsable as error:
            if path.endswith((".toml", ".lock")) or path in ("setup.py", f"{read.folder}/setup.py"):
                error.path = path
                raise
    return found


def _submodules(decoded: Mapping[str, BuildFile]) -> tuple[str, ...]:
    text = decoded[".gitmodules"].text if ".gitmodules" in decoded else ""
    lines: Iterable[tuple[str, str, str]] = (line.partition("=") for line in text.splitlines())
    return tuple(value.strip() for key, _, value in lines if key.strip() == "path")


def _yaml_parser() -> Callable[[str], Any] | None:
    """PyYAML's safe loader where it is installed; workflows are only edited with certainty where one is."""
    try:
        import yaml  # noqa: PLC0415
    except ImportError:
        return None
    loader: Callable[[str], Any] = yaml.safe_load
    return loader


def write_fix(plan: Plan, unsafe: bool = False) -> Fix:
    """Put the edits into the files: all or none. Raises Refused where none may be written or a file changed, UsageError where one can't be."""
    changes = plan.changed(unsafe)
    if plan.fix.edits and not changes:
        raise Refused(f"nothing was written: no edit is proved to be safe ({len(plan.fix.edits)} found)", hint=_SHOWN_ONLY)
    for path, (old, _) in changes.items():
        if read_file(plan.read.top / path) != old:
            raise Refused(f"{path}: it changed in the meantime, so nothing was written", hint="run it again")
    try:
        written_together({plan.read.top / path: new for path, (_, new) in changes.items()})
    except OSError as error:
        where = error.filename or plan.read.top
        raise UsageError(f"{where}: it can't be written: {error.strerror or error}", hint="nothing was changed; check its permissions") from error
    return replace(plan.fix, written=tuple(edit for edit in plan.fix.edits if edit.safe or unsafe))
