"""Build files for the editors of ``fix``: one damaged file among the others of a sample project.

A file that can't be read is one line. An edit must lie in the text and say something else there; the file with its edits must parse by a
parser that is not ours where it did before, differ nowhere else, mean the same but for strings and what was added, and need no edit again;
the diff, applied by its own rules, must give the same text.
"""

from __future__ import annotations

import ast
import functools
import random
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import tomllib

from benchmarks.hostile import Wrong
from benchmarks.mutations import broken
from tests.support.fix_files import FORMS, damaged
from tests.support.projects import SAMPLES
from tls_wheel_guard.culprits.data_files import known_culprits
from tls_wheel_guard.fix.edit import BuildFile, Proposal, TextEdit, Unparsable, apply, decode, unified_diff
from tls_wheel_guard.fix.init import init_proposal
from tls_wheel_guard.fix.project import Ambiguous, Project
from tls_wheel_guard.fix.propose import Asked, propose
from tls_wheel_guard.rules import RULES

LONGEST = 6000
SUFFIXES = (".py", ".toml", ".txt", ".build", ".rs", ".c", ".lock", ".cfg")
IE = "-ftls-model=initial-exec"
MORE = {
    "setup.cfg": f"[build_ext]\ndefine = X\n[options]\nextra_compile_args = -O2 {IE}\n",
    ".cargo/config.toml": f'[build]\nrustflags = ["-Ztls-model=initial-exec"]\n[env]\nCFLAGS = "{IE} -O2"\n',
    "CMakeLists.txt": (
        f'project(x C)\nset(CMAKE_C_FLAGS "${{CMAKE_C_FLAGS}} {IE}")\n#[[ {IE} ]]\nadd_subdirectory(jemalloc)\nfind_package(mimalloc)\n'
    ),
    "cmake/flags.cmake": f"if(WIN32)\n  add_compile_options({IE})\nelse()\n  add_compile_options([[{IE}]] -g)\nendif()\n",
    "build.rs": f'fn main() {{ cc::Build::new().flag("{IE}").flag(r#"-O2"#).compile("x"); /* /* {IE} */ */ }}\n',
    "pyproject.toml": (
        '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
        f'[tool.cibuildwheel]\nenvironment = {{ CFLAGS = "{IE}" }}\n[[tool.cibuildwheel.overrides]]\nselect = "*musl*"\nbefore-build = "make"\n'
    ),
    ".github/workflows/wheels.yml": "jobs:\n  build:\n    steps:\n      - uses: actions/checkout@v4\n      - uses: pypa/cibuildwheel@v2.21\n",
}
"""Files that no sample project has, each in a project with nothing else."""
RULE_NAMES = frozenset(RULES)
NAMES = frozenset(path.name for path in SAMPLES.iterdir() if path.is_dir())


def seeds() -> list[bytes]:
    """``HOW FOLDER PATH``, a line end, the file's bytes. HOW: ``all``, ``report`` or ``init``; FOLDER: the sample project, ``-`` for none."""
    found = []
    for name in sorted(NAMES):
        found += [f"all {name} {path}\n".encode() + data[:LONGEST] for path, data in _sample(name).items()]
        found.append(f"init {name} pyproject.toml\n".encode() + _sample(name)["pyproject.toml"])
    found += [f"{how} - {path}\n{text}".encode() for path, text in MORE.items() for how in ("report", "init")]
    head = 'report - Cargo.toml\n[package]\nname = "x"\n[lib]\ncrate-type = ["cdylib"]\n[dependencies]\n'
    return [*found, *((head + form + "\n").replace("\0", "\n").encode() for form in FORMS)]


def case(chance: random.Random, number: int, found: Sequence[bytes]) -> bytes:
    """Damage of the file: every second one by pieces of its language."""
    head, _, body = chance.choice(found).partition(b"\n")
    return head + b"\n" + (damaged(chance, body) if number % 2 else broken(body, chance))


@functools.cache
def _sample(name: str) -> Mapping[str, bytes]:
    folder = SAMPLES / name
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in SUFFIXES and "target" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415  (optional)

    return yaml.safe_load(text)


def _proposal(how: str, files: Mapping[str, BuildFile]) -> Proposal:
    project = Project({path: file.text for path, file in files.items()})
    if how == "init":
        return init_proposal(project, _yaml)
    asked = Asked(frozenset(c.id for c in known_culprits()), RULE_NAMES, ()) if how == "report" else None
    return propose(project, known_culprits(), asked)


def judge(data: bytes) -> str:
    """``no edit``, ``safe edits``, ``unsafe edits``, ``refused``."""
    head, _, body = data.partition(b"\n")
    how, folder, path = [*head.decode("ascii", "replace").split(" ", 2), "-", "setup.py"][:3]
    sample = _sample(folder) if folder in NAMES else {}
    try:
        files = {name: decode(name, content) for name, content in {**sample, path: body}.items()}
        found = _proposal(how, files)
    except (Unparsable, Ambiguous) as error:
        if "\n" in str(error):
            raise Wrong(f"a refusal of several lines: {str(error)!r}") from error
        return "refused"
    if not found.edits:
        return "no edit"
    for chosen in ([e for e in found.edits if e.safe], found.edits):
        _require_sound(how, files, chosen)
    return "safe edits" if any(e.safe for e in found.edits) else "unsafe edits"


def _require_sound(how: str, files: Mapping[str, BuildFile], edits: Sequence[TextEdit]) -> None:
    result = dict(files)
    for path in {edit.path for edit in edits}:
        own = [edit for edit in edits if edit.path == path]
        before = files[path].text if path in files else ""
        for edit in own:
            if not 0 <= edit.start <= edit.end <= len(before) or before[edit.start : edit.end] == edit.new:
                raise Wrong(f"{path}: the edit {edit} of {len(before)} characters")
            if "global-dynamic" in edit.new and before[edit.start : edit.end] != edit.new.replace("global-dynamic", "initial-exec"):
                raise Wrong(f"{path}: {before[edit.start : edit.end]!r} becomes {edit.new!r}")
        after = apply(before, own)
        _require_same_meaning(path, before, after, own)
        if path in files and _patched(before, unified_diff(path, before, own)) != after:
            raise Wrong(f"{path}: the diff gives another text")
        try:
            written = (files.get(path) or BuildFile(path, "")).encode(after)
        except UnicodeEncodeError:
            # The command says so, and writes nothing.
            return
        try:
            result[path] = decode(path, written)
        except Unparsable as error:
            raise Wrong(f"{path}: the file can't be decoded with its edits: {error}") from error
        if result[path].text != after:
            raise Wrong(f"{path}: the file is another one when it is read again")
    _require_done(how, result)


def _require_done(how: str, result: Mapping[str, BuildFile]) -> None:
    """A second run changes nothing more, but what had waited for the first."""
    try:
        again = _proposal(how, result)
    except (Unparsable, Ambiguous) as error:
        raise Wrong(f"with its edits the project is refused: {error}") from error
    for edit in again.edits:
        before = result[edit.path].text if edit.path in result else ""
        if edit.safe and apply(before, [edit]) == before:
            raise Wrong(f"{edit.path}: an edit that changes nothing")


def _require_same_meaning(path: str, before: str, after: str, edits: Sequence[TextEdit]) -> None:
    """By parsers that are not ours."""
    if path.endswith((".toml", ".lock")):
        first, second = tomllib.loads(before), tomllib.loads(after)
        lost = [place for place in _leaves(first) if place not in _leaves(second)]
        if len(lost) > len(edits):
            raise Wrong(f"{path}: {len(edits)} edits change {lost[:5]}")
    elif path.endswith(".py"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                first_tree = ast.parse(before)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                if any(edit.safe for edit in edits):
                    raise Wrong(f"{path}: a safe edit of a file that is no Python: {error}") from error
                return
            second_tree = ast.parse(after)
        if all(edit.new for edit in edits) and _shape(first_tree) != _shape(second_tree):
            raise Wrong(f"{path}: more than strings changed")


def _shape(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            node.value = ""
    return ast.dump(tree)


def _leaves(value: Any, path: tuple[object, ...] = ()) -> dict[tuple[object, ...], str]:
    """Every value that is no table, by its path; items of lists by their order."""
    if isinstance(value, dict):
        return {place: leaf for key, item in value.items() for place, leaf in _leaves(item, (*path, key)).items()}
    if isinstance(value, list):
        return {place: leaf for n, item in enumerate(value) for place, leaf in _leaves(item, (*path, n)).items()}
    return {(*path, repr(value)): ""}


_HUNK = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@\n")


def _patched(before: str, diff: str) -> str:
    """The text with a diff applied, by the rules of unified diffs alone: line numbers as the hunks above leave them."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", before)
    parts = re.split(r"(?m)^(?=@@ -)", diff)
    for part in parts[1:]:
        found = _HUNK.match(part)
        if found is None:
            raise Wrong(f"a hunk without a header: {part[:80]!r}")
        first, count, _, grown = map(int, found.groups())
        old, new = _sides(part[found.end() :], count, grown)
        at = first - 1 if count else first
        if lines[at : at + count] != old:
            raise Wrong(f"a hunk for other lines: {part[:200]!r}")
        lines[at : at + count] = new
    return "".join(lines)


def _sides(body: str, count: int, grown: int) -> tuple[list[str], list[str]]:
    old: list[str] = []
    new: list[str] = []
    last: list[list[str]] = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", body):
        if line.startswith("\\"):
            for side in last:
                side[-1] = side[-1].removesuffix("\n")
            continue
        if len(old) == count and len(new) == grown:
            break
        last = [side for side, marks in ((old, " -"), (new, " +")) if line[0] in marks]
        for side in last:
            side.append(line[1:])
    return old, new
