"""``env``: the static TLS of a live interpreter."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from tls_wheel_guard.cli.options import write_text
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.live.model import KEEPS_NO_ROOM, Live
from tls_wheel_guard.live.reading import METHODS, read_live

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
    write_text(json.dumps(live.to_dict(), indent=2) + "\n" if options.format == "json" else text(live), options.output)
    return 0


def text(live: Live) -> str:
    """The answer for people."""
    version = f" {live.libc_version}" if live.libc_version else ""
    lines = [f"{live.python}: {live.implementation}, {live.libc}{version}, {live.machine}"]
    if live.imported:
        lines.append(f"  after import of {', '.join(live.imported)}")
    if live.room is None:
        return "\n".join([*lines, f"  {live.method}: modules can't run out of it", ""])
    if live.method == KEEPS_NO_ROOM:
        return "\n".join([*lines, f"  {live.method}: one with initial-exec TLS of its own never loads", ""])
    lines.append(f"  room for late modules: {live.room} bytes" + (f", alignment up to {live.align}" if live.align else ""))
    if live.method == "bisecting":
        lines.append("  found by bisecting: the loader was asked for blocks of many sizes")
    elif live.used is not None:
        lines.append(f"  used {live.used} of {live.limit} bytes, found by {live.method}")
    if live.optional is not None:
        lines.append(f"  of the room, descriptors may take: {live.optional} bytes")
    if live.tunables:
        lines.append("  tunables: " + ", ".join(f"glibc.{name}={value}" for name, value in live.tunables.items()))
    return "\n".join([*lines, ""])
