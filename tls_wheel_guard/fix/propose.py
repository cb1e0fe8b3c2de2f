"""The edits that a project needs: each culprit's remedies, asked of each of its build files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tls_wheel_guard.culprits.model import Culprit
from tls_wheel_guard.culprits.remedy_edits import (
    Attribute,
    AuditwheelExclude,
    CargoFeature,
    CargoVariable,
    CmakeOption,
    ConfigureArgument,
    FlagChange,
    RemedyEdit,
    Requirement,
)
from tls_wheel_guard.fix import advice, cargo, cibuildwheel, cmake, meson, pyproject, setuptools, source_code
from tls_wheel_guard.fix.crates import Crates
from tls_wheel_guard.fix.edit import Advice, Proposal, named
from tls_wheel_guard.fix.literals import Reader, flag_proposal, has_flag
from tls_wheel_guard.fix.paths import folder_of, is_below, joined, name_of, suffix_of
from tls_wheel_guard.fix.project import Project, crates_of, nested_projects
from tls_wheel_guard.fix.settle import settle
from tls_wheel_guard.fix.toml_text import parse_toml, string_literals
from tls_wheel_guard.records import dataclass, field, replace

__all__ = ["Asked", "check_syntax", "propose"]

DESCRIPTOR_RULES = frozenset({"descriptor-clobber", "unsupported-descriptors", "missing-libc-version"})
"""Rules about descriptors, whose findings say nothing about initial-exec."""
_C_SUFFIXES = frozenset({".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".hxx", ".inc", ".ipp", ".pyx", ".pxd"})


_NOT_BUILT = frozenset({
    "test", "tests", "testing", "doc", "docs", "example", "examples", "sample", "samples", "bench", "benches", "benchmark", "benchmarks",
})  # fmt: skip
_NOT_NAMED = "nothing in the build's own files names this file"
_INTERPOSES = "{} exports malloc and free: the loader calls malloc, and with dynamic access the two may wait for each other"
_NO_BUILD_FILES = _C_SUFFIXES | {".lock", ".rs", ".md", ".rst"}
_BUILDS = {
    "Cargo.toml": "cargo", "CMakeLists.txt": "cmake", "meson.build": "meson", "setup.py": "setuptools", "go.mod": "go", "configure": "autotools",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report asks for: the culprits that it names, and the rules of its findings.

    ``interposers``: modules with initial-exec TLS that export malloc and free; None where nobody looked.
    """

    culprits: frozenset[str]
    rules: frozenset[str]
    interposers: tuple[str, ...] | None = None


def propose(project: Project, culprits: Iterable[Culprit], asked: Asked | None = None) -> Proposal:
    """All edits and advice for a project. ``asked``: only what a report is about; None: whatever the files show.

    Raises Unparsable, with the path, for a file that the edits need and that is not what its name says, and Ambiguous.
    """
    return _Search(project, tuple(culprits), asked).run()


def check_syntax(path: str, text: str) -> None:
    """Parse a file by the parser for its kind; raises Unparsable."""
    reader = _reader(path)
    with named(path):
        if reader is not None:
            reader(text)
        elif suffix_of(path) in (".toml", ".lock"):
            parse_toml(text)


def _reader(path: str) -> Reader | None:
    """How the literals of a file are read; None where its language is not known."""
    name, suffix = name_of(path), suffix_of(path)
    if suffix == ".py":
        return setuptools.python_literals
    if name == "setup.cfg":
        return setuptools.cfg_literals
    if cmake.is_cmake(path):
        return cmake.cmake_literals
    if name == "meson.build":
        return meson.meson_literals
    if name == "pyproject.toml":
        return lambda text: string_literals(text, pyproject.build_doubt)
    if folder_of(path).endswith(".cargo") and name in ("config.toml", "config"):
        return lambda text: string_literals(text, cargo.config_doubt)
    return source_code.rust_literals if suffix == ".rs" else None


@dataclass(slots=True)
class _Search:
    project: Project
    culprits: tuple[Culprit, ...]
    asked: Asked | None
    found: Proposal = field(default_factory=Proposal)
    nested: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.nested = nested_projects(self.project)

    def run(self) -> Proposal:
        changes: list[tuple[str, FlagChange]] = []
        for culprit in self.culprits:
            for edit in self._edits_of(culprit):
                self.found.add(self._one(culprit.id, edit))
                if isinstance(edit, FlagChange):
                    changes.append((culprit.id, edit))
        self._settle()
        own = {p: t for p, t in self._own_files().items() if suffix_of(p) not in _NO_BUILD_FILES and self._is_of_build(p)}
        self.found.advice += advice.left_over(own, changes, self.found)
        self._say_what_is_left()
        return self.found

    def _edits_of(self, culprit: Culprit) -> list[RemedyEdit]:
        return [edit for remedy in culprit.remedies for edit in remedy.edits if self._wanted(culprit, edit)]

    def _wanted(self, culprit: Culprit, edit: RemedyEdit) -> bool:
        if edit.rules:
            return self.asked is not None and bool(self.asked.rules & set(edit.rules))
        if self.asked is None:
            return True
        return culprit.id in self.asked.culprits or (culprit.generic and bool(self.asked.rules - DESCRIPTOR_RULES))

    def _one(self, culprit: str, edit: RemedyEdit) -> Proposal:
        """The edits of one remedy; what it can be asked of depends on its kind."""
        if isinstance(edit, FlagChange):
            return self._flags(culprit, edit)
        if isinstance(edit, (CargoFeature, CargoVariable)):
            return self._cargo(culprit, edit)
        if isinstance(edit, CmakeOption):
            return self._cmake(culprit, edit)
        if isinstance(edit, ConfigureArgument):
            scripts = {path: text for path, text in self._own_files().items() if suffix_of(path) in (".sh", ".py", ".toml", ".yml", ".yaml")}
            return advice.configure_proposal(scripts, edit, culprit)
        if isinstance(edit, Attribute):
            return self._attributes(culprit, edit)
        return self._pyproject(culprit, edit)

    def _pyproject(self, culprit: str, edit: RemedyEdit) -> Proposal:
        path = self.project.pyproject
        text = self.project.files.get(path)
        if isinstance(edit, AuditwheelExclude):
            repairs = self.project.toml().get(("tool", "cibuildwheel")) is not None and self._uses_flag(edit.flags)
            if not (repairs or self._is_named(culprit)):
                return Proposal()
            with named(path):
                return cibuildwheel.exclude_proposal(path, text or "", edit, culprit)
        if isinstance(edit, Requirement) and text is not None:
            with named(path):
                return pyproject.requirement_proposal(path, text, edit, culprit)
        return Proposal()

    def _is_named(self, culprit: str) -> bool:
        return self.asked is not None and culprit in self.asked.culprits

    def _uses_flag(self, flags: Sequence[str]) -> bool:
        builds = {p: t for p, t in self._own_files().items() if _reader(p) is not None and suffix_of(p) != ".rs"}
        return any(has_flag(line, flag) for text in builds.values() for flag in flags if flag in text for line in text.splitlines())

    def _own_files(self) -> dict[str, str]:
        """The files of the project itself: not those of the workspace above it, nor other projects' in it."""
        return {p: t for p, t in self.project.files.items() if self._is_built(p) and not self._vendored(p)}

    def _is_built(self, path: str) -> bool:
        """Whether a file may be part of the wheel's build: no test, no documentation, and of no project within the project."""
        folder = self.project.folder
        if not is_below(path, folder):
            return False
        inside = path.removeprefix(f"{folder}/").split("/")[:-1]
        return not _NOT_BUILT & {part.lower() for part in inside} and not any(is_below(path, nested) for nested in self.nested)

    def _vendored(self, path: str) -> str:
        return advice.vendored_by(path, self.project.submodules)

    def _switched(self) -> set[str]:
        """Folders of libraries with a switch of their own: their flags are theirs to choose."""
        options = {edit.option for c in self.culprits for r in c.remedies for edit in r.edits if isinstance(edit, CmakeOption)}
        return {home for option in options for home in cmake.homes_of(self.project.files, option)}

    def _flags(self, culprit: str, edit: FlagChange) -> Proposal:
        found = Proposal()
        switched = self._switched()
        for path, text in self.project.files.items():
            reader = _reader(path)
            if edit.old not in text or reader is None or any(is_below(path, home) for home in switched):
                continue
            if self._is_built(path) or name_of(folder_of(path)) == ".cargo":
                known = self._is_of_build(path)
                if known or self.asked is not None:
                    with named(path):
                        made = flag_proposal(path, text, reader, edit, culprit, self._vendored(path))
                    made.edits = [one.doubted("" if known else _NOT_NAMED) for one in made.edits]
                    found.add(made)
        return found

    def _is_of_build(self, path: str) -> bool:
        """Whether a Python file is run by the build: setup.py, one at the top, or one whose name stands in the build's own files."""
        name = name_of(path)
        if suffix_of(path) != ".py" or name == "setup.py" or folder_of(path) == self.project.folder:
            return True
        word = re.escape(name.removesuffix(".py"))
        stem = re.compile(rf"(?<!\w){word}(?:\.py|:)|\b(?:import|from)[ \t]+(?:[\w.]+\.)?{word}\b")
        told = (self.project.files.get(joined(self.project.folder, file), "") for file in ("pyproject.toml", "setup.py", "setup.cfg"))
        return any(stem.search(text) for text in told)

    def _attributes(self, culprit: str, edit: Attribute) -> Proposal:
        found = Proposal()
        for path, text in self.project.files.items():
            if suffix_of(path) in _C_SUFFIXES and self._is_built(path):
                with named(path):
                    found.add(source_code.attribute_proposal(path, text, edit, culprit, self._vendored(path)))
        return found

    def _cargo(self, culprit: str, edit: CargoFeature | CargoVariable) -> Proposal:
        found = Proposal()
        if not any(name in text for path, text in self.project.files.items() if path.endswith((".toml", ".lock")) for name, _ in edit.crates):
            return found
        for manifest in crates_of(self.project):
            crates = Crates(self.project.files, manifest)
            if isinstance(edit, CargoVariable):
                found.add(cargo.variable_proposal(crates, edit, culprit, self._is_named(culprit)))
            else:
                features = self.project.toml().get(("tool", "maturin", "features"))
                given = [str(f) for f in features] if isinstance(features, list) else []
                found.add(cargo.feature_proposal(crates, self._settled(edit), culprit, self._is_named(culprit), given))
        return found

    def _settled(self, edit: CargoFeature) -> CargoFeature:
        """Where the wheel was looked at, it is known whether it exports malloc: features that make it do so decide nothing more."""
        looked = self.asked is not None and self.asked.interposers is not None
        return replace(edit, replaces_malloc=()) if looked else edit

    def _cmake(self, culprit: str, edit: CmakeOption) -> Proposal:
        files = {p: t for p, t in self.project.files.items() if is_below(p, self.project.folder)}
        toml = self.project.toml()
        if pyproject.defines(toml, edit):
            return Proposal(solved={culprit})
        found = Proposal() if edit.cached else cmake.option_proposal(files, edit, culprit)
        brought = cmake.homes_of(files, edit.option) or (edit.cached and self._mentions(files, edit.projects))
        if found.edits or found.advice or found.solved or not brought:
            return found
        if pyproject.backend_of(toml).startswith("scikit_build_core") and self.project.pyproject in files:
            with named(self.project.pyproject):
                how = "its source is part of the build" if not edit.cached else "its CMake package sets the flag"
                return pyproject.define_proposal(self.project.pyproject, files[self.project.pyproject], edit, culprit, how)
        text = f"cmake -D{edit.option}={edit.value}"
        found.advice.append(Advice("", 0, text, "which command brings the library in is not spelled out", culprit))
        return found

    def _mentions(self, files: Mapping[str, str], words: Sequence[str]) -> bool:
        pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
        return any(pattern.search(text) for path, text in files.items() if path.endswith((".cmake", "CMakeLists.txt")))

    def _settle(self) -> None:
        """Doubt all edits of an allocator that stands in for the process's own, and prove those of one file together."""
        doubt = _INTERPOSES.format(self.asked.interposers[0]) if self.asked and self.asked.interposers else ""
        self.found.edits = [edit.doubted(doubt) for edit in self.found.edits]
        settle(self.found, self.project.files, check_syntax)

    def _say_what_is_left(self) -> None:
        """Advice for culprits that a report names and that nothing is proposed for."""
        if self.asked is None:
            return
        touched = {edit.culprit for edit in self.found.edits} | {item.culprit for item in self.found.advice}
        recipes = {c.id: [edit for r in c.remedies for edit in r.edits] for c in self.culprits}
        left = [c for c in self.culprits if c.id in self.asked.culprits - touched and not c.generic]
        for culprit in left:
            if culprit.id in self.found.solved:
                why_not = "the project's files have its remedy already"
                self.found.advice.append(Advice("", 0, f"build the wheel again: {culprit.name}", why_not, culprit.id))
        self.found.advice += advice.no_remedy([c for c in left if c.id not in self.found.solved], recipes, self._builds())

    def _builds(self) -> list[str]:
        names = {name_of(path) for path in self.project.files}
        return [build for name, build in _BUILDS.items() if name in names]
