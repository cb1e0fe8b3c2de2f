"""Cargo.toml, Cargo.lock, .cargo/config.toml: features of a crate, and the variable for crates too old to have one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tls_wheel_guard.culprits.remedy_edits import CargoFeature, CargoVariable
from tls_wheel_guard.fix.crates import Crates, Dependency, Locked, texts_of
from tls_wheel_guard.fix.edit import Advice, Proposal, TextEdit, line_of
from tls_wheel_guard.fix.paths import folder_of, joined
from tls_wheel_guard.fix.toml_text import Key, TomlText, proved, quoted
from tls_wheel_guard.fix.versions import numbers, older

__all__ = ["config_doubt", "feature_proposal", "variable_proposal"]

CONFIG = ".cargo/config.toml"
_MAYBE_LINKED = "Cargo.lock does not say whether {} is linked into this wheel; --from its report or wheel settles that"


def feature_proposal(crates: Crates, edit: CargoFeature, culprit: str, is_named: bool, given: Sequence[str] = ()) -> Proposal:
    """Turn the culprit's features on. ``is_named``: a report says that it is in the wheel; ``given``: features that the build passes."""
    found = Proposal()
    since = dict(edit.crates)
    linked = crates.linked()
    direct = _first(edit, [dependency for dependency in linked if dependency.crate in since])
    if _is_on(crates, [dependency for dependency in linked if dependency.crate in since], edit, given):
        found.solved.add(culprit)
        return found
    for dependency in direct:
        _turn_on(found, crates, dependency, edit, since[dependency.crate], culprit)
    if not direct and edit.add:
        _add(found, crates, edit, since, culprit, is_named)
    return found


def _first(edit: CargoFeature, direct: Sequence[Dependency]) -> list[Dependency]:
    """One for each table: a crate and its -sys crate have the same feature, and one of them turns it on."""
    order = [name for name, _ in edit.crates]
    chosen: dict[tuple[str, Key], Dependency] = {}
    for dependency in sorted(direct, key=lambda d: order.index(d.crate)):
        chosen.setdefault((dependency.manifest, dependency.path[:-1]), dependency)
    return [dependency for dependency in direct if dependency in chosen.values()]


def _is_on(crates: Crates, direct: Sequence[Dependency], edit: CargoFeature, given: Sequence[str]) -> bool:
    """Cargo joins the features that all crates of one build ask for: one of them is enough."""
    if any(dependency.features >= set(edit.features) for dependency in direct):
        return True
    default = texts_of(crates.toml(crates.manifest).get(("features", "default")))
    asked = {text.replace("?/", "/") for text in (*default, *given)}
    names = {str(dependency.path[-1]) for dependency in direct}
    return any({f"{name}/{feature}" for feature in edit.features} <= asked for name in names)


def _turn_on(found: Proposal, crates: Crates, dependency: Dependency, edit: CargoFeature, since: str, culprit: str) -> None:
    toml = crates.toml(dependency.manifest)
    version = _version(crates, dependency)
    entry = toml.entry(dependency.path)
    here = entry or next((e for e in toml.entries if e.path[: len(dependency.path)] == dependency.path), None)
    line = line_of(toml.text, here.start) if here else 0
    features = [*texts_of(dependency.own.get("features") if isinstance(dependency.own, dict) else None)]
    wanted = [*features, *(f for f in edit.features if f not in features)]
    text = f"{dependency.path[-1]}: features = [{', '.join(map(quoted, wanted))}]"
    if version and older(version, since):
        why_not = f"{dependency.crate} {version} has no such feature"
        found.advice.append(Advice(dependency.manifest, line, f"update {dependency.crate} to {since} or later, then {text}", why_not, culprit))
        return
    if isinstance(dependency.own, str):
        splice = toml.set(dependency.path, {"version": dependency.own, "features": wanted})
    else:
        splice = toml.set((*dependency.path, "features"), wanted)
    if splice is None:
        found.advice.append(Advice(dependency.manifest, line, text, "the edit could not be proved", culprit))
        return
    why = _why(culprit, edit)
    doubt = _doubt(crates, dependency, edit)
    found.edits.append(TextEdit(dependency.manifest, splice.start, splice.end, splice.new, why, culprit, doubt))


def _why(culprit: str, edit: CargoFeature) -> str:
    verb = "builds" if len(edit.features) == 1 else "build"
    return f"{culprit}: {' and '.join(edit.features)} {verb} it without initial-exec TLS, so that the extension can be loaded late"


def _doubt(crates: Crates, dependency: Dependency, edit: CargoFeature) -> str:
    if edit.doubt:
        return edit.doubt
    if replacing := sorted(dependency.features & set(edit.replaces_malloc)):
        return f"with {replacing[0]} it replaces malloc, and a dynamic access may call malloc"
    for key in ("git", "path"):
        if key in dependency.spec and crates.local_manifest(dependency) is None:
            return f"it comes from a {key}: whether it has the feature is not known"
    local = crates.local_manifest(dependency)
    if local is not None and any(crates.toml(local).get(("features", feature)) is None for feature in edit.features):
        return f"{local} declares no such feature"
    return ""


def _version(crates: Crates, dependency: Dependency) -> str:
    """The version that is built: Cargo.lock's, else what the requirement pins; empty where neither says."""
    asked = str(dependency.spec.get("version", ""))
    locked = [p.version for p in crates.locked() if p.name == dependency.crate]
    fitting = [version for version in locked if _fits(version, asked)]
    if len(set(fitting or locked)) == 1:
        return (fitting or locked)[0]
    pinned = re.fullmatch(r"\s*=\s*(\d+\.\d+\.\d+\S*)\s*", asked)
    return pinned[1] if pinned else ""


def _fits(version: str, asked: str) -> bool:
    """Whether a version is of the series that a plain requirement means: the first number that is not zero, and all before it."""
    wanted, got = numbers(asked.lstrip("^~= ")), numbers(version)
    length = next((n + 1 for n, part in enumerate(wanted) if part), len(wanted))
    return got[:length] == wanted[:length]


def _add(found: Proposal, crates: Crates, edit: CargoFeature, since: Mapping[str, str], culprit: str, is_named: bool) -> None:
    """Another crate brings it: the crate with the features becomes a dependency of the author's own, at the version that is there."""
    there = [package for package in crates.reached().values() if package.name == edit.add]
    if not there:
        if is_named and crates.lock_path is None:
            text = f"cargo add {edit.add} --features {','.join(edit.features)}"
            why_not = "another crate brings it, and without a Cargo.lock its version is not known"
            found.advice.append(Advice(crates.manifest, 0, text, why_not, culprit))
        return
    package = there[0]
    text = f'{edit.add} = {{ version = "{package.version}", features = [{", ".join(map(quoted, edit.features))}] }}'
    if len(there) > 1 or older(package.version, since[edit.add]):
        why_not = "several versions of it are linked" if len(there) > 1 else f"{edit.add} {package.version} has no such feature"
        found.advice.append(Advice(crates.manifest, 0, text, why_not, culprit))
        return
    toml = crates.toml(crates.manifest)
    splice = toml.set(("dependencies", edit.add), {"version": package.version, "features": list(edit.features)})
    lock = _lock_splice(crates, package)
    if splice is None or lock is None:
        found.advice.append(Advice(crates.manifest, 0, text, "the edit could not be proved", culprit))
        return
    doubt = edit.doubt or ("" if is_named else _MAYBE_LINKED.format(edit.add))
    why = f"{_why(culprit, edit)}; another crate brings it in, and cargo joins the features"
    found.edits.append(TextEdit(crates.manifest, splice.start, splice.end, splice.new, why, culprit, doubt))
    path, start, end, new = lock
    found.edits.append(TextEdit(path, start, end, new, f"{culprit}: what Cargo.toml now names, so that --locked still builds", culprit, doubt))


def _lock_splice(crates: Crates, package: Locked) -> tuple[str, int, int, str] | None:
    """The package's name in the root entry of Cargo.lock, in its place by name, as cargo itself writes it."""
    path = crates.lock_path
    packages = crates.locked()
    root = next((p for p in packages if p.local and p.name == crates.package_name()), None)
    if path is None or root is None:
        return None
    toml = crates.toml(path)
    one_version = sum(p.name == package.name for p in packages) == 1
    name = package.name if one_version else f"{package.name} {package.version}"
    key: Key = ("package", root.place, "dependencies")
    names = [*root.needs]
    place = next((n for n, other in enumerate(names) if other > name), len(names))
    names.insert(place, name)
    entry = toml.entry(key)
    if entry is None or place == len(names) - 1:
        splice = toml.set(key, names) if entry else None
        return (path, splice.start, splice.end, splice.new) if splice else None
    before = entry.value.items[place]
    indent = toml.text[toml.text.rfind("\n", 0, before.start) + 1 : before.start]
    new = f"{quoted(name)},{toml.newline}{indent}" if not indent.strip() else f"{quoted(name)}, "
    after = toml.text[: before.start] + new + toml.text[before.start :]
    return (path, before.start, before.start, new) if proved(toml.text, after, key, names) else None


def variable_proposal(crates: Crates, edit: CargoVariable, culprit: str, is_named: bool) -> Proposal:
    """Set the variable for build scripts where a crate of the culprit is linked that is too old for anything else."""
    found = Proposal()
    before = dict(edit.crates)
    direct = {dependency.crate for dependency in crates.linked()}
    old = [p for p in crates.reached().values() if p.name in before and older(p.version, before[p.name])]
    if not old:
        return found
    path = joined(folder_of(crates.root), CONFIG)
    toml = crates.toml(path) if path in crates.files else TomlText("")
    given = toml.get(("env", edit.variable))
    if (given.get("value") if isinstance(given, dict) else given) == edit.value:
        found.solved.add(culprit)
        return found
    splice = toml.set(("env", edit.variable), edit.value)
    if splice is None:
        found.advice.append(Advice(path, 0, f'[env] {edit.variable} = "{edit.value}"', "the edit could not be proved", culprit))
        return found
    linked = is_named or any(p.name in direct for p in old)
    doubt = edit.doubt or ("" if linked else _MAYBE_LINKED.format(old[0].name))
    why = f"{culprit}: {old[0].name} {old[0].version} has no feature for it; its build script hands this variable on (run cargo clean once)"
    found.edits.append(TextEdit(path, splice.start, splice.end, splice.new, why, culprit, doubt))
    return found


def config_doubt(path: Key) -> str | None:
    """What a string in Cargo's settings is, by its path: a flag where Cargo hands it to compilers."""
    flags = path[:1] == ("env",) or "rustflags" in path
    return "" if flags else None
