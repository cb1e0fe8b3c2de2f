"""``index``: judge the wheels of a package index, a mirror, a folder in a store, or a lock file."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.cli.options import add_judging, config_from, path_typed, style_from
from tls_wheel_guard.cli.output import say, write_pieces
from tls_wheel_guard.cli.progress import Status
from tls_wheel_guard.cli.reports import add_reports, file_style, wanted_reports
from tls_wheel_guard.commands.check import Asked
from tls_wheel_guard.config.model import FAIL_ON, Config
from tls_wheel_guard.errors import UnreadableIndex, UsageError
from tls_wheel_guard.findings import SEVERITIES, at_or_above
from tls_wheel_guard.rules import RULES

if TYPE_CHECKING:
    from tls_wheel_guard.commands.index import IndexRun
    from tls_wheel_guard.index.results import Results
    from tls_wheel_guard.index.summary import IndexSummary
    from tls_wheel_guard.report import Style

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "judge the wheels of a package index, a mirror, a folder in a store, or a lock file"
EXAMPLE = "tls-wheel-guard index https://HOST/simple/ --project polars --store audit.sqlite"
FORMATS = ("text", "json", "markdown", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE",
        help="a simple index, a folder of wheels or a mirror, an address that fsspec knows (default: the index that pip uses)",
    )  # fmt: skip
    parser.add_argument("--project", action="append", default=[], metavar="NAME", help="only this project; repeatable")
    parser.add_argument("--projects-from", type=path_typed, metavar="FILE", help="read more projects from FILE, one a line")
    parser.add_argument("--latest", type=_count, default=1, metavar="N", help="releases of each project (default: 1; 0: all)")
    parser.add_argument("--wheels", action="append", default=[], metavar="GLOB", help="only wheels whose file names match; repeatable")
    parser.add_argument("--lock", type=path_typed, metavar="FILE", help="the wheels that a pylock.toml, uv.lock or requirements.txt can install")
    parser.add_argument("--store", metavar="FILE", help="keep what was read and judged in this SQLite file and go on there")
    parser.add_argument("--fresh", action="store_true", help="read again what is stored")
    parser.add_argument("--since", metavar="RUN", help="show what became worse since this run of the store: its number, or `last`")
    parser.add_argument("--downloads", type=path_typed, metavar="FILE", help="a CSV file of project and downloads, for the order of the report")
    parser.add_argument("--export", type=path_typed, metavar="FILE.parquet", help="write a row for each finding to FILE; needs pyarrow")
    parser.add_argument("--screening", choices=("on", "off"), default="on", help="off reads every wheel whole (default: on)")
    parser.add_argument("-j", "--jobs", type=_jobs, default=os.cpu_count() or 1, metavar="N", help="workers on this machine (default: the cores)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the workers of this dask scheduler, such as tcp://127.0.0.1:8786")
    add_judging(parser)
    parser.add_argument("--fail-on", choices=FAIL_ON, default=None, help="the least severity for exit code 1 (default: warning)")
    parser.add_argument("--select", action="append", choices=tuple(RULES), metavar="RULE", help="run only this rule; repeatable")
    parser.add_argument("--ignore", action="append", choices=tuple(RULES), metavar="RULE", help="do not run this rule; repeatable")
    parser.set_defaults(strict=False, allow=[], exclude=[], baseline=None, write_baseline=False)
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report to FILE instead of stdout")
    add_reports(parser, FORMATS)
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every row")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count of 0 or more")
    return int(text)


def _jobs(text: str) -> int:
    number = _count(text)
    if not 0 < number <= 512:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count from 1 to 512")
    return number


def run(options: argparse.Namespace) -> int:
    """0 no finding at or above --fail-on, 1 at least one, 2 usage, 3 where a wheel or a page could not be read."""
    if options.lock is not None and len(options.sources) > 1:
        raise UsageError("--lock takes one SOURCE at most: the index in which pinned versions are looked up", hint="leave the others out")
    if (options.since or options.fresh) and not options.store:
        raise UsageError(f"{'--since' if options.since else '--fresh'} needs a store", hint="name it with --store FILE")
    config = config_from(options)
    _check_outputs(options)
    downloads = _downloads(options.downloads) if options.downloads else {}
    projects = (*options.project, *(_lines(options.projects_from) if options.projects_from else ()))
    with _needs_extra():
        from tls_wheel_guard.commands.index import IndexOptions, index_run
        from tls_wheel_guard.index.sources import Selection

    asked = IndexOptions(
        sources=tuple(options.sources), lock=options.lock, choice=Selection(projects, options.latest, tuple(options.wheels)), jobs=options.jobs,
        scheduler=options.scheduler, store=options.store, fresh=options.fresh, screening=options.screening == "on", since=options.since,
    )  # fmt: skip
    with Status(options.quiet) as status:
        done = index_run(asked, config, Asked(own_tags=not options.no_own_tags), _progress(status))
    try:
        if not done.counts["wheels"] + done.counts["failed"]:
            raise UsageError(f"{done.source}: it has no wheel that was asked for", hint="see --project, --wheels, --latest 0")
        if options.since and done.since is None:
            say(f"--since {options.since}: no earlier run has ended in this store, so nothing is compared")
        return _reported(done, downloads, options, config)
    finally:
        done.store.close()


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what can't be written before hours are spent on it."""
    named = [("--report", path) for _, path in wanted_reports(options, FORMATS)]
    named += [(name, path) for name, path in (("--output", options.output), ("--export", options.export)) if path is not None]
    for name, path in named:
        if not path.absolute().parent.is_dir():
            raise UsageError(f"{name} {path}: it can't be written: there is no folder {path.parent}", hint="name a file in a folder that exists")
    if options.export and importlib.util.find_spec("pyarrow") is None:
        raise UsageError("--export needs pyarrow", hint="pip install pyarrow")


def _reported(done: IndexRun, downloads: Mapping[str, int], options: argparse.Namespace, config: Config) -> int:
    """Write what is asked for; the exit code."""
    from tls_wheel_guard.commands.index_summary import results_of, summary_of

    found = results_of(done, downloads.items())
    summary = summary_of(done, found)
    if options.export:
        from tls_wheel_guard.index.export import export

        export(done.store, options.export)
    code = 0
    for name, path in wanted_reports(options, FORMATS):
        try:
            write_pieces(_pieces(name, summary, done, found, file_style(int(options.verbose))), path)
        except UsageError as error:
            # The other reports are as good as they were.
            say(error.line())
            code = error.exit_code
    write_pieces(_pieces(options.format, summary, done, found, style_from(options)), options.output)
    if len(summary.failed):
        return UnreadableIndex.exit_code
    return code or int(
        any(summary.worst[severity] and at_or_above(severity, config.fail_on) for severity in SEVERITIES) and not config.never_fails
    )


def _pieces(name: str, summary: IndexSummary, done: IndexRun, found: Results, style: Style) -> Iterable[str]:
    """A report in pieces."""
    from tls_wheel_guard.report import index as report

    if name == "json":
        return report.document_pieces(done.store.entries(done.run), summary)
    if name == "html":
        from tls_wheel_guard.report.index_html import write

        return [write(summary, found.findings_of, style)]
    return [report.markdown(summary) if name == "markdown" else report.text(summary, style)]


class _needs_extra:  # noqa: N801  (used as a statement)
    """A missing library is one line that says which extra brings it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in ("requests", "packaging", "urllib3"):
            raise UsageError(f"index needs {error.name}", hint="pip install 'tls-wheel-guard[index]'") from error


def _progress(status: Status) -> Callable[[int, int], None]:
    """Wheels done of those that are known so far, and the rate."""
    since = time.monotonic()

    def show(done: int, known: int) -> None:
        rate = done / max(time.monotonic() - since, 0.001)
        left = f", {(known - done) / rate:,.0f} s left for those" if rate and known > done else ""
        status(f"{done:,} of {known:,} wheels, {rate:,.1f} a second{left}")

    return show


def _lines(path: Path, what: str = "one project a line") -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UsageError(f"{path}: {reason}", hint=f"give a text file with {what}") from error
    yield from (line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _downloads(path: Path) -> dict[str, int]:
    found = {}
    for number, row in enumerate(csv.reader(_lines(path, "lines of `project,downloads`")), 1):
        if len(row) < 2 or not (row[1].strip().isascii() and row[1].strip().isdecimal() and len(row[1].strip()) < 19):
            if number == 1:
                continue
            raise UsageError(f"{path}:{number}: it is not `project,downloads`", hint="such as polars,12345678")
        found[row[0].strip().lower().replace("_", "-").replace(".", "-")] = int(row[1])
    return found
