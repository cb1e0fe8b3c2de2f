"""The front door for Python code: what the commands do, with values in and values out. Nothing here prints or writes.

    from tls_wheel_guard import check_path, load_config
    for report in check_path("dist", load_config()):
        print(report.wheel, report.worst, [finding.message for finding in report.findings])

All that is raised on purpose is a subclass of :class:`tls_wheel_guard.TlsWheelGuardError`; each function says which.
Names, arguments and fields that docs/api.md lists stay as they are within a major version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tls_wheel_guard.commands.allow import with_allow_notes
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.check import check_wheel as judge_input
from tls_wheel_guard.commands.simulate import loaders_for, parse_acts, read_modules
from tls_wheel_guard.commands.simulate import simulate as fold_acts
from tls_wheel_guard.commands.workers import check_many
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.config.sources import nearest_pyproject, read_baseline, read_config
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.findings import Report
from tls_wheel_guard.inputs.files import expand
from tls_wheel_guard.loaders.simulation import Simulation
from tls_wheel_guard.report.baseline import Baseline, parse_baseline, with_known

__all__ = ["check_path", "check_wheel", "load_config", "simulate"]

PathLike = str | os.PathLike[str]


def check_wheel(path: PathLike, config: Config | None = None) -> Report:
    """Judge one wheel, or one shared object, for every loader that its tags promise.

    Args:
        path: the file.
        config: settings; None for the defaults. No pyproject.toml is read: :func:`load_config` does that.

    Returns:
        The report: ``findings``, ``worst``, ``modules`` with each loader's verdict, ``to_dict()``.

    Raises:
        UnreadableInput: the file is missing, can't be read, is no wheel and no ELF file, or goes over a limit.
        ConfigError: a value of ``config`` is wrong, or its baseline can't be read.
    """
    settings = config or Config()
    return _finished([judge_input(path, settings)], settings)[0]


def check_path(path: PathLike, config: Config | None = None, *, tree: bool = False, jobs: int = 1) -> list[Report]:
    """Judge what a path stands for: a file, the wheels in a folder, a pattern, or with ``tree`` all ELF files below a folder.

    Args:
        path: a file, a folder, or a pattern such as ``dist/*.whl``.
        config: settings; None for the defaults.
        tree: whether a folder stands for every ELF file below it, as one report.
        jobs: worker processes, started where there is enough to do; they need an importable main module, as multiprocessing says.

    Returns:
        A report a file, in the order of their names. A file that can't be read has ``error`` and hides no other.

    Raises:
        UsageError: there is no such path, or no wheel in the folder.
        ConfigError: a value of ``config`` is wrong, or its baseline can't be read.
    """
    settings = config or Config()
    paths = [each for each in expand(Path(path), tree) if not settings.excludes(each.as_posix()) and not settings.excludes(each.name)]
    return _finished(list(check_many(paths, settings, jobs, asked=Asked(tree=tree))), settings)


def _finished(reports: list[Report], config: Config) -> list[Report]:
    """What only the whole run knows: allows that nothing needed, and what the baseline knows."""
    baseline = parse_baseline(read_baseline(config), config.baseline) if config.baseline else Baseline(())
    return with_known(with_allow_notes(reports, config), baseline)


def simulate(
    steps: Sequence[PathLike], *, loader: str | None = None, machine: str | None = None, start: Mapping[str, int | None] | None = None
) -> list[Simulation]:
    """Open modules and wheels one after another under the model of a loader.

    Args:
        steps: paths in the order in which they are opened; ``"@close"``, ``"@use"`` and the other steps of the command stand before theirs.
        loader: such as ``"glibc-2.36"`` or ``"musl"``; None for each loader that the wheels' tags, or the files' own evidence, name.
        machine: of the process; None for that of the modules.
        start: numbers of a process that is under way, in bytes, under the loader's own names, as ``env --format json`` has them.

    Returns:
        A simulation a loader: ``fails``, and ``steps`` with ``step.loads``, ``step.taken``, ``step.error`` and the ``room`` that is left.

    Raises:
        UsageError: no such path, several machines, an unknown loader or machine, or numbers that the loader does not have.
        UnreadableInput: a file can't be read, or is no shared object.
    """
    acts = parse_acts([os.fspath(step) for step in steps])
    read = read_modules([act.path for act in acts])
    found = loaders_for(read, loader, machine)
    if start and len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"these files are for several loaders ({names}), and start has the numbers of one", hint="name the loader")
    return [fold_acts(acts, read, each, each.start(dict(start or {}))) for each in found]


def load_config(folder: PathLike = ".", **settings: Any) -> Config:
    """The settings of a project as its commands have them: given ones over ``TLS_WHEEL_GUARD_*`` over the nearest table over defaults.

    Args:
        folder: where the search for a pyproject.toml with ``[tool.tls-wheel-guard]`` begins; it goes on upwards.
        settings: fields of :class:`Config`.

    Raises:
        ConfigError: a setting has an unknown name or a wrong value, or a pyproject.toml can't be read.
    """
    return read_config(nearest_pyproject(Path(folder).absolute()), os.environ, settings)
