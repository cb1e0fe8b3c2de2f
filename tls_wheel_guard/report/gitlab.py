"""GitLab's code quality report: a list of what is to be shown in a merge request."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tls_wheel_guard.findings import Report
from tls_wheel_guard.report.identity import fingerprint
from tls_wheel_guard.report.paragraph import paragraph
from tls_wheel_guard.report.proposed import place_of
from tls_wheel_guard.report.sarif import NOWHERE
from tls_wheel_guard.report.story import stories_of
from tls_wheel_guard.report.style import Style, printable

__all__ = ["write"]

SEVERITIES = {"error": "critical", "warning": "major", "note": "info"}


def write(reports: Sequence[Report], style: Style) -> str:
    """One entry for what is the same in the wheels of a release, the most severe first."""
    entries = []
    for story in stories_of(reports, joined=False):
        place = place_of(story, style) or NOWHERE
        entries.append(
            {
                "description": paragraph(story),
                "check_name": story.rule,
                "fingerprint": fingerprint(story.places[0].report, story.places[0].finding),
                "severity": SEVERITIES[story.severity],
                "location": {"path": printable(place.path), "lines": {"begin": place.line}},
            }
        )
    return json.dumps(entries, indent=1) + "\n"
