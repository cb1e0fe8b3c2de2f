"""Where settings stand: pyproject.toml, the environment, PEP 517 settings. Command line > environment > file > default."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tls_wheel_guard.config.fields import checked, did_you_mean, value_of_text
from tls_wheel_guard.config.model import KEYS, TABLE, Config
from tls_wheel_guard.errors import ConfigError
from tls_wheel_guard.records import replace

__all__ = [
    "JUDGED",
    "PYPROJECT",
    "from_environment",
    "from_settings",
    "from_toml",
    "has_table",
    "layers",
    "merge",
    "nearest_pyproject",
    "project_config",
    "read_baseline",
    "read_config",
]

ENVIRONMENT = "TLS_WHEEL_GUARD_"


NAME = "tls-wheel-guard"


def may_have_table(text: str) -> bool:
    """Whether a pyproject.toml is worth the parser: it names us, or somebody who looks like us."""
    return "guard" in text.lower()


def _misspelt(tool: Mapping[str, Any]) -> str | None:
    """A table that was meant for us: tls_wheel_guard, tls-wheelguard, tls-wheel-gaurd."""
    import difflib  # noqa: PLC0415  (only a file that names us needs it)

    plain = {key: key.lower().replace("_", "").replace("-", "") for key in tool if key != NAME}
    meant = NAME.replace("-", "")
    return next((key for key, word in plain.items() if difflib.SequenceMatcher(None, word, meant).ratio() > 0.85), None)


@lru_cache(maxsize=16)
def _document(text: str) -> dict[str, Any]:
    """A TOML document, parsed once in a process; raises ValueError, RecursionError. Nobody changes what is given out."""
    # Most runs read no settings, and the parser costs as much as a small wheel.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    return tomllib.loads(text)


def _table(text: str, path: str) -> Any:
    """Our table in a pyproject.toml, None without one."""
    try:
        document = _document(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        raise ConfigError(f"{path}: not valid TOML: {error}", hint="mend the file, or pass --no-config") from error
    tool = document.get("tool", {})
    if not isinstance(tool, dict):
        return None
    if (wrong := _misspelt(tool)) is not None:
        raise ConfigError(f"{path}: [tool.{wrong}] is read by nobody", hint=f"did you mean [{TABLE}]?")
    return tool.get(NAME)


def has_table(text: str, path: str) -> bool:
    """Whether a pyproject.toml has a table of ours at all; raises ConfigError where it is no TOML, or spells the table wrong."""
    return may_have_table(text) and _table(text, path) is not None


def from_toml(text: str, path: str) -> dict[str, Any]:
    """The settings in a pyproject.toml; empty where it has no table of ours. Raises ConfigError with the place."""
    table = _table(text, path)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {TABLE} is not a table", hint=f"write [{TABLE}]")
    found = {}
    for key, value in table.items():
        where = f"{path}: {TABLE}.{key}"
        if key not in KEYS:
            raise ConfigError(f"{path}: unknown key {key!r} in [{TABLE}]", hint=did_you_mean(key, tuple(KEYS)))
        found[KEYS[key]] = checked(KEYS[key], value, where)
    return found


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings in ``TLS_WHEEL_GUARD_*``; lists are separated by commas. Raises ConfigError."""
    found = {}
    known = {ENVIRONMENT + key.upper().replace("-", "_"): name for key, name in KEYS.items() if name != "allow"}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT):
            continue
        if variable not in known:
            raise ConfigError(f"unknown variable {variable}", hint=did_you_mean(variable, tuple(known)))
        found[known[variable]] = checked(known[variable], value_of_text(known[variable], text), variable)
    return found


def from_settings(settings: Mapping[str, object]) -> dict[str, Any]:
    """PEP 517 config settings without their prefix: ``action=warn``, ``fail-on=error``. Raises ConfigError."""
    known = ("action", "fail-on", "stop")
    found = {}
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"config setting tls-wheel-guard.{key}: unknown", hint=did_you_mean(key, known))
        found[KEYS[key]] = checked(KEYS[key], value, f"config setting tls-wheel-guard.{key}")
    return found


def merge(*layers: Mapping[str, Any]) -> Config:
    """Later layers win; lists of targets, ignored rules and allows add up."""
    settings: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            adds = name in ("targets", "ignore", "allow", "limits", "exclude") and name in settings
            settings[name] = (*settings[name], *value) if adds else value
    config = replace(Config(), **settings)
    if not config.rules:
        selected = ", ".join(config.select or ("all",))
        raise ConfigError(f"no rule is left to run: selected are {selected}, and all of them are ignored", hint="take one of the two out")
    return config


PYPROJECT = "pyproject.toml"
JUDGED = "TLS_WHEEL_GUARD_JUDGED"
"""Where a build inside `tls-wheel-guard build` notes what it has judged."""
NOT_SETTINGS = frozenset({"TLS_WHEEL_GUARD_TRACEBACK", JUDGED})


def nearest_pyproject(folder: Path) -> Path | None:
    """The nearest pyproject.toml with a table of ours, in a folder or above it: in a monorepo the root's, where a project has none.

    Raises ConfigError.
    """
    paths = (parent / PYPROJECT for parent in (folder, *folder.parents))
    return next((path for path in paths if path.is_file() and has_table(_text(path), str(path))), None)


def _text(path: Path) -> str:
    """A file of settings; one that has not changed is read once in a process: who looks for the nearest one has read it."""
    try:
        status = path.stat()
        return _read(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: it can't be read: {error}", hint="check --config, or pass --no-config") from error


@lru_cache(maxsize=16)
def _read(path: Path, *_stamp: int) -> str:
    return path.read_text(encoding="utf-8")


def read_config(path: Path | None, environment: Mapping[str, str], typed: Mapping[str, Any]) -> Config:
    """Command line > environment > file > default; raises ConfigError."""
    source = str(path) if path else None
    return replace(merge(*(settings for _, settings in layers(path, environment, typed))), source=source)


def layers(path: Path | None, environment: Mapping[str, str], typed: Mapping[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Who says it, and the settings; the last wins. Raises ConfigError."""
    table = from_toml(_text(path), str(path)) if path else {}
    if path and "baseline" in table:
        # It lies beside the table that names it, wherever the command is typed.
        table["baseline"] = str(path.parent / table["baseline"])
    known = {name: value for name, value in environment.items() if name not in NOT_SETTINGS}
    return (str(path), table), ("the environment", from_environment(known)), ("the command line", dict(typed))


def read_baseline(config: Config) -> str:
    """The text of the baseline that the settings name; raises ConfigError."""
    path = Path(config.baseline or "")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: the baseline can't be read: {reason}", hint="--write-baseline makes it; see docs/configuration.md") from error


def project_config(folder: Path, environment: Mapping[str, str], typed: Mapping[str, Any] | None = None) -> Config | None:
    """The settings of the project in a folder, None where it has no table of ours. Raises ConfigError."""
    path = folder / PYPROJECT
    if not path.is_file() or not has_table(_text(path), PYPROJECT):
        return None
    return read_config(path, environment, typed or {})
