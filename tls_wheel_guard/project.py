"""A project's settings as they stand on disk and in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tls_wheel_guard.config import Config, from_environment, from_toml, has_table, merge
from tls_wheel_guard.errors import ConfigError

__all__ = ["PYPROJECT", "nearest_pyproject", "project_config", "read_config"]

PYPROJECT = "pyproject.toml"
NOT_SETTINGS = frozenset({"TLS_WHEEL_GUARD_TRACEBACK"})


def nearest_pyproject(folder: Path) -> Path | None:
    """The pyproject.toml of a folder or of the nearest one above it."""
    return next((path for parent in (folder, *folder.parents) if (path := parent / PYPROJECT).is_file()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: it can't be read: {error}", hint="check --config, or pass --no-config") from error


def read_config(path: Path | None, environment: Mapping[str, str], typed: Mapping[str, Any]) -> Config:
    """Command line > environment > file > default; raises ConfigError."""
    table = from_toml(_text(path), str(path)) if path else {}
    known = {name: value for name, value in environment.items() if name not in NOT_SETTINGS}
    return merge(table, from_environment(known), typed)


def project_config(folder: Path, environment: Mapping[str, str], typed: Mapping[str, Any] | None = None) -> Config | None:
    """The settings of the project in a folder, None where it has no table of ours. Raises ConfigError."""
    path = folder / PYPROJECT
    if not path.is_file() or not has_table(_text(path), PYPROJECT):
        return None
    return read_config(path, environment, typed or {})
