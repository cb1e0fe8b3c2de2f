"""``mark``: set DF_STATIC_TLS where a linker left it out."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tls_wheel_guard.build_guard.staging import source_date_epoch
from tls_wheel_guard.cli.options import add_destination, add_limit, path_typed, paths_from
from tls_wheel_guard.cli.output import say, write_line
from tls_wheel_guard.commands.mark import copy_input, mark_input, place_in
from tls_wheel_guard.errors import TlsWheelGuardError
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import limits_from

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "set DF_STATIC_TLS where a linker left it out of a module with initial-exec TLS"
EXAMPLE = "tls-wheel-guard mark dist/pkg-1.0-cp312-cp312-manylinux_2_28_aarch64.whl --in-place"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("paths", nargs="*", type=path_typed, metavar="WHEEL", help="wheels, folders of wheels, bare shared objects")
    add_destination(parser)
    add_limit(parser)
    parser.set_defaults(files_from=None)


def run(options: argparse.Namespace) -> int:
    """0 when every module has its flag, 2 and 3 as everywhere, 4 where it can't be set in one; that one is left as it is.

    Of several codes the greatest counts.
    """
    paths, code = paths_from(options)
    epoch = source_date_epoch(os.environ)
    for path in paths:
        try:
            code = max(code, _mark(path, options, epoch))
        except TlsWheelGuardError as error:
            say(f"{path}: {error.line()}")
            code = max(code, error.exit_code)
    return code


def _mark(path: Path, options: argparse.Namespace, epoch: int | None) -> int:
    destination = path if options.in_place else place_in(options.wheel_dir, path)
    with open_input(path, limits_from(options.limit)) as opened:
        marking = mark_input(opened, destination, epoch)
        nothing = not (marking.marked or marking.refused or marking.unreadable)
        if nothing and destination != path:
            copy_input(opened, destination)
    for module, how in marking.marked:
        write_line(f"{path}: marked {module}: {how}")
    for module, why in marking.refused:
        say(f"{path}: {module} is left as it is, DF_STATIC_TLS could not be set: {why}")
    for module, why in marking.unreadable:
        say(f"{path}: {module} is left as it is, it can't be read: {why}; hint: see `tls-wheel-guard check`")
    if nothing:
        write_line(f"{path}: nothing to mark")
    return 4 if marking.refused else 3 if marking.unreadable else 0
