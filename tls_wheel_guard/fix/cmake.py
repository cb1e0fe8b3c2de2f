"""CMakeLists.txt and *.cmake: literal flags, and options of libraries that a project brings in by source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from tls_wheel_guard.culprits.remedy_edits import CmakeOption
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, Unparsable, apply, line_of, named, newline_of
from tls_wheel_guard.fix.literals import Literal
from tls_wheel_guard.fix.paths import folder_of, is_below, joined, name_of
from tls_wheel_guard.fix.versions import older
from tls_wheel_guard.records import dataclass

__all__ = ["Argument", "Command", "cmake_commands", "cmake_literals", "declares_option", "homes_of", "is_cmake", "option_proposal", "sets_option"]

# The lexical grammar of cmake-language(7).
_TOKEN = re.compile(
    r"(?P<bracket_comment>\#\[(?P<c>=*)\[.*?\](?P=c)\])|(?P<bracket>\[(?P<b>=*)\[.*?\](?P=b)\])|(?P<bad>\#?\[=*\[)|(?P<comment>\#[^\r\n]*)"
    r'|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<open>\()|(?P<close>\))|(?P<space>[\s;]+)'
    r'|(?P<unquoted>(?:[^\s()\#"\\;]|\\.|(?<=[^\s()\#";])"(?:[^"\\]|\\.)*")+)',
    re.DOTALL,
)
_FLAG_COMMANDS = frozenset(
    {"add_compile_options", "list", "set", "set_property", "set_source_files_properties", "set_target_properties", "string",
     "target_compile_options", "add_definitions", "add_link_options", "target_link_options", "target_link_libraries", "link_libraries"}
)  # fmt: skip
_NO_FLAGS = frozenset({"if", "elseif", "while", "message", "option", "foreach", "return"})
_TESTS = re.compile(r"check_|try_compile|_flag_supported", re.IGNORECASE)
_BRINGS = re.compile(r"\b(add_subdirectory\w*|fetchcontent_declare|cpmaddpackage|externalproject_add)\b", re.IGNORECASE)
_ELSEWHERE = frozenset({
    ("APPLE",), ("WIN32",), ("MSVC",), ("MINGW",), ("EMSCRIPTEN",), ("CMAKE_SYSTEM_NAME", "STREQUAL", "Darwin"),
    ("CMAKE_SYSTEM_NAME", "STREQUAL", "Windows"), ("CMAKE_SYSTEM_NAME", "MATCHES", "Darwin"), ("CMAKE_SYSTEM_NAME", "MATCHES", "Windows"),
})  # fmt: skip
"""Conditions that no system with a static TLS block meets."""
_TRUE = frozenset({"1", "ON", "YES", "TRUE", "Y"})


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument's span with its quotes, and its text between them, as it is written."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command invocation; its name in lower case, since CMake does not care."""

    name: str
    start: int
    end: int
    arguments: tuple[Argument, ...]

    def words(self) -> tuple[str, ...]:
        """The arguments' texts."""
        return tuple(argument.text for argument in self.arguments)


def cmake_commands(text: str) -> tuple[Command, ...]:
    """All commands of a file in order; raises Unparsable."""
    return tuple(_commands(text))


def _commands(text: str) -> Iterator[Command]:
    name, begun, depth = "", 0, 0
    arguments: list[Argument] = []
    for kind, start, end in _tokens(text):
        if kind == "open":
            if not depth and not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise Unparsable(f"line {line_of(text, start)}: a command's name was expected before the bracket")
            depth += 1
        elif kind == "close":
            depth -= 1
            if depth < 0:
                raise Unparsable(f"line {line_of(text, start)}: a bracket closes that never opened")
            if not depth:
                yield Command(name.lower(), begun, end, tuple(arguments))
                name, arguments = "", []
        elif depth:
            arguments.append(Argument(start, end, _inner(kind, text[start:end])))
        elif name or kind != "unquoted":
            raise Unparsable(f"line {line_of(text, start)}: a bracket was expected behind a command's name")
        else:
            name, begun = text[start:end], start
    if depth or name:
        raise Unparsable(f"line {line_of(text, begun)}: the command {name[:40]!r} does not end")


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found["bad"] is not None:
            raise Unparsable(f"line {line_of(text, at)}: {text[at : at + 12]!r} does not end, or is no CMake")
        kind = str(found.lastgroup) if found.lastgroup not in ("c", "b") else "bracket" if found["bracket"] else "bracket_comment"
        if kind not in ("comment", "bracket_comment", "space"):
            yield kind, at, found.end()
        at = found.end()


def _inner(kind: str, raw: str) -> str:
    if kind == "quoted":
        return raw[1:-1]
    return re.sub(r"^\[=*\[|\]=*\]$", "", raw) if kind == "bracket" else raw


def cmake_literals(text: str) -> Sequence[Literal]:
    """Every argument of every command, in order."""
    found: list[Literal] = []
    branches: list[bool] = []
    for command in cmake_commands(text):
        _branch(branches, command)
        elsewhere = any(branches)
        found += [
            Literal(a.start, a.end, a.text, _doubt(command.name), _item(command.arguments, n), command.name in _NO_FLAGS, elsewhere)
            for n, a in enumerate(command.arguments)
        ]
    return found


def _branch(branches: list[bool], command: Command) -> None:
    """Follow if() to endif(): for each that is open, whether this branch is for a system without a static TLS block."""
    if command.name == "if":
        branches.append(command.words() in _ELSEWHERE)
    elif command.name == "endif" and branches:
        branches.pop()
    elif command.name in ("else", "elseif") and branches:
        branches[-1] = command.name == "elseif" and command.words() in _ELSEWHERE


def _doubt(name: str) -> str:
    if name in _FLAG_COMMANDS:
        return ""
    if _TESTS.search(name):
        return f"{name} tests the flag, and the result may mean something else then"
    return f"what the command {name} does with it is not known"


def _item(arguments: Sequence[Argument], place: int) -> tuple[int, int]:
    return (arguments[place - 1].end if place else arguments[place].start), arguments[place].end


def declares_option(text: str, option: str) -> bool:
    """Whether a CMakeLists.txt declares an option, which proves that this version of the library has it."""
    return option in text and any(c.name in ("option", "cmake_dependent_option") and c.words()[:1] == (option,) for c in cmake_commands(text))


def sets_option(text: str, edit: CmakeOption) -> bool:
    """Whether a file gives the option the wanted value already: by ``set``, or as ``-DNAME=VALUE`` or ``NAME VALUE`` of a download."""
    if edit.option not in text:
        return False
    wanted = edit.value.upper() in _TRUE
    pair = re.compile(rf"(?:-D)?{re.escape(edit.option)}(?::\w+)?(?:=|\s+|$)(\S*)")
    for command in cmake_commands(text):
        words = command.words()
        if command.name == "set" and words[:1] == (edit.option,) and len(words) > 1 and (words[1].upper() in _TRUE) == wanted:
            return True
        if command.name not in ("option", "if", "elseif") and any(
            (found := pair.fullmatch(word)) and (found[1].upper() in _TRUE) == wanted for word in words
        ):
            return True
    return False


def is_cmake(path: str) -> bool:
    """Whether a file is CMake by its name; ``config.h.cmake`` is a template of another language."""
    return name_of(path) == "CMakeLists.txt" or re.fullmatch(r"[^.]+\.cmake", name_of(path)) is not None


def option_proposal(files: Mapping[str, str], edit: CmakeOption, culprit: str) -> Proposal:
    """Set the option before the command that brings the library in: add_subdirectory of its source, FetchContent, CPM, ExternalProject."""
    found = Proposal()
    texts = {path: text for path, text in files.items() if is_cmake(path)}
    homes = homes_of(texts, edit.option)
    own = {path: text for path, text in texts.items() if not any(is_below(path, home) for home in homes)}
    for path, text in own.items():
        with named(path):
            if sets_option(text, edit):
                found.solved.add(culprit)
                return found
    for path, text in own.items():
        if _BRINGS.search(text) and (homes or any(word in text.lower() for word in edit.projects)):
            with named(path):
                for command in cmake_commands(text):
                    _bring(found, path, text, command, edit, homes, lambda folder: f"{folder}/CMakeLists.txt" in files, culprit)
    return found


def homes_of(files: Mapping[str, str], option: str) -> set[str]:
    """The folders of projects whose CMakeLists.txt declares an option, the top left out."""
    found = set()
    for path, text in files.items():
        if path.endswith("CMakeLists.txt") and folder_of(path):
            with named(path):
                found |= {folder_of(path)} if declares_option(text, option) else set()
    return found


def _bring(
    found: Proposal, path: str, text: str, command: Command, edit: CmakeOption, homes: set[str], in_tree: Callable[[str], bool], culprit: str
) -> None:
    words = command.words()
    if command.name.startswith("add_subdirectory") and words:
        folder = re.sub(r"^\$\{(CMAKE_CURRENT_SOURCE_DIR|CMAKE_CURRENT_LIST_DIR|CMAKE_SOURCE_DIR|PROJECT_SOURCE_DIR)\}/", "", words[0])
        base = "" if words[0].startswith(("${CMAKE_SOURCE_DIR}", "${PROJECT_SOURCE_DIR}")) else folder_of(path)
        doubt = _OWN_COMMAND.format(command.name) if command.name != "add_subdirectory" else ""
        if joined(base, folder) in homes:
            _set_before(found, path, text, command, edit, culprit, doubt)
        elif folder.rstrip("/").rpartition("/")[2].lower() in edit.projects and not in_tree(joined(base, folder)):
            _set_before(found, path, text, command, edit, culprit, doubt or _NOT_HERE.format(folder, edit.option))
    elif command.name in ("fetchcontent_declare", "cpmaddpackage", "externalproject_add") and _names(words, edit):
        version = _version(words)
        if edit.since and version and older(version, edit.since):
            advice = f"use {edit.since} or later, with {edit.option} = {edit.value}"
            why_not = f"version {version} has no {edit.option}"
            found.advice.append(Advice(path, line_of(text, command.start), advice, why_not, culprit))
        elif command.name == "externalproject_add":
            _to_external(found, path, text, command, edit, culprit)
        else:
            doubt = "" if version or not edit.since else f"whether its version is {edit.since} or later does not stand there"
            _set_before(found, path, text, command, edit, culprit, doubt)


def _names(words: Sequence[str], edit: CmakeOption) -> bool:
    return any(re.search(rf"(?:^|[/:@.]){re.escape(p)}(?:\.git|[@#/._-]|$)", word, re.IGNORECASE) for p in edit.projects for word in words)


def _version(words: Sequence[str]) -> str:
    """The version in GIT_TAG, VERSION, an archive's name or CPM's short form; empty where none stands there."""
    after = [word for key, word in pairwise(words) if key in ("GIT_TAG", "VERSION", "URL", "URLS")]
    short = [part for word in words for part in re.findall(r"[@#](v?\d[\w.]*)", word)]
    for word in [*after, *short]:
        if (tag := re.search(r"(?:^|[/_-])v?(\d+\.\d+(?:\.\d+)*)(?:\.(?:tar|zip|tgz)|$|[^\w.])", word)) is not None:
            return tag[1]
    return ""


def _set_before(found: Proposal, path: str, text: str, command: Command, edit: CmakeOption, culprit: str, doubt: str) -> None:
    start = text.rfind("\n", 0, command.start) + 1
    indent = text[start : command.start]
    if indent.strip():
        start, indent = command.start, ""
    line = f'{indent}set({edit.option} {edit.value} CACHE BOOL "{_WHY}" FORCE){newline_of(text)}'
    made = TextEdit(path, start, start, line, _REASON.format(edit.option, edit.value), culprit, doubt or edit.doubt)
    _keep(found, text, made, command)


def _to_external(found: Proposal, path: str, text: str, command: Command, edit: CmakeOption, culprit: str) -> None:
    given = f"-D{edit.option}={edit.value}"
    place = next((a for a in command.arguments if a.text == "CMAKE_ARGS"), None)
    if place is not None:
        made = TextEdit(path, place.end, place.end, f" {given}", _REASON.format(edit.option, edit.value), culprit, edit.doubt)
    else:
        end = command.end - 1
        made = TextEdit(path, end, end, f" CMAKE_ARGS {given}", _REASON.format(edit.option, edit.value), culprit, edit.doubt)
    _keep(found, text, made, command)


def _keep(found: Proposal, text: str, edit: TextEdit, command: Command) -> None:
    """The edit where, read again, the file has the same commands but for what was meant; else advice."""
    before, after = cmake_commands(text), cmake_commands(apply(text, [edit]))
    at = before.index(command)
    new = after[at].words()
    same = [c.words() for c in before[:at]] == [c.words() for c in after[:at]]
    if edit.start < command.start or edit.new.startswith("set("):
        good = same and len(after) == len(before) + 1 and [c.words() for c in after[at + 1 :]] == [c.words() for c in before[at:]]
    else:
        rest = list(new)
        for word in edit.new.split():
            rest.remove(word)
        good = same and tuple(rest) == command.words() and len(after) == len(before)
    if good:
        found.edits.append(edit)
    else:
        line = line_of(text, command.start)
        found.advice.append(Advice(edit.path, line, edit.new.strip(), "the edit could not be proved", edit.culprit))


_OWN_COMMAND = "what the command {} does is not known"
_NOT_HERE = "the source of {} is not here, such as a submodule that was not fetched: whether its version has {} is not known"
_WHY = "initial-exec TLS does not load late"
_REASON = "{} = {}: the library is then built without initial-exec TLS, and can be loaded late"
