"""``--report FORMAT=FILE``: more reports of the same run."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.findings import Report
from tls_wheel_guard.limits import Limits
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.rules import RULES

if TYPE_CHECKING:
    from tls_wheel_guard.report.proposed import Proposed

__all__ = ["Wanted", "add_reports", "enriched", "file_style", "require_extra", "summary_file", "wanted_reports"]

SHOWS_EDITS = {"text", "html", "sarif", "github", "gitlab", "long text"}
"""Formats that show the edit, or the line that would be edited."""
EXTRAS = {"html": ("jinja2", "html")}
"""A format -> the module that it needs, and the extra that brings it."""


class Wanted(NamedTuple):
    """One more report: its format, and the file for it."""

    format: str
    path: Path


def add_reports(parser: argparse.ArgumentParser, formats: Collection[str] = WRITERS) -> None:
    """--report, for some formats."""
    parser.add_argument(
        "--report", action="append", default=[], metavar="FORMAT=FILE", dest="reports",
        help=f"write one more report of this run to FILE; repeatable; formats: {', '.join(formats)}",
    )  # fmt: skip


def wanted_reports(options: argparse.Namespace, formats: Collection[str] = WRITERS) -> list[Wanted]:
    """What ``--report`` asks for. Raises UsageError for a format that does not exist or lacks its extra, and for one file twice."""
    require_extra(options.format)
    found: list[Wanted] = []
    taken = {options.output.absolute()} if options.output is not None else set()
    for text in getattr(options, "reports", ()):
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise UsageError(f"--report {text}: it is not FORMAT=FILE", hint="such as --report html=report.html")
        if name not in formats:
            import difflib

            near = difflib.get_close_matches(name, formats, 1)
            raise UsageError(
                f"--report {text}: no format is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else f"formats: {', '.join(formats)}"
            )
        require_extra(name)
        path = Path(file)
        if path.absolute() in taken:
            raise UsageError(f"--report {text}: another report goes to that file", hint="name a file for each")
        taken.add(path.absolute())
        found.append(Wanted(name, path))
    return found


def file_style(verbosity: int, judged: bool = True, proposed: Proposed | None = None) -> Style:
    """How a report looks that is not for a terminal: no colours, links to the documentation's site, a place in the repository."""
    from tls_wheel_guard.cli.anchor import anchor_of
    from tls_wheel_guard.cli.explain import page

    return Style(
        100, verbosity=verbosity, judged=judged, pages=_site_page, page_text=lambda name: page(name) if name in RULES else None,
        anchor=anchor_of(Path.cwd()), proposed=proposed,
    )  # fmt: skip


def enriched(reports: Sequence[Report], formats: Collection[str], limits: Limits) -> tuple[Sequence[Report], Proposed | None]:
    """What some formats show beside the findings: the code behind them, and the edits that ``fix`` has for the project here."""
    proposed = _proposed(reports) if SHOWS_EDITS & set(formats) else None
    if "html" in formats and importlib.util.find_spec("capstone") is not None:
        reports = _with_code(reports, limits)
    return reports, proposed


def _proposed(reports: Sequence[Report]) -> Proposed | None:
    if not any(finding.severity != "note" for report in reports for finding in report.findings):
        return None
    folder = Path.cwd()
    if not (folder / "pyproject.toml").is_file():
        return None
    # What finds edits costs more than judging a small wheel: only in a project.
    from tls_wheel_guard.commands.proposed import proposed_fix
    from tls_wheel_guard.report.proposed import Proposed

    fix = proposed_fix(folder, reports)
    if fix is None:
        return None
    import shlex

    from tls_wheel_guard.cli.anchor import repository_of

    top = Path(fix.project)
    prefix = top.relative_to(root).as_posix() if (root := repository_of(top)) in (top, *top.parents) else ""
    first = next(report for report in reports if report.tags and report.findings)
    return Proposed(fix, "" if prefix in ("", ".") else f"{prefix}/", f"tls-wheel-guard fix --from {shlex.quote(first.path)}")


def _with_code(reports: Sequence[Report], limits: Limits) -> Sequence[Report]:
    """The reports, with the access sites in the first wheel of each finding: its code stands for that of the others."""
    from tls_wheel_guard.commands.show import with_sites
    from tls_wheel_guard.report.story import stories_of

    first = {id(story.places[0].report) for story in stories_of(reports) if story.blocks}
    return [with_sites(report, limits) if id(report) in first and report.tags else report for report in reports]


def _site_page(name: str) -> str | None:
    from tls_wheel_guard.cli.links import page_address

    address = page_address(name)
    return address if address and address.startswith("https://") else None


def summary_file(environment: Mapping[str, str]) -> Path | None:
    """The summary of the job that GitHub Actions runs, None elsewhere."""
    path = environment.get("GITHUB_STEP_SUMMARY")
    return Path(path) if path else None


def require_extra(name: str) -> None:
    """Raise UsageError where a format needs an extra that is not installed: before anything is read."""
    if name in EXTRAS:
        module, extra = EXTRAS[name]
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"--format {name} needs {module}", hint=f"pip install 'tls-wheel-guard[{extra}]'")
