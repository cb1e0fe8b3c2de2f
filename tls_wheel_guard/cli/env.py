"""``env``: the static TLS of a live interpreter."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tls_wheel_guard.cli.output import write_text
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.live.reading import METHODS, read_live
from tls_wheel_guard.report.env import text
from tls_wheel_guard.report.json import live_document, to_text

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show how much static TLS a live interpreter has left"
EXAMPLE = "tls-wheel-guard env --python .venv/bin/python --import numpy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--python", default=sys.executable, metavar="EXE", help="the interpreter (default: the one that runs this)")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="NAME", help="import this module first; repeatable, in this order"
    )
    parser.add_argument("--method", choices=METHODS, default="auto", help="how: auto (default) reads, and bisects where that can't be done")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="end the interpreter after this long (default: 60)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the answer to FILE instead of stdout")


def run(options: argparse.Namespace) -> int:
    """0 when the answer is known, 2 and 3 as everywhere."""
    if not (options.timeout > 0 and math.isfinite(options.timeout)):
        raise UsageError(f"--timeout {options.timeout:g}: it must be more than 0 seconds", hint="the default is 60")
    live = read_live(options.python, imports=options.imports, method=options.method, timeout=options.timeout)
    write_text(to_text(live_document(live)) if options.format == "json" else text(live), options.output)
    return 0
