"""``show``: the facts of every ELF member and each loader's verdict, without judging."""

from __future__ import annotations

import argparse

from tls_wheel_guard.cli.options import add_input, add_judging, add_output, config_from, exit_code, paths_from, write_report
from tls_wheel_guard.cli.output import say, say_unreadable
from tls_wheel_guard.cli.progress import Progress
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.workers import check_many
from tls_wheel_guard.records import replace
from tls_wheel_guard.report import WRITERS

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show what every ELF member asks of static TLS"
EXAMPLE = "tls-wheel-guard show dist/pkg-1.0-cp312-cp312-musllinux_1_2_x86_64.whl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_input(parser)
    add_judging(parser)
    add_output(parser, without=tuple(name for name in WRITERS if name not in ("text", "json")))
    parser.add_argument("--sites", action="store_true", help="list the code that reads each initial-exec slot; needs tls-wheel-guard[repair]")


def run(options: argparse.Namespace) -> int:
    """0 when everything could be read, 3 when not."""
    config = replace(config_from(options), select=("unreadable-module",), ignore=(), allow=())
    asked = Asked(own_tags=not options.no_own_tags, sites=options.sites)
    paths, code = paths_from(options)
    with Progress(paths, options.quiet) as progress:
        reports = list(check_many(paths, config, options.jobs, progress, asked))
    say_unreadable(reports)
    for report in reports:
        for finding in report.findings:
            say(f"{report.path}: {finding.module}: {finding.message}")
    options.verbose, options.quiet = True, False
    shown = [replace(report, findings=()) for report in reports]
    if shown or not code:
        write_report(shown, options)
    return exit_code(reports, code) or (3 if any(report.findings for report in reports) else 0)
