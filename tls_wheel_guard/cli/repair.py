"""``repair``: rewrite the machine code of wheels so that no static TLS is needed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.build_guard.staging import source_date_epoch
from tls_wheel_guard.cli.options import add_destination, add_judging, config_from, path_typed, paths_from
from tls_wheel_guard.cli.output import say, write_text
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError
from tls_wheel_guard.records import replace

if TYPE_CHECKING:
    from tls_wheel_guard.commands.repair import Wanted
    from tls_wheel_guard.repair.result import Repair

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "rewrite the machine code of wheels so that they need no static TLS and load everywhere"
EXAMPLE = "tls-wheel-guard repair dist/pkg-1.0-cp312-cp312-musllinux_1_2_x86_64.whl -w wheelhouse"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("paths", nargs="*", type=path_typed, metavar="WHEEL", help="wheels, folders of wheels, bare shared objects")
    add_destination(parser)
    parser.add_argument("--plan", action="store_true", help="show what would be done; write nothing")
    parser.add_argument("--auditwheel", metavar="ARGS", help="run `auditwheel repair ARGS` first: --auditwheel='--plat manylinux_2_28_x86_64'")
    parser.add_argument("--no-provenance", action="store_true", help="leave no note in the wheel's dist-info folder")
    parser.add_argument(
        "--allow-dropping-build-id", action="store_true", help="where nothing else has room, give up the program header of the build-id note"
    )
    add_judging(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report to FILE instead of stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the code before and after, side by side")
    parser.set_defaults(files_from=None)


def run(options: argparse.Namespace) -> int:
    """0 repaired, or nothing to do; 2, 3, 5 as everywhere; 4 where a wheel can't be repaired for certain: it is as it was.

    Of several codes the greatest counts.
    """
    from tls_wheel_guard.commands.repair import Wanted

    if options.auditwheel is not None and options.in_place:
        raise UsageError("--auditwheel with --in-place", hint="auditwheel gives the wheel another name: choose a folder with -w")
    config = config_from(options)
    wanted = Wanted(config, options.allow_dropping_build_id, not options.no_provenance, source_date_epoch(os.environ), not options.no_own_tags)
    paths, code = paths_from(options)
    done: list[Repair] = []
    for path in paths:
        try:
            done.append(_one(path, options, wanted))
        except TlsWheelGuardError as error:
            say(f"{path}: {error.line()}")
            code = max(code, error.exit_code)
    _report(done, options)
    return max([code, *(4 for repair in done if repair.refused)])


def _one(path: Path, options: argparse.Namespace, wanted: Wanted) -> Repair:
    from tls_wheel_guard.commands.auditwheel import audited
    from tls_wheel_guard.commands.repair import plan_file, repair_file

    if options.auditwheel is not None:
        with audited(path, options.auditwheel) as wheel:
            found = plan_file(wheel, wanted) if options.plan else repair_file(wheel, options.wheel_dir / wheel.name, wanted)
            return replace(found, path=str(path))
    if options.plan:
        return plan_file(path, wanted)
    return repair_file(path, path if options.in_place else options.wheel_dir / path.name, wanted)


def _report(done: Sequence[Repair], options: argparse.Namespace) -> None:
    from tls_wheel_guard.report.repair import write_repair, write_repair_json

    refused = [repair for repair in done if repair.refused]
    if options.format == "json":
        write_text(write_repair_json(done), options.output)
        return
    # What is wrong goes to stderr, whatever else is asked for.
    for repair in refused:
        for line in write_repair(repair, verbose=False, listings={}).splitlines():
            say(line)
    shown = [] if options.quiet else [repair for repair in done if not repair.refused]
    text = "".join(write_repair(repair, options.verbose, _listings(repair) if options.verbose else {}) for repair in shown)
    if text or options.output:
        write_text(text, options.output)


def _listings(repair: Repair) -> dict[tuple[str, int], Sequence[tuple[int, int, str, str]]]:
    """The instructions of each thunk."""
    from tls_wheel_guard.machine_code.disassembly import Disassembler

    return {
        (name, planned.thunk_address): Disassembler(plan.machine).listing(planned.thunk, planned.thunk_address)
        for name, plan in repair.modules
        for planned in plan.sites
    }
