"""``build -- COMMAND``: run any build command, then judge the wheels that it made."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tls_wheel_guard.build_guard.guard import guard, require_available
from tls_wheel_guard.build_guard.judged import judged_inside
from tls_wheel_guard.build_guard.products import cargo_folders, changed_modules, installed_modules, wheels_in
from tls_wheel_guard.build_guard.rewrite.environment import rewritten
from tls_wheel_guard.build_guard.staging import source_date_epoch
from tls_wheel_guard.cli.options import add_judging, config_from
from tls_wheel_guard.cli.output import say, say_text
from tls_wheel_guard.config.model import ACTIONS
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError
from tls_wheel_guard.records import replace

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "run a build command, then judge the wheels that it made"
EXAMPLE = "tls-wheel-guard build -- maturin build --release"

USUAL_FOLDERS = ("dist", "wheelhouse", ".")
"""Where build commands put wheels when nothing is said: build and hatch, auditwheel and cibuildwheel, pip wheel."""
FOLDER_OPTIONS = ("-o", "-w", "-d", "--out", "--outdir", "--out-dir", "--output-dir", "--wheel-dir", "--dist-dir", "--dest-dir")
"""Options of build commands whose value is the folder for wheels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--action", choices=ACTIONS, help="what to do on a finding (default: the project's setting, else fail)")
    parser.add_argument(
        "--wheels", action="append", type=Path, default=[], metavar="DIR", help="a folder that the command writes wheels to; repeatable"
    )
    add_judging(parser)
    parser.add_argument("build_command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the build command with its own options")


def run(options: argparse.Namespace) -> int:
    """The worse of the command's exit code and the check's."""
    command = options.build_command[1:] if options.build_command[:1] == ["--"] else options.build_command
    if not command:
        raise UsageError("no build command was given", hint=f"write it after --, such as: {EXAMPLE}")
    config = config_from(options)
    if options.action:
        config = replace(config, action=options.action)
    require_available(config)
    epoch = source_date_epoch(os.environ)
    folders = [*options.wheels, *folders_named(command), *(Path(folder) for folder in USUAL_FOLDERS)]
    manifests = [Path(value).resolve().parent for value in _values(command, ("-m", "--manifest-path"))]
    folders += cargo_folders(Path.cwd(), os.environ, _values(command, ("--target-dir",)), manifests)
    # Who names the guard is no mere user: plugin and backend inside the command are to stop it, too.
    environment = {**os.environ, "TLS_WHEEL_GUARD_ACTION": config.action, "TLS_WHEEL_GUARD_STOP": "everyone"}
    with rewritten(config, environment) as rebuilding, judged_inside(environment) as judged:
        # maturin writes wheels into cargo's folder, which a rewritten build has for itself.
        own = [rebuilding.target / "wheels"] if rebuilding else []
        before, started = wheels_in(folders), time.time_ns()
        code = _run(command, environment)
        after = wheels_in([*folders, *own])
        made = list({path.resolve(): path for path, status in after.items() if before.get(path) != status}.values())
        if code and not made:
            # Nothing was released. What a failed build left behind was judged inside, or is imported by nobody.
            return code
        # The same judgement twice would be the same report twice.
        same = rebuilding is None and not (options.target or options.limit or options.no_own_tags or options.config or options.no_config)
        left = [path for path in made if not (same and judged(path))] if made else _in_place(command, started)
        try:
            if left:
                guard(left, config, say_text, epoch, rebuilding)
        except TlsWheelGuardError as error:
            say(error.line())
            return code or error.exit_code
        if rebuilding:
            _release([path for path in made if path.parent in own], rebuilding.usual_target / "wheels")
    return code


def _in_place(command: list[str], started: int) -> list[Path]:
    """What a build without a wheel put in place, as `maturin develop` and editable builds do; raises UsageError where there is nothing."""
    found = [*changed_modules(Path.cwd(), started), *installed_modules(Path.cwd(), os.environ, started)]
    if not found:
        raise UsageError(f"{command[0]}: no wheel found", hint="name the folder that it writes to with --wheels DIR")
    say(f"{command[0]}: no wheel found; checked the installed files instead; hint: --wheels DIR names a folder of wheels")
    return found


def _release(wheels: list[Path], folder: Path) -> None:
    """Move wheels to where the command would have put them without us."""
    for wheel in wheels:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(wheel, folder / wheel.name)
        say_text(f"released {folder / wheel.name}")


def folders_named(command: list[str]) -> list[Path]:
    """The folders that a build command's own options name."""
    return [Path(value) for value in _values(command, FOLDER_OPTIONS)]


def _values(command: list[str], options: tuple[str, ...]) -> Iterator[str]:
    """The values of some options, as ``--option value`` or ``--option=value``."""
    for index, word in enumerate(command):
        name, equals, value = word.partition("=")
        if name in options and equals:
            yield value
        elif word in options and index + 1 < len(command):
            yield command[index + 1]


def _run(command: list[str], environment: dict[str, str]) -> int:
    try:
        with subprocess.Popen(command, env=environment) as process:  # noqa: S603  (running the user's command is the point)
            try:
                code = process.wait()
            except KeyboardInterrupt:
                # The terminal has interrupted the command too; its own clean-up comes first.
                process.wait()
                raise
    except OSError as error:
        raise UsageError(f"{command[0]}: it can't be run: {error.strerror}", hint="check the command after --") from error
    return 128 + signal.Signals(-code).value if code < 0 else code
