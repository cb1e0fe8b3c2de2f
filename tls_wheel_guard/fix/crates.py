"""The crates of a project: what each depends on, in its manifest and in Cargo.lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tls_wheel_guard.fix.cargo_targets import may_be_elf
from tls_wheel_guard.fix.edit import named
from tls_wheel_guard.fix.paths import folder_of, folders_above, joined, name_of
from tls_wheel_guard.fix.toml_text import Key, TomlText
from tls_wheel_guard.records import dataclass

__all__ = ["Crates", "Dependency", "Locked", "library_crates", "texts_of"]

LOCK = "Cargo.lock"


@dataclass(frozen=True, slots=True)
class Dependency:
    """One entry of a manifest's dependencies. ``spec``: with what it inherits from the workspace; ``own``: as it stands there."""

    manifest: str
    path: Key
    crate: str
    own: Any
    spec: Mapping[str, Any]

    @property
    def features(self) -> frozenset[str]:
        """The features that it turns on."""
        given = self.spec.get("features")
        return frozenset(f for f in given if isinstance(f, str)) if isinstance(given, list) else frozenset()


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of Cargo.lock: its place there, and the names of what it depends on as the lock spells them."""

    place: int
    name: str
    version: str
    local: bool
    needs: tuple[str, ...]


class Crates:
    """The crates of a project that lie in its files, seen from the one that is built. Raises Unparsable for a file that is no TOML.

    ``files``: texts by path; ``manifest``: the Cargo.toml of the crate that becomes the extension.
    """

    def __init__(self, files: Mapping[str, str], manifest: str) -> None:
        self.files, self.manifest = files, manifest
        self._parsed: dict[str, TomlText] = {}
        self.root = self._workspace()

    def toml(self, path: str) -> TomlText:
        """A file of the project, parsed once."""
        if path not in self._parsed:
            with named(path):
                self._parsed[path] = TomlText(self.files[path])
        return self._parsed[path]

    def _workspace(self) -> str:
        """The manifest with [workspace] that the crate belongs to, else its own."""
        for folder in folders_above(self.manifest):
            path = joined(folder, "Cargo.toml")
            if path in self.files and self.toml(path).get(("workspace",)) is not None:
                return path
        return self.manifest

    @property
    def lock_path(self) -> str | None:
        """The workspace's Cargo.lock where it is there."""
        path = joined(folder_of(self.root), LOCK)
        return path if path in self.files else None

    def locked(self) -> list[Locked]:
        """The packages of Cargo.lock."""
        if self.lock_path is None:
            return []
        packages = self.toml(self.lock_path).get(("package",))
        rows = packages if isinstance(packages, list) else []
        return [
            Locked(n, str(row.get("name")), str(row.get("version")), "source" not in row, texts_of(row.get("dependencies")))
            for n, row in enumerate(rows)
            if isinstance(row, dict)
        ]

    def package_name(self) -> str:
        """The name of the crate that is built."""
        return str(self.toml(self.manifest).get(("package", "name")))

    def dependencies(self, manifest: str) -> Iterator[Dependency]:
        """What a crate links, for any system with a static TLS block, without what only its tests and its build script need."""
        toml = self.toml(manifest)
        tables: list[Key] = [("dependencies",)]
        targets = toml.get(("target",))
        tables += [("target", target, "dependencies") for target in targets if may_be_elf(target)] if isinstance(targets, dict) else []
        for path in tables:
            table = toml.get(path)
            for name, own in table.items() if isinstance(table, dict) else ():
                spec = self._spec(name, own)
                yield Dependency(manifest, (*path, name), str(spec.get("package", name)), own, spec)

    def _spec(self, name: str, own: Any) -> Mapping[str, Any]:
        spec = {"version": own} if isinstance(own, str) else own if isinstance(own, dict) else {}
        if spec.get("workspace") is not True:
            return spec
        shared = self.toml(self.root).get(("workspace", "dependencies", name))
        base = {"version": shared} if isinstance(shared, str) else shared if isinstance(shared, dict) else {}
        if "path" in base:
            base = {**base, "path": joined(folder_of(self.root), str(base["path"])), "absolute": True}
        features = [*texts_of(base.get("features")), *texts_of(spec.get("features"))]
        return {**base, **spec, "features": features}

    def linked(self) -> list[Dependency]:
        """The dependencies of the crate that is built, and of the project's own crates that it reaches by their paths."""
        found: list[Dependency] = []
        todo, seen = [self.manifest], {self.manifest}
        while todo:
            manifest = todo.pop()
            for dependency in self.dependencies(manifest):
                found.append(dependency)
                target = self.local_manifest(dependency)
                if target is not None and target not in seen:
                    seen.add(target)
                    todo.append(target)
        return found

    def local_manifest(self, dependency: Dependency) -> str | None:
        """The manifest of a dependency that lies in the project."""
        where = dependency.spec.get("path")
        if not isinstance(where, str):
            return None
        path = joined("" if dependency.spec.get("absolute") else folder_of(dependency.manifest), where, "Cargo.toml")
        return path if path in self.files else None

    def reached(self) -> dict[str, Locked]:
        """Packages of Cargo.lock that the crate's own dependencies lead to, by name and version."""
        by_name: dict[str, list[Locked]] = {}
        for package in self.locked():
            by_name.setdefault(package.name, []).append(package)
        found: dict[str, Locked] = {}
        # A crate of the project's own is looked at in its manifest; one beside the project only Cargo.lock knows.
        outer = [dependency for dependency in self.linked() if self.local_manifest(dependency) is None]
        todo = [package for dependency in outer for package in by_name.get(dependency.crate, ())]
        while todo:
            package = todo.pop()
            if (key := f"{package.name} {package.version}") not in found:
                found[key] = package
                todo += [other for need in package.needs for other in _meant(by_name, need)]
        return found


def _meant(by_name: Mapping[str, list[Locked]], need: str) -> list[Locked]:
    """The packages that a dependency's name in Cargo.lock stands for: with a version where there are several."""
    name, _, rest = need.partition(" ")
    return [package for package in by_name.get(name, ()) if not rest or package.version == rest.split(" ")[0]]


def texts_of(value: Any) -> tuple[str, ...]:
    """The texts of a list, none where it is no list."""
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def library_crates(files: Mapping[str, str]) -> list[str]:
    """The manifests of crates that become shared objects: ``crate-type`` has cdylib."""
    found = []
    for path in files:
        if name_of(path) == "Cargo.toml":
            with named(path):
                kinds = TomlText(files[path]).get(("lib", "crate-type"))
            if "cdylib" in texts_of(kinds):
                found.append(path)
    return found
