"""One HTML file: no script, nothing of anywhere else, links to the documentation only. Needs jinja2, the extra ``[html]``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tls_wheel_guard.findings import ModuleReport, Report
from tls_wheel_guard.report.block import MEANING, Segment, SegmentKind
from tls_wheel_guard.report.block_svg import svg
from tls_wheel_guard.report.headline import system_name
from tls_wheel_guard.report.matrix import matrix_of
from tls_wheel_guard.report.proposed import diff_for
from tls_wheel_guard.report.story import Place, Story, conditions, stories_of
from tls_wheel_guard.report.style import Style, printable, shortened
from tls_wheel_guard.rules.phrases import count_of, describe_target
from tls_wheel_guard.version import __version__

if TYPE_CHECKING:
    from tls_wheel_guard.machine_code.access_sites import Site

__all__ = ["page", "write"]

MOST_NAME, MOST_PLACES, MOST_SITES = 300, 200, 300
OPEN_ROWS = 24
"""Wheels of the matrix up to which it is open."""


def write(reports: Sequence[Report], style: Style) -> str:
    """The report of ``check`` as a page."""
    counts = {severity: sum(report.count(severity) for report in reports) for severity in ("error", "warning", "note")}
    return page(
        "check.html",
        reports=reports,
        stories=stories_of(reports),
        matrix=matrix_of(reports),
        counts=counts,
        unread=[report for report in reports if report.error is not None],
        allowed=[Place(report, finding) for report in reports for finding in report.allowed],
        style=style,
    )


def page(template: str, **values: Any) -> str:
    """A page from its template and values."""
    return _environment().get_template(template).render(version=__version__, **values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tls_wheel_guard.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.finalize = _finalize
    environment.filters.update(name=_name, lines=_lines, count=count_of, target=describe_target)
    environment.globals.update(
        meaning=MEANING, drawing=drawing, conditions=conditions, sites_by_function=sites_by_function, system_name=system_name, diff_for=diff_for,
        MOST_PLACES=MOST_PLACES, OPEN_ROWS=OPEN_ROWS,
    )  # fmt: skip
    return environment


def _finalize(value: object) -> object:
    """Every text without control characters, before it is escaped."""
    return printable(value) if type(value) is str else value


class _Lines(str):
    """Lines that were made printable one by one."""

    __slots__ = ()


def _lines(text: str) -> _Lines:
    return _Lines("\n".join(printable(line) for line in text.split("\n")))


def _name(text: str | None) -> str:
    return shortened(text or "", MOST_NAME)


def drawing(segments: Sequence[Segment], label: str) -> Markup:
    """The block as SVG with its legend."""
    kinds: dict[SegmentKind, int] = {}
    for segment in segments:
        kinds[segment.kind] = kinds.get(segment.kind, 0) + segment.size
    items = "".join(f'<li><span class="key {kind}"></span>{size:,} {MEANING[kind]}</li>' for kind, size in kinds.items())
    # Everything in it is ours but the label, which is escaped here.
    return Markup(f'{svg(segments, escape(printable(label)))}<ul class="legend">{items}</ul>')  # noqa: S704


def module_of(place: Place) -> ModuleReport | None:
    """The facts of the module that a finding is about."""
    return next((module for module in place.report.modules if module.path == place.finding.module), None)


def sites_by_function(story: Story) -> tuple[tuple[str, tuple[Site, ...]], ...]:
    """The code behind a finding, by function; of the first of its wheels whose code was decoded."""
    for place in story.places:
        module = module_of(place)
        if module is not None and module.sites is not None and module.sites.sites:
            found: dict[str, list[Site]] = {}
            for site in module.sites.sites[:MOST_SITES]:
                found.setdefault(str(site.function or "no function is known"), []).append(site)
            return tuple((name, tuple(sites)) for name, sites in found.items())
    return ()
