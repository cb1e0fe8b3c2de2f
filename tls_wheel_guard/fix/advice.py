"""What can not be edited with certainty: the file, the line, what to change, and why it was not done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tls_wheel_guard.culprits.model import Culprit
from tls_wheel_guard.culprits.remedy_edits import ConfigureArgument, FlagChange, RemedyEdit
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, line_of
from tls_wheel_guard.fix.literals import has_flag
from tls_wheel_guard.fix.paths import is_below, name_of, suffix_of

__all__ = ["configure_proposal", "left_over", "no_remedy", "vendored_by"]

_VENDORED = frozenset({
    "3rdparty", "3rd_party", "third_party", "third-party", "thirdparty", "vendor", "vendored", "extern", "external", "externals",
    "contrib", "subprojects", "submodules", "deps", "_deps", "node_modules",
})  # fmt: skip
_WHAT_IT_IS = {
    ".am": "a rule of make", ".ac": "a script of autoconf", ".in": "a template that is filled in later", ".mk": "a rule of make",
    ".yml": "a workflow", ".yaml": "a workflow", ".sh": "a script of the shell", ".gn": "a file of GN", ".bzl": "a file of Bazel",
    ".cfg": "a setting", ".toml": "a setting", ".py": "Python", ".cmake": "CMake", ".txt": "CMake", ".build": "meson's", ".rs": "Rust",
}  # fmt: skip
_ENTERS = re.compile(r"^[ \t]*(?:cd|pushd)[ \t]+[^\n]*|&&[ \t]*cd[ \t]+[^\n&]*", re.MULTILINE)
_COMMENT = re.compile(r"^\s*(#|//|\*|/\*|;|dnl\b|REM\b)")


def vendored_by(path: str, submodules: Iterable[str] = ()) -> str:
    """Why a file is another project's, "" where it is the author's own. ``submodules``: folders that .gitmodules names."""
    parents = path.split("/")[:-1]
    for module in submodules:
        if is_below(path, module):
            return f"{module} is a submodule: its own project has to change it"
    for n, part in enumerate(parents):
        if part.lower() in _VENDORED:
            return f"{'/'.join(parents[: n + 1])} holds other projects' files: the next update would undo it"
    return ""


def left_over(files: Mapping[str, str], changes: Sequence[tuple[str, FlagChange]], done: Proposal) -> list[Advice]:
    """Lines of build files that have a flag, or a piece of one, and that no edit and no advice is about yet."""
    found: list[Advice] = []
    for path, text in files.items():
        touched = {line_of(text, edit.start) for edit in done.edits if edit.path == path}
        touched |= {item.line for item in done.advice if item.path == path} | {line for name, line in done.elsewhere if name == path}
        for culprit, change in changes:
            option, _, value = change.old.partition("=")
            if option not in text:
                continue
            for number, line in enumerate(text.splitlines(), 1):
                if number not in touched and not _COMMENT.match(line) and (has_flag(line, change.old) or _is_piece(line, option, value)):
                    touched.add(number)
                    found.append(Advice(path, number, _instead(change), _why_not(path, has_flag(line, change.old)), culprit))
    return found


def _instead(change: FlagChange) -> str:
    return f"{change.old} becomes {change.new}" if change.new else f"take {change.old} out"


def _is_piece(line: str, option: str, value: str) -> bool:
    """``-ftls-model=`` with a value that is put together elsewhere."""
    return bool(value) and re.search(rf"{re.escape(option)}=(?![a-z])", line) is not None


def _why_not(path: str, whole: bool) -> str:
    if not whole:
        return "the model is put together there"
    made = name_of(path).lower().startswith(("makefile", "gnumakefile"))
    what = _WHAT_IT_IS.get(suffix_of(path), "a rule of make" if made else "a file of its own kind")
    return f"it is {what}, and what the line does with the flag is not known"


def configure_proposal(files: Mapping[str, str], edit: ConfigureArgument, culprit: str) -> Proposal:
    """Add an argument to a ``configure`` that a literal script runs. A shell has no parser here, so this is never safe by itself."""
    found = Proposal()
    projects = re.compile("|".join(map(re.escape, edit.projects)), re.IGNORECASE)
    pattern = re.compile(r"(?<![\w./${}-])(?:[\w./${}-]*/)?configure(?![\w.])(?=[ \t\\\r\n]|$|[\"'])")
    for path, text in files.items():
        if edit.argument in text:
            found.solved.add(culprit)
        elif projects.search(text):
            for call in pattern.finditer(text):
                if _is_about(text, call, projects):
                    _configure(found, path, text, call, edit, culprit)
    return found


def _is_about(text: str, call: re.Match[str], projects: re.Pattern[str]) -> bool:
    """Whether a configure is the library's: its own command names it, or the folder that the script entered last."""
    end = call.end()
    while (newline := text.find("\n", end)) >= 0 and text[:newline].rstrip("\r").endswith(("\\", ",", "(", "[")):
        end = newline + 1
    if projects.search(text, text.rfind("\n", 0, call.start()) + 1, newline if newline >= 0 else len(text)):
        return True
    entered = list(_ENTERS.finditer(text, 0, call.start()))
    return bool(entered) and projects.search(entered[-1][0]) is not None


def _configure(found: Proposal, path: str, text: str, call: re.Match[str], edit: ConfigureArgument, culprit: str) -> None:
    start = text.rfind("\n", 0, call.start()) + 1
    line = text[start : text.find("\n", call.end()) if "\n" in text[call.end() :] else len(text)]
    if _COMMENT.match(line):
        return
    behind, quote = text[call.end() : call.end() + 1], text[call.start() - 1 : call.start()]
    number = line_of(text, call.start())
    if path.endswith(".sh") and behind in (" ", "\n", "\r", "", "\t"):
        new = f" {edit.argument}"
    elif path.endswith(".py") and behind in ("'", '"') and behind == quote:
        new = f"{behind}, {quote}{edit.argument}"
    else:
        why_not = "whether this configure is the library's, and where its arguments end, is not known"
        found.advice.append(Advice(path, number, f"configure {edit.argument}", why_not, culprit))
        return
    doubt = edit.doubt or "which library's configure the script runs there is not certain"
    why = f"{culprit}: {edit.argument} builds it without initial-exec TLS"
    found.edits.append(TextEdit(path, call.end(), call.end(), new, why, culprit, doubt))


def no_remedy(culprits: Iterable[Culprit], recipes_of: Mapping[str, Sequence[RemedyEdit]], builds: Sequence[str]) -> list[Advice]:
    """For each culprit that a report names and that no edit is about: its remedies for these build systems, in words."""
    found: list[Advice] = []
    for culprit in culprits:
        fitting = [r for r in culprit.remedies if set(r.builds) & {*builds, "any", "auditwheel"} and "today" not in r.builds]
        why_not = "no place for its remedy was found in these build files" if recipes_of.get(culprit.id) else "it is no edit of a build file"
        found += [Advice("", 0, remedy.text, why_not, culprit.id) for remedy in fitting[:2]]
    return found
