"""A project's files as texts, and which of its crates become the wheel's shared objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tls_wheel_guard.fix.advice import vendored_by
from tls_wheel_guard.fix.crates import library_crates
from tls_wheel_guard.fix.edit import named
from tls_wheel_guard.fix.paths import folder_of, is_below, joined, name_of
from tls_wheel_guard.fix.pyproject import backend_of, manifests_of
from tls_wheel_guard.fix.toml_text import TomlText, parse_toml
from tls_wheel_guard.records import dataclass

__all__ = ["Ambiguous", "Project", "crates_of", "nested_projects"]


class Ambiguous(Exception):  # noqa: N818  (nothing is wrong: there is more than one answer)
    """Several crates of a workspace become shared objects, and nothing says which one is the wheel's: their manifests."""

    def __init__(self, manifests: Sequence[str]) -> None:
        super().__init__(", ".join(manifests))
        self.manifests = tuple(manifests)


@dataclass(frozen=True, slots=True)
class Project:
    """The texts of a project's build files and sources, by path from the top.

    ``folder``: where the project lies below the top, "" where it is the top itself; a crate's workspace may be above it.
    """

    files: Mapping[str, str]
    folder: str = ""
    submodules: tuple[str, ...] = ()

    @property
    def pyproject(self) -> str:
        """The path of its pyproject.toml, whether it is there or not."""
        return joined(self.folder, "pyproject.toml")

    def toml(self) -> TomlText:
        """Its pyproject.toml, an empty one where there is none; raises Unparsable."""
        with named(self.pyproject):
            return TomlText(self.files.get(self.pyproject, ""))


def crates_of(project: Project) -> list[str]:
    """The manifests of the crates that become the wheel's shared objects: those that the build names, else the only one there is."""
    files, folder = project.files, project.folder
    if project.toml().get(("tool", "maturin", "bindings")) == "bin":
        return []  # a program: its initial-exec TLS harms nobody
    stated = [path for name in manifests_of(project.toml()) if (path := joined(folder, name)) in files]
    if stated:
        return list(dict.fromkeys(stated))
    for place in ("Cargo.toml", "rust/Cargo.toml", "native/Cargo.toml"):
        path = joined(folder, place)
        if path in files:
            with named(path):
                if parse_toml(files[path]).get("package") is not None:
                    return [path]
    if not _builds_rust(project):
        return []
    found = library_crates({path: text for path, text in files.items() if is_below(path, folder) and not vendored_by(path)})
    if len(found) > 1:
        raise Ambiguous(found)
    return found


def _builds_rust(project: Project) -> bool:
    """Whether the project's own build is about a crate somewhere in it: its backend says so, or it has no Python build at all."""
    setup = project.files.get(joined(project.folder, "setup.py"))
    if project.pyproject not in project.files and setup is None:
        return True
    toml = project.toml()
    said = f"{backend_of(toml)} {toml.get(('build-system', 'requires'))} {setup or ''}"
    return re.search(r"maturin|setuptools[-_]rust|RustExtension", said) is not None


def nested_projects(project: Project) -> tuple[str, ...]:
    """Folders of projects with a Python build of their own within a project that has one."""
    folders = [folder_of(path) for path in project.files if name_of(path) in ("pyproject.toml", "setup.py")]
    if project.folder not in folders:
        return ()
    return tuple({folder for folder in folders if folder != project.folder and is_below(folder, project.folder)})
