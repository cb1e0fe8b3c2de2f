"""``doctor``: import a module, or open a shared object, and say what stands in the way."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tls_wheel_guard.cli.options import add_limit, refuse_inputs_as_output
from tls_wheel_guard.cli.output import write_text
from tls_wheel_guard.cli.progress import Status
from tls_wheel_guard.cli.reports import require_extra
from tls_wheel_guard.doctor.diagnosis import examine
from tls_wheel_guard.doctor.result import Diagnosis
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.limits import limits_from
from tls_wheel_guard.report.doctor import text
from tls_wheel_guard.report.json import diagnosis_document, to_text

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "import a module or run a script in a child process; when it fails for static TLS, say who took the room and what helps now"
EXAMPLE = "tls-wheel-guard doctor sklearn --python .venv/bin/python --import torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("module", metavar="MODULE|FILE.so|SCRIPT.py", help="a module or an installed distribution, a shared object, a script")
    parser.add_argument("arguments", nargs="*", metavar="ARG", help="arguments of the script; after -- where they begin with a dash")
    parser.add_argument("--python", default=sys.executable, metavar="EXE", help="the interpreter (default: the one that runs this)")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="NAME",
        help="import this module, or open this shared object, first; repeatable, in this order",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="end each child after this long (default: 60)")
    add_limit(parser)
    parser.add_argument("--format", choices=("text", "json", "html"), default="text", help="default: text; html needs tls-wheel-guard[html]")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the answer to FILE instead of stdout")


def run(options: argparse.Namespace) -> int:
    """0 when it is imported, 1 when it is not, 2 and 3 as everywhere."""
    if not (options.timeout > 0 and math.isfinite(options.timeout)):
        raise UsageError(f"--timeout {options.timeout:g}: it must be more than 0 seconds", hint="the default is 60")
    require_extra(options.format)
    refuse_inputs_as_output(options.output, [Path(word) for word in (options.module, *options.imports)])
    arguments, limits = [*options.arguments, *options.rest], limits_from(options.limit)
    with Status() as status:
        diagnosis = examine(options.python, options.module, options.imports, options.timeout, arguments=arguments, on_run=status, limits=limits)
    write_text(_written(diagnosis, options.format), options.output)
    return int(diagnosis.outcome != "loads")


def _written(diagnosis: Diagnosis, name: str) -> str:
    if name == "html":
        from tls_wheel_guard.report.filling_html import write_diagnosis

        return write_diagnosis(diagnosis)
    return to_text(diagnosis_document(diagnosis)) if name == "json" else text(diagnosis)
