"""A PEP 517 and PEP 660 backend around any other: it builds, this one judges the wheel before it is handed out.

    [build-system]
    requires = ["tls-wheel-guard", "maturin >=1.5"]
    build-backend = "tls_wheel_guard.backend"

    [tool.tls-wheel-guard]
    build-backend = "maturin"

Hooks that the inner backend lacks do not exist here either, so the module answers attribute look-ups itself (PEP 562).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tls_wheel_guard.build_guard.guard import require_available
from tls_wheel_guard.build_guard.rewrite.environment import Rebuilding
from tls_wheel_guard.build_guard.staging import guarded_build
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.config.sources import from_settings, project_config
from tls_wheel_guard.errors import ConfigError, TlsWheelGuardError
from tls_wheel_guard.report.style import printable, safe_text

__all__ = ["HOOKS"]

Settings = Mapping[str, Any] | None

OURS = "tls-wheel-guard."
"""Prefix of the config settings that are for us; the rest go to the inner backend untouched."""

BUILD_FOLDER_SETTINGS = ("build-dir", "builddir")
"""Config settings of meson-python and scikit-build-core."""

HOOKS = (
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
)
"""All hooks of PEP 517 and PEP 660."""


def __getattr__(name: str) -> Any:
    if name not in HOOKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _one_line_errors():
        hook = getattr(_inner(), name, None)
    if hook is None:
        raise AttributeError(f"the inner backend has no hook {name!r}")
    return _guarded(hook, name == "build_editable") if name in ("build_wheel", "build_editable") else _forwarded(hook, name)


class _one_line_errors:  # noqa: N801  (used as a statement)
    """Our own errors as one line on stderr and an exit code; the inner backend's pass through unchanged."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TlsWheelGuardError):
            _say(f"tls-wheel-guard: {printable(error.line())}")
            raise SystemExit(error.exit_code) from None


def _config(typed: Mapping[str, Any]) -> Config:
    config = project_config(Path.cwd(), os.environ, typed)
    if config is None:
        raise ConfigError("pyproject.toml: no [tool.tls-wheel-guard] table", hint='add one with build-backend = "..."')
    return config


def _inner() -> Any:
    """The backend that the project names, imported as PEP 517 says; raises ConfigError."""
    config = _config({})
    if config.build_backend is None:
        raise ConfigError(
            "pyproject.toml: [tool.tls-wheel-guard] names no build-backend", hint='name the real one, such as build-backend = "maturin"'
        )
    module_name, _, attributes = config.build_backend.partition(":")
    if module_name == __name__:
        raise ConfigError("pyproject.toml: tool.tls-wheel-guard.build-backend is this backend itself", hint="name the real one")
    _extend_path(config.backend_path)
    named = f"pyproject.toml: tool.tls-wheel-guard.build-backend: {config.build_backend!r}"
    try:
        backend: Any = importlib.import_module(module_name)
        for attribute in filter(None, attributes.split(".")):
            backend = getattr(backend, attribute)
    except (Exception, SystemExit) as error:  # the code of others: it may raise anything
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{named} can't be imported: {why}", hint="check its name, and that [build-system] requires it") from error
    if not callable(getattr(backend, "build_wheel", None)):
        raise ConfigError(f"{named} is no build backend: it has no build_wheel", hint="name the one that [build-system] named before")
    return backend


def _extend_path(folders: Sequence[str]) -> None:
    """Put the folders of backend-path in front of sys.path; raises ConfigError."""
    place = "pyproject.toml: tool.tls-wheel-guard.backend-path"
    for folder in reversed(folders):
        path = (Path.cwd() / folder).resolve()
        if not path.is_relative_to(Path.cwd().resolve()):
            raise ConfigError(f"{place}: {folder!r} is outside the project", hint="see PEP 517")
        if not path.is_dir():
            raise ConfigError(f"{place}: {folder!r} is not a folder", hint="name the folder that holds the backend's module or package")
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))


def _split(settings: Settings) -> tuple[Settings, dict[str, Any]]:
    """The inner backend's config settings, and ours as fields of Config."""
    if not settings:
        return settings, {}
    ours = {key.removeprefix(OURS): value for key, value in settings.items() if key.startswith(OURS)}
    return {key: value for key, value in settings.items() if not key.startswith(OURS)}, from_settings(ours)


def _forwarded(hook: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A hook that is forwarded without the guard's own config settings."""

    def get_requires(config_settings: Settings = None) -> Any:
        with _one_line_errors():
            inner, _ = _split(config_settings)
        return hook(inner)

    def into_folder(directory: str, config_settings: Settings = None) -> Any:
        with _one_line_errors():
            inner, _ = _split(config_settings)
        return hook(directory, inner)

    return get_requires if name.startswith("get_requires") else into_folder


def _guarded(hook: Callable[..., str], editable: bool) -> Callable[..., str]:
    """A hook that builds a wheel: in a temporary folder, judged there, then renamed into place."""

    def build(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
        with _one_line_errors():
            inner, typed = _split(config_settings)
            config = _config(typed)
            require_available(config)
            with guarded_build(Path(wheel_directory), config, _say, os.environ) as guarded:
                name = hook(str(guarded.folder), _in_own_folder(inner, guarded.rebuilding), metadata_directory)
                guarded.wheels, guarded.editable = [guarded.folder / name], editable
        return name

    return build


def _in_own_folder(settings: Settings, rebuilding: Rebuilding | None) -> Settings:
    """Put a temporary folder in place of a build folder that the user names for meson-python or scikit-build-core: that one keeps old objects."""
    if rebuilding is None or not settings:
        return settings
    return {key: str(rebuilding.folder / "build") if key in BUILD_FOLDER_SETTINGS else value for key, value in settings.items()}


def _say(message: str) -> None:
    """Write lines to stderr. Where that fails the lines are lost, and the build goes on."""
    with suppress(OSError):
        print(safe_text(message), file=sys.stderr, flush=True)
