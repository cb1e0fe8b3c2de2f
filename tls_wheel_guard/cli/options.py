"""Options that several commands share, and what they mean together with the environment and pyproject.toml."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tls_wheel_guard.cli.links import terminal_pages
from tls_wheel_guard.cli.output import say, write_text
from tls_wheel_guard.cli.reports import enriched, file_style, summary_file, wanted_reports
from tls_wheel_guard.config.fields import allow_from_option
from tls_wheel_guard.config.model import FAIL_ON, Config
from tls_wheel_guard.config.sources import layers, nearest_pyproject, read_config
from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.findings import Report
from tls_wheel_guard.inputs.files import expand
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, limits_from
from tls_wheel_guard.records import replace
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.rules import RULES
from tls_wheel_guard.targets import require_target

__all__ = [
    "add_failing",
    "add_input",
    "add_judging",
    "add_limit",
    "add_output",
    "config_from",
    "exit_code",
    "path_typed",
    "paths_from",
    "refuse_inputs_as_output",
    "style_from",
    "terminal_style",
    "write_report",
]


def add_input(parser: argparse.ArgumentParser) -> None:
    """PATH..., --files-from, -j."""
    parser.add_argument("paths", nargs="*", type=path_typed, metavar="PATH", help="wheels, folders of wheels, bare shared objects")
    parser.add_argument("--files-from", metavar="FILE", help="read more paths from FILE, one a line; - for stdin")
    parser.add_argument(
        "-j",
        "--jobs",
        type=_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="worker processes, or threads for one wheel (default: the cores)",
    )


def path_typed(text: str) -> Path:
    """A path as it was typed. An empty one, as of a variable that is not set, would stand for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; is a variable of the shell not set?")
    return Path(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count of 1 or more")
    return int(text)


def add_judging(parser: argparse.ArgumentParser) -> None:
    """--target, --no-own-tags, --config, --no-config."""
    parser.add_argument(
        "--target", action="append", default=[], metavar="TAG",
        help="judge for this platform tag too, such as musllinux_1_2_x86_64, freebsd_14_2_amd64, android_24_arm64_v8a; repeatable",
    )  # fmt: skip
    add_limit(parser)
    parser.add_argument("--no-own-tags", action="store_true", help="leave the wheel's own tags out")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings from this pyproject.toml instead of the nearest one")
    parser.add_argument("--no-config", action="store_true", help="read no pyproject.toml")
    parser.add_argument("--show-settings", action="store_true", help="print the settings in force and where each is from, then end")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """--limit, for every command that reads inputs."""
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=N", help="move a limit on what is read; an error names the one that it hit"
    )


def add_output(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """--format, -o, --color, -q, -v. ``without``: formats that have nothing to say of what is not judged."""
    formats = tuple(name for name in WRITERS if name not in without)
    parser.add_argument("--format", choices=formats, default="text", help="default: text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report to FILE instead of stdout")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="default: auto; NO_COLOR and FORCE_COLOR are respected"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is known of every module")


def add_destination(parser: argparse.ArgumentParser) -> None:
    """-w/--wheel-dir and --in-place, for commands that write."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-w", "--wheel-dir", type=Path, default=Path("wheelhouse"), metavar="DIR", help="write to DIR (default: wheelhouse/)")
    where.add_argument("--in-place", action="store_true", help="replace the files themselves")


def paths_from(options: argparse.Namespace) -> tuple[list[Path], int]:
    """The files to read, and the exit code so far: what is missing is said, and the others still count."""
    asked = [*options.paths, *_listed(options.files_from)]
    if_any = getattr(options, "if_any", False)
    if not asked and options.command == "check":
        asked = _usual_folders(options.quiet)
    if not asked and not if_any:
        raise UsageError("no PATH was given", hint="name wheels or a folder of wheels, such as dist/")
    found: list[Path] = []
    code = 0
    for path in asked:
        try:
            found += expand(path, getattr(options, "tree", False))
        except UsageError as error:
            say(f"{error.message}; --if-any: nothing to check there" if if_any else error.line())
            code = max(code, 0 if if_any else error.exit_code)
        except UnreadableInput as error:
            say(error.line())
            code = max(code, error.exit_code)
    more = wanted_reports(options) if hasattr(options, "reports") else []
    for output in (getattr(options, "output", None), *(wanted.path for wanted in more)):
        refuse_inputs_as_output(output, found)
    return found, code


def _usual_folders(quiet: bool) -> list[Path]:
    """Where builds put their wheels, of those that hold any; it is said, since nobody typed it."""
    found = [folder for folder in (Path("dist"), Path("wheelhouse")) if any(folder.glob("*.whl"))]
    if found and not quiet:
        say(f"no PATH was given: {' and '.join(f'{folder}/' for folder in found)} {'are' if len(found) > 1 else 'is'} checked")
    return found


def refuse_inputs_as_output(output: Path | None, inputs: Iterable[Path]) -> None:
    """Raise UsageError where a report would overwrite one of the files that it is about."""
    if output is None or not output.is_file():
        return
    for path in inputs:
        if path.is_file() and path.samefile(output):
            raise UsageError(f"{output}: the output is one of the inputs", hint="name another file for the report")


def _listed(source: str | None) -> list[Path]:
    if source is None:
        return []
    if source == "-" and (sys.stdin is None or sys.stdin.closed):
        raise UsageError("--files-from -: stdin is closed", hint="pipe a list of paths into it, or name a file")
    try:
        # As the system spells names: any bytes.
        text = sys.stdin.read() if source == "-" else os.fsdecode(Path(source).read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"--files-from {source}: {reason}", hint="give a text file with one path a line") from error
    return [Path(line) for line in text.splitlines() if line.strip()]


def config_from(options: argparse.Namespace) -> Config:
    """Command line > environment > pyproject.toml > default; raises ConfigError."""
    typed: dict[str, Any] = {"targets": tuple(options.target), "limits": tuple(options.limit)}
    limits_from(options.limit)
    for tag in options.target:
        require_target(tag)
    if hasattr(options, "fail_on"):
        for name in ("fail_on", "strict"):
            if getattr(options, name):
                typed[name] = getattr(options, name)
        if options.baseline:
            typed["baseline"] = options.baseline
        for name in ("select", "ignore", "exclude"):
            if getattr(options, name):
                typed[name] = tuple(getattr(options, name))
        typed["allow"] = tuple(allow_from_option(text) for text in options.allow)
    if options.no_config and options.config:
        raise UsageError(f"--config {options.config} and --no-config contradict each other", hint="leave one out")
    path = None if options.no_config else options.config or nearest_pyproject(Path.cwd())
    if options.show_settings:
        from tls_wheel_guard.config.in_force import in_force

        write_text(in_force(layers(path, os.environ, typed)), None)
        raise SystemExit(0)
    return read_config(path, os.environ, typed)


def add_failing(parser: argparse.ArgumentParser) -> None:
    """--fail-on, --select, --ignore, --allow, --exclude, --baseline, --strict."""
    parser.add_argument("--fail-on", choices=FAIL_ON, default=None, help="the least severity that makes the exit code 1 (default: warning)")
    parser.add_argument("--select", action="append", choices=tuple(RULES), metavar="RULE", help="run only this rule; repeatable")
    parser.add_argument("--ignore", action="append", choices=tuple(RULES), metavar="RULE", help="do not run this rule; repeatable")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="GLOB:RULE[:REASON]",
        help="accept this rule's findings in modules that match",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="leave out members and files that match; repeatable")
    parser.add_argument("--baseline", metavar="FILE", help="findings in FILE are known and do not fail")
    parser.add_argument("--write-baseline", action="store_true", help="write the findings of this run to that file, then end with 0")
    parser.add_argument("--strict", action="store_true", help="what could not be analysed is an error")


def style_from(options: argparse.Namespace) -> Style:
    """Colour and width: --color, NO_COLOR, the terminal."""
    if options.format != "text":
        return file_style(int(options.verbose), options.command != "show")
    verbosity = -1 if options.quiet else int(options.verbose)
    return replace(terminal_style(options.color, options.output), verbosity=verbosity, judged=options.command != "show")


def terminal_style(color: str, output: Path | None = None) -> Style:
    """Width, colours and links of what goes to ``output``, None for stdout. ``color``: auto, always or never."""
    to_terminal = output is None and sys.stdout.isatty()
    # COLUMNS counts for a pipe and a file too; a terminal of 0 columns has none that is known.
    width = shutil.get_terminal_size((100, 24)).columns if to_terminal else columns_asked(os.environ) or 100
    painted = color == "always" or (color == "auto" and wants_color(os.environ, to_terminal))
    return Style(max(24, min(width, 120)), painted, pages=terminal_pages(os.environ, to_terminal))


def wants_color(environment: Mapping[str, str], to_terminal: bool) -> bool:
    """NO_COLOR (no-color.org) wins over FORCE_COLOR (force-color.org), which wins over what the terminal is."""
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or (to_terminal and environment.get("TERM") != "dumb")


def columns_asked(environment: Mapping[str, str]) -> int:
    """COLUMNS, 0 where it is no number."""
    text = environment.get("COLUMNS", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def write_report(reports: Sequence[Report], options: argparse.Namespace, limits: Limits = DEFAULT_LIMITS) -> int:
    """The report to stdout or to a file, whole or not at all, and those that --report asks for; returns 2 where one can't be written."""
    code = 0
    wanted = wanted_reports(options)
    shown, proposed = enriched(reports, {options.format, *(name for name, _ in wanted), *(["long text"] if options.verbose else [])}, limits)
    for name, path in wanted:
        try:
            write_text(WRITERS[name](shown, file_style(int(options.verbose), proposed=proposed)), path)
        except UsageError as error:
            # The other reports are as good as they were.
            say(error.line())
            code = error.exit_code
    write_text(WRITERS[options.format](shown, replace(style_from(options), proposed=proposed)), options.output)
    return max(code, _summarise(reports) if options.format == "github" else 0)


def _summarise(reports: Sequence[Report]) -> int:
    """Add all findings to the summary of GitHub's job, where there is one; returns 2 where it can't be written."""
    path = summary_file(os.environ)
    if path is None:
        return 0
    try:
        with path.open("a", encoding="utf-8") as summary:
            summary.write(WRITERS["markdown"](reports, file_style(0)))
    except OSError as error:
        say(f"GITHUB_STEP_SUMMARY {path}: it can't be written: {error.strerror}")
        return UsageError.exit_code
    return 0


def exit_code(reports: Sequence[Report], so_far: int) -> int:
    """2 for a wrong command line, 5 for a bug of ours, 3 for what could not be read, else 0."""
    return so_far or max((report.error_code for report in reports if report.error is not None), default=0)
