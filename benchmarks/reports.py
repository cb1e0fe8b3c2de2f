"""How long findings are, and that every document of a folder's wheels is valid: ``python -m benchmarks.reports FOLDER [TEXTS]``.

TEXTS: a folder with what another version of the guard printed for the same wheels, ``NAME.whl.txt`` each, to compare with.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jsonschema
import xmlschema

from tests.support.schemas import junit_schema, sarif_schema
from tls_wheel_guard.commands.check import check_path
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.findings import Report
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.report.finding_text import finding_lines
from tls_wheel_guard.report.story import stories_of

WIDTH = 100


def lines_of_older(text: str) -> Iterator[int]:
    """Lines of each finding in a report of before findings were told from top to bottom: from its first line to the next empty one."""
    for block in re.split(r"\n\n", text):
        starts = [number for number, line in enumerate(block.splitlines()) if re.match(r"  (error|warning|note): ", line)]
        if starts:
            yield len(block.splitlines()) - starts[0]


def row(name: str, counts: Sequence[int]) -> str:
    """A row of the first table."""
    if not counts:
        return f"| {name} | 0 | - | - | - | - |"
    return f"| {name} | {len(counts)} | {statistics.median(counts):g} | {min(counts)} | {max(counts)} | {sum(counts):,} |"


def main(folder: Path, older: Path | None) -> None:
    """Print the tables as Markdown."""
    began = time.process_time()
    reports: list[Report] = [check_path(path, Config()) for path in sorted(folder.glob("*.whl"))]
    judged = time.process_time() - began
    print("| report | findings | median lines | least | most | all lines |\n|---|---|---|---|---|---|")
    if older is not None:
        print(row("before", [n for path in sorted(older.glob("*.txt")) for n in lines_of_older(path.read_text(encoding="utf-8"))]))
    alone = [len(list(finding_lines(story, Style(WIDTH)))) for report in reports for story in stories_of([report])]
    print(row("each wheel by itself", alone))
    print(row("all wheels in one run", [len(list(finding_lines(story, Style(WIDTH)))) for story in stories_of(reports)]))
    print("\n| format | bytes | CPU, share of judging | valid |\n|---|---|---|---|")
    for name, writer in WRITERS.items():
        began = time.process_time()
        text = writer(reports, Style(WIDTH))
        spent = time.process_time() - began
        if name == "sarif":
            jsonschema.Draft4Validator(sarif_schema()).validate(json.loads(text))
        elif name == "junit":
            xmlschema.XMLSchema(str(junit_schema())).validate(text)
        elif name in ("json", "gitlab"):
            json.loads(text)
        valid = {"sarif": "OASIS' schema", "junit": "Jenkins' schema", "json": "JSON", "gitlab": "JSON"}.get(name, "-")
        print(f"| {name} | {len(text.encode()):,} | {100 * spent / judged:.2f} % | {valid} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
