"""``[tool.cibuildwheel]``: the repair command of Linux wheels, and the audit that runs the guard."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tls_wheel_guard.culprits.remedy_edits import AuditwheelExclude
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, line_of
from tls_wheel_guard.fix.toml_text import Key, TomlText, proved, quoted

__all__ = ["audit_proposal", "exclude_proposal", "uses_audit"]

_TABLE: Key = ("tool", "cibuildwheel")
_REPAIR = re.compile(r"auditwheel\s+(?:-v\s+)?repair(?=\s)")
_DEFAULT = "auditwheel repair {} -w {{dest_dir}} {{wheel}}"
_WHY = "auditwheel copies {0} into the wheel, and {0} has initial-exec TLS whatever this build does; left out, one copy serves all packages"


def exclude_proposal(path: str, text: str, edit: AuditwheelExclude, culprit: str) -> Proposal:
    """Keep auditwheel from copying a library, where cibuildwheel's settings are in the file."""
    found = Proposal()
    toml = TomlText(text)
    option = f"--exclude {edit.library}"
    if toml.get(_TABLE) is None:
        why_not = "no [tool.cibuildwheel] is in pyproject.toml: who runs auditwheel is not known"
        found.advice.append(Advice(path, 0, f"auditwheel repair {option}", why_not, culprit))
        return found
    commands = _repair_commands(toml)
    if any(option in command for _, command, _, _ in commands):
        found.solved.add(culprit)
        return found
    for key, command, start, end in commands:
        place = _REPAIR.search(command)
        raw = _REPAIR.search(text, start, end)
        if place is None or raw is None or not proved(text, f"{text[: raw.end()]} {option}{text[raw.end() :]}", key, _with(toml, key, option)):
            why_not = "the command does not spell auditwheel repair out" if place is None else "the edit could not be proved"
            found.advice.append(Advice(path, line_of(text, start), f"auditwheel repair {option}", why_not, culprit))
            continue
        found.edits.append(TextEdit(path, raw.end(), raw.end(), f" {option}", _WHY.format(edit.library), culprit, edit.doubt))
    if not commands:
        splice = toml.set((*_TABLE, "linux", "repair-wheel-command"), _DEFAULT.format(option))
        if splice is not None:
            found.edits.append(TextEdit(path, splice.start, splice.end, splice.new, _WHY.format(edit.library), culprit, edit.doubt))
    return found


def _repair_commands(toml: TomlText) -> list[tuple[Key, str, int, int]]:
    """Every repair command that Linux builds may use: its path, its value, its span."""
    found = []
    for key, value in toml.strings():
        names = {name for name in key if isinstance(name, str)}
        if key[:2] == _TABLE and "repair-wheel-command" in names and not {"macos", "windows", "ios", "android", "pyodide"} & names:
            found.append((key, value.text, value.start, value.end))
    return found


def _with(toml: TomlText, key: Key, option: str) -> str:
    command = str(toml.get(key))
    place = _REPAIR.search(command)
    return f"{command[: place.end()]} {option}{command[place.end() :]}" if place else command


def uses_audit(files: Mapping[str, str]) -> bool | None:
    """Whether the cibuildwheel that the project's workflows name has an audit (4.0 and later); None where none is named."""
    for path, text in files.items():
        if path.startswith(".github/workflows/") or path.endswith((".txt", ".yml", ".yaml")):
            for number in re.findall(r"pypa/cibuildwheel@v?([0-9]{1,4})|cibuildwheel\s*[=~]=\s*([0-9]{1,4})", text):
                return int(number[0] or number[1]) >= 4
    return None


def audit_proposal(path: str, text: str, has_audit: bool | None) -> Proposal:
    """Let cibuildwheel check each wheel once it is repaired. Its own default audit is repeated, since setting the keys replaces it."""
    found = Proposal()
    toml = TomlText(text)
    if toml.get(_TABLE) is None or "tls-wheel-guard" in str(toml.get(_TABLE)):
        return found
    wanted = {
        "audit-requires": ("abi3audit", "tls-wheel-guard"),
        "audit-command": ("abi3audit --strict --report {abi3_wheel}", "tls-wheel-guard check {wheel}"),
    }
    if has_audit is False:
        lines = 'repair-wheel-command = "auditwheel repair -w {dest_dir} {wheel} && tls-wheel-guard check {dest_dir}"'
        advice = f'in [tool.cibuildwheel.linux]: before-build = "pip install tls-wheel-guard" and {lines}'
        found.advice.append(Advice(path, 0, advice, "the cibuildwheel that the workflow names has no audit: that came with 4.0", ""))
        return found
    doubt = "" if has_audit else "no workflow names the version of cibuildwheel; its audit came with 4.0"
    for key, default in wanted.items():
        given = toml.get((*_TABLE, key))
        items = [given] if isinstance(given, str) else given if isinstance(given, list) else list(default[:1])
        splice = toml.set((*_TABLE, key), [*items, default[1]])
        if splice is None:
            found.advice.append(Advice(path, 0, f"{key} = [..., {quoted(default[1])}]", "the edit could not be proved", ""))
        else:
            why = "each wheel is checked once auditwheel has repaired it" if key == "audit-command" else "what the audit needs"
            found.edits.append(TextEdit(path, splice.start, splice.end, splice.new, why, "", doubt))
    return found
