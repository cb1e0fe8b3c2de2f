"""Remedies that the command ``fix`` can write into a project's files: the table ``edit`` of a remedy in ``data/*.toml``.

Each class is a kind. A culprit whose remedy is of one of these kinds needs a table and no code:

    [remedies.edit]
    kind = "cargo-feature"
    crates = { mimalloc = "0.1.22", libmimalloc-sys = "0.1.18" }
    features = ["local_dynamic_tls"]

A remedy may have several: ``[[remedies.edit]]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tls_wheel_guard.records import dataclass, fields

__all__ = [
    "Attribute", "AuditwheelExclude", "CargoFeature", "CargoVariable", "CmakeOption", "ConfigureArgument", "FlagChange", "RemedyEdit",
    "Requirement", "edit_from",
]  # fmt: skip

Versions = tuple[tuple[str, str], ...]
"""Names, each with the version that its condition begins with."""


@dataclass(frozen=True, slots=True)
class RemedyEdit:
    """What all kinds have. ``doubt``: why the edit is never safe by itself, such as a promise that only the author can make.

    ``rules``: offered only where a report has a finding of one of these rules; empty: wherever the culprit is.
    """

    doubt: str = ""
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FlagChange(RemedyEdit):
    """In the literal flags of any build file ``old`` becomes ``new``; with an empty ``new`` it is taken out."""

    old: str = ""
    new: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class CargoFeature(RemedyEdit):
    """Cargo features of a dependency. ``crates``: which crates have them, since which version.

    ``add``: the crate that is added to the author's own dependencies where another crate brings it; cargo then joins the features.
    ``replaces_malloc``: features with which it stands in for the process's malloc, so that a dynamic access may call it again.
    """

    crates: Versions = ()
    features: tuple[str, ...] = ()
    add: str = ""
    replaces_malloc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CargoVariable(RemedyEdit):
    """A variable in ``[env]`` of ``.cargo/config.toml``. ``crates``: for which crates, before which version."""

    crates: Versions = ()
    variable: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class CmakeOption(RemedyEdit):
    """An option of the culprit's own CMakeLists.txt. ``projects``: words that name it in an address. ``since``: the first version with it.

    ``cached``: the option is a cache variable that no ``option()`` declares.
    """

    option: str = ""
    value: str = "ON"
    projects: tuple[str, ...] = ()
    since: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class ConfigureArgument(RemedyEdit):
    """An argument of the culprit's own ``configure``. ``projects``: words that name it in a folder's or an archive's name."""

    argument: str = ""
    projects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditwheelExclude(RemedyEdit):
    """A library that auditwheel must not copy. ``flags``: compiler flags that make a project need it."""

    library: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement(RemedyEdit):
    """A build requirement of at least some version."""

    name: str = ""
    at_least: str = ""


@dataclass(frozen=True, slots=True)
class Attribute(RemedyEdit):
    """In C and C++ sources ``tls_model("old")`` becomes ``tls_model("new")``."""

    old: str = ""
    new: str = ""


KINDS: dict[str, type[RemedyEdit]] = {
    "attribute": Attribute,
    "auditwheel-exclude": AuditwheelExclude,
    "cargo-feature": CargoFeature,
    "cargo-variable": CargoVariable,
    "cmake-option": CmakeOption,
    "configure-argument": ConfigureArgument,
    "flag": FlagChange,
    "requirement": Requirement,
}
_MAY_BE_EMPTY = frozenset({"doubt", "rules", "add", "replaces_malloc", "since", "cached", "projects"})


_WORDS = {"str": "a text", "bool": "true or false", "Versions": "a table of versions"}


def edit_from(table: Mapping[str, Any]) -> RemedyEdit:
    """An edit from its table; raises ValueError with the key and the value."""
    kind = KINDS.get(str(table.get("kind")))
    if kind is None:
        raise ValueError(f"kind is {table.get('kind')!r}; one of {', '.join(KINDS)}")
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if key == "kind":
            continue
        if name not in known:
            raise ValueError(f"{key} is no key of {table['kind']}; keys: {', '.join(known)}")
        values[name] = _value(key, value, str(known[name].type))
    for name, f in known.items():
        if name not in _MAY_BE_EMPTY and f.default in ("", ()) and not values.get(name) and not (kind is FlagChange and name == "new"):
            raise ValueError(f"{table['kind']} has no {name}")
    return kind(**values)


def _value(key: str, value: Any, kind: str) -> Any:
    if kind == "str" and isinstance(value, str):
        return value.strip()
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "Versions" and isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return tuple(value.items())
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(v, str) and v for v in value):
        return tuple(value)
    raise ValueError(f"{key} is {value!r}, and must be {_WORDS.get(kind, 'a list of texts')}")
