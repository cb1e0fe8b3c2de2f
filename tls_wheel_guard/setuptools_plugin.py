"""The plugin for setuptools: judges the wheel that bdist_wheel wrote before it leaves the build.

Called for every build in an environment that holds this package, so it looks at one file and does nothing where
pyproject.toml has no [tool.tls-wheel-guard] table. Nothing heavy is imported before that is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["finalize"]

MARK = b"guard"
"""Bytes that are in every pyproject.toml with the guard's table, or with a table that was probably meant to be it."""


def finalize(distribution: Any) -> None:
    """Entry point ``setuptools.finalize_distribution_options``."""
    try:
        concerned = MARK in Path("pyproject.toml").read_bytes()
    except OSError:
        return
    if concerned and not _is_behind_the_backend():
        _wrap_commands(distribution)


def _is_behind_the_backend() -> bool:
    """Whether tls_wheel_guard.backend runs this build: then it judges the wheel, and once is enough."""
    return "tls_wheel_guard.backend" in sys.modules


def _wrap_commands(distribution: Any) -> None:
    from tls_wheel_guard.build_guard.guard import require_available
    from tls_wheel_guard.config.sources import project_config
    from tls_wheel_guard.errors import TlsWheelGuardError

    try:
        config = project_config(Path.cwd(), os.environ)
        if config is None:
            return
        require_available(config)
    except TlsWheelGuardError as error:
        _stop(error)
    for name in ("bdist_wheel", "editable_wheel"):
        try:
            command = distribution.get_command_class(name)
        except Exception as error:  # setuptools before 64 has no editable_wheel, and bdist_wheel may need the package wheel
            if type(error).__name__ != "DistutilsModuleError":
                raise
            continue
        distribution.cmdclass[name] = _guarded(command, config)


def _guarded(command: Any, config: Any) -> Any:
    """A subclass of a command that writes a wheel into ``dist_dir``."""
    from tls_wheel_guard.build_guard.staging import guarded_build
    from tls_wheel_guard.errors import TlsWheelGuardError

    class Guarded(command):  # type: ignore[misc]
        dist_dir: Any

        def run(self) -> None:
            self.ensure_finalized()
            typed = self.dist_dir  # a string in bdist_wheel, a Path in editable_wheel
            final = Path(typed)
            before = len(getattr(self.distribution, "dist_files", []))
            try:
                with guarded_build(final, config, _say, os.environ) as guarded:
                    guarded.until_judged.enter_context(_own_build(self, guarded.rebuilding))
                    self.dist_dir = type(typed)(guarded.folder)
                    super().run()
                    guarded.wheels = sorted(guarded.folder.glob("*.whl"))
                    guarded.editable = self.get_command_name() == "editable_wheel"
            except TlsWheelGuardError as error:
                _stop(error)
            finally:
                self.dist_dir = typed
            _rename_outputs(self.distribution, before, final)

    Guarded.__name__ = command.__name__
    Guarded.__qualname__ = command.__qualname__
    return Guarded


@contextmanager
def _own_build(command: Any, rebuilding: Any) -> Iterator[None]:
    """For a rewritten build: everything is compiled, also what is up to date, and a wheel's objects go to a folder of ours."""
    if rebuilding is None:
        yield
        return
    from tls_wheel_guard.build_guard.rewrite.own_folder import own_folder

    distribution, here = command.distribution, "tls-wheel-guard"
    distribution.get_option_dict("build_ext")["force"] = (here, "1")
    with own_folder(Path(distribution.get_command_obj("build").build_base or "build")) as own:
        if command.get_command_name() == "bdist_wheel":
            distribution.get_option_dict("build")["build_base"] = (here, str(own))
            distribution.reinitialize_command("build", reinit_subcommands=True)
        yield


def _rename_outputs(distribution: Any, before: int, final: Path) -> None:
    """dist_files name the wheel where it is now, not where it was built."""
    files = getattr(distribution, "dist_files", [])
    files[before:] = [(kind, version, str(final / Path(path).name)) for kind, version, path in files[before:]]


def _say(message: str) -> None:
    """Write lines to stderr. Where that fails the lines are lost, and the build goes on."""
    from tls_wheel_guard.report.style import safe_text

    with suppress(OSError):
        print(safe_text(message), file=sys.stderr, flush=True)


def _stop(error: Any) -> NoReturn:
    """End the build with one line; setup.py and the PEP 517 front ends show it as their last."""
    _say(f"tls-wheel-guard: {error.line()}")
    raise SystemExit(error.exit_code) from None
