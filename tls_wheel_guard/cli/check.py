"""``check``: judge wheels; the exit code says whether they may be released."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.cli.options import add_failing, add_input, add_judging, add_output, config_from, exit_code, paths_from, write_report
from tls_wheel_guard.cli.output import say, say_unreadable, write_text
from tls_wheel_guard.cli.progress import Progress
from tls_wheel_guard.cli.reports import add_reports, wanted_reports
from tls_wheel_guard.commands.allow import with_allow_notes
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.commands.workers import check_many
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.config.sources import read_baseline
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.findings import Report, at_or_above
from tls_wheel_guard.records import replace
from tls_wheel_guard.rules import LiveProcess
from tls_wheel_guard.rules.phrases import count_of

if TYPE_CHECKING:
    from tls_wheel_guard.report.baseline import Baseline

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "judge wheels for every loader that their tags promise"
EXAMPLE = "tls-wheel-guard check dist/*.whl --target freebsd_14_2_amd64"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_input(parser)
    parser.add_argument("--tree", action="store_true", help="a folder stands for every ELF file below it, such as site-packages")
    parser.add_argument("--if-any", action="store_true", help="a path or folder with nothing to check is no error, as in a hook")
    add_judging(parser)
    add_failing(parser)
    parser.add_argument("--python", metavar="EXE", help="judge by the room that this live interpreter has left")
    add_output(parser)
    add_reports(parser)


def _live(python: str) -> LiveProcess | None:
    """The interpreter's static TLS; None, and a line that says so, where its loader has no room to share."""
    from tls_wheel_guard.live.reading import read_live

    live = read_live(python)
    state = live.glibc_state()
    if state is None:
        say(f"{python}: {live.method}; the wheel's targets alone decide")
        return None
    return LiveProcess(python, live.machine, state)


def run(options: argparse.Namespace) -> int:
    """0 no finding at or above --fail-on, 1 at least one, 2 and 3 as everywhere."""
    config = config_from(options)
    live = _live(options.python) if options.python is not None else None
    asked = Asked(own_tags=not options.no_own_tags, tree=options.tree, live=live)
    wanted_reports(options)
    if options.verbose and config.source:
        say(f"settings: {config.source}")
    paths, code = paths_from(options)
    kept = [path for path in paths if not config.excludes(path.as_posix()) and not config.excludes(path.name)]
    baseline = _baseline(config, options)
    with Progress(kept, options.quiet) as progress:
        asked = replace(asked, on_file=progress.inside if options.tree else None)
        reports = with_allow_notes(check_many(kept, config, options.jobs, progress, asked), config)
    if baseline is not None:
        from tls_wheel_guard.report.baseline import with_known

        reports = with_known(reports, baseline)
    say_unreadable(reports)
    if options.write_baseline:
        return exit_code(reports, code) or _write_baseline(reports, config)
    if reports or not code:
        code = max(code, write_report(reports, options, config.bounds))
    code = exit_code(reports, code)
    fails = any(at_or_above(f.severity, config.fail_on) for report in reports for f in report.findings)
    return code or int(fails and not config.never_fails)


def _baseline(config: Config, options: argparse.Namespace) -> Baseline | None:
    """What is known; None where no baseline is named, or where it is about to be written."""
    if options.write_baseline and config.baseline is None:
        raise UsageError("--write-baseline: no file is named", hint='add --baseline FILE, or baseline = "FILE" to [tool.tls-wheel-guard]')
    if options.write_baseline or config.baseline is None:
        return None
    from tls_wheel_guard.report.baseline import parse_baseline

    return parse_baseline(read_baseline(config), config.baseline)


def _write_baseline(reports: Sequence[Report], config: Config) -> int:
    from tls_wheel_guard.report.baseline import baseline_text

    text, count = baseline_text(reports)
    write_text(text, Path(config.baseline or ""))
    say(f"{count_of(count, 'finding')} written to {config.baseline}")
    return 0
