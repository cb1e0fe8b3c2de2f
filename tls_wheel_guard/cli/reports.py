"""``--report FORMAT=FILE``: more reports of the same run."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tls_wheel_guard.cli.anchor import anchor_of
from tls_wheel_guard.cli.explain import page
from tls_wheel_guard.cli.links import page_address
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.rules import RULES

__all__ = ["Wanted", "add_reports", "file_style", "require_extra", "summary_file", "wanted_reports"]

EXTRAS = {"html": ("jinja2", "html")}
"""A format -> the module that it needs, and the extra that brings it."""


class Wanted(NamedTuple):
    """One more report: its format, and the file for it."""

    format: str
    path: Path


def add_reports(parser: argparse.ArgumentParser) -> None:
    """--report."""
    parser.add_argument(
        "--report", action="append", default=[], metavar="FORMAT=FILE", dest="reports",
        help=f"write one more report of this run to FILE; repeatable; formats: {', '.join(WRITERS)}",
    )  # fmt: skip


def wanted_reports(options: argparse.Namespace) -> list[Wanted]:
    """What ``--report`` asks for. Raises UsageError for a format that does not exist or lacks its extra, and for one file twice."""
    require_extra(options.format)
    found: list[Wanted] = []
    taken = {options.output.absolute()} if options.output is not None else set()
    for text in getattr(options, "reports", ()):
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise UsageError(f"--report {text}: it is not FORMAT=FILE", hint="such as --report html=report.html")
        if name not in WRITERS:
            near = difflib.get_close_matches(name, WRITERS, 1)
            raise UsageError(
                f"--report {text}: no format is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else f"formats: {', '.join(WRITERS)}"
            )
        require_extra(name)
        path = Path(file)
        if path.absolute() in taken:
            raise UsageError(f"--report {text}: another report goes to that file", hint="name a file for each")
        taken.add(path.absolute())
        found.append(Wanted(name, path))
    return found


def file_style(verbosity: int, judged: bool = True) -> Style:
    """How a report looks that is not for a terminal: no colours, links to the documentation's site, a place in the repository."""
    return Style(
        100, verbosity=verbosity, judged=judged, pages=_site_page, page_text=lambda name: page(name) if name in RULES else None,
        anchor=anchor_of(Path.cwd()),
    )  # fmt: skip


def _site_page(name: str) -> str | None:
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
