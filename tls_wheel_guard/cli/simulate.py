"""``simulate``: open modules in this order under one loader's model; who fails, how much room is left after each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tls_wheel_guard.cli.options import refuse_inputs_as_output
from tls_wheel_guard.cli.output import write_text
from tls_wheel_guard.cli.reports import require_extra
from tls_wheel_guard.commands.simulate import ReadModules, loaders_for, machine_of, parse_acts, read_modules, read_start, simulate
from tls_wheel_guard.errors import UnreadableInput, UsageError
from tls_wheel_guard.inputs.host_libraries import host_folders
from tls_wheel_guard.limits import limits_from
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.live.reading import read_live
from tls_wheel_guard.loaders import LOADERS, Loader, loader_called
from tls_wheel_guard.loaders.simulation import Simulation
from tls_wheel_guard.report.json import live_document, simulation_document, to_text
from tls_wheel_guard.report.simulation import text

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "open modules in this order under one loader's model: who fails, how much room is left"
EXAMPLE = "tls-wheel-guard simulate --loader glibc-2.36 numpy.whl a.so @close a.so b.so"
_HELP = {
    "used": "glibc: _dl_tls_static_used",
    "limit": "glibc: _dl_tls_static_size, less the TCB where blocks end at it",
    "align": "glibc: _dl_tls_static_align",
    "optional": "glibc: what is left for descriptors",
    "last_offset": "FreeBSD: tls_last_offset",
    "last_size": "FreeBSD: tls_last_size",
    "space": "FreeBSD: tls_static_space",
}
NUMBERS = tuple(_HELP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "steps",
        nargs="*",
        metavar="PATH",
        help="shared objects and wheels, opened in this order; @global PATH opens with RTLD_GLOBAL, @close PATH closes, @use PATH is a first"
        " dynamic access",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--python", metavar="EXE", help="start from this live interpreter, and look up what the files need")
    start.add_argument("--start", type=Path, metavar="FILE", help="start from what `env --format json` wrote")
    parser.add_argument(
        "--loader", metavar="NAME", help=f"{', '.join(LOADERS)}, with a version as in glibc-2.36 (default: each that the wheels' tags name)"
    )
    parser.add_argument(
        "--library-path", action="append", default=[], metavar="DIR", help="look up here what the files need and nobody gave; repeatable"
    )
    parser.add_argument("--machine", metavar="NAME", help="the machine of the process (default: that of the modules)")
    numbers = parser.add_argument_group("numbers of the start, in bytes, under the loader's own names")
    for name in NUMBERS:
        if name == "limit":
            words = f"{_HELP[name]}; NAME=N moves a limit on what is read, as in `check`"
            numbers.add_argument("--limit", type=_number_or_limit, action="append", default=[], metavar="N|NAME=N", help=words)
        else:
            numbers.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=_HELP[name])
    parser.add_argument("--format", choices=("text", "json", "html"), default="text", help="default: text; html needs tls-wheel-guard[html]")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report to FILE instead of stdout")


def _number_or_limit(text: str) -> int | str:
    """``--limit`` is a number of glibc's here, and what an error of the reader offers everywhere: NAME=N."""
    return text if "=" in text else int(text)


def run(options: argparse.Namespace) -> int:
    """0 when every step works, 1 when one fails or is unsafe, 2 and 3 as everywhere."""
    require_extra(options.format)
    acts = parse_acts(options.steps)
    refuse_inputs_as_output(options.output, [act.path for act in acts] + ([options.start] if options.start else []))
    limits = limits_from(word for word in options.limit if isinstance(word, str))
    live = _live(options)
    read = read_modules([act.path for act in acts], limits, live.files if live else (), _folders(options, live))
    found, numbers = _start(options, live, read)
    options.limit = next((word for word in reversed(options.limit) if isinstance(word, int)), None)
    numbers |= {name: getattr(options, name) for name in NUMBERS if getattr(options, name) is not None}
    if numbers and len(found) > 1:
        names = ", ".join(loader.name for loader in found)
        raise UsageError(f"these files are for several loaders ({names}), and the numbers are those of one", hint=f"--loader {found[0].name}")
    simulations = [simulate(acts, read, loader, loader.start(numbers)) for loader in found]
    write_text(_written(simulations, options.format), options.output)
    return int(any(simulation.fails for simulation in simulations))


def _written(simulations: list[Simulation], name: str) -> str:
    if name == "html":
        if len(simulations) > 1:
            names = ", ".join(simulation.loader.name for simulation in simulations)
            raise UsageError(f"a page shows one loader, and these files are for several: {names}", hint=f"--loader {simulations[0].loader.name}")
        from tls_wheel_guard.report.filling_html import write_simulation

        return write_simulation(simulations[0])
    if name == "json":
        documents = [simulation_document(simulation) for simulation in simulations]
        return to_text(documents[0] if len(documents) == 1 else {"version": 1, "simulations": documents})
    return "\n".join(map(text, simulations))


def _live(options: argparse.Namespace) -> Live | None:
    """The interpreter that was asked for."""
    if options.python is None:
        return None
    live = read_live(options.python)
    if live.used is None and live.room is None:
        raise UsageError(f"{options.python}: {live.method}", hint="there is nothing to simulate")
    return live


def _folders(options: argparse.Namespace, live: Live | None) -> tuple[str, ...]:
    """Where libraries are looked for: where the user says, then where an interpreter of this machine finds them."""
    for folder in options.library_path:
        if not Path(folder).is_dir():
            raise UsageError(f"--library-path {folder}: no such folder", hint="name a folder that holds shared libraries")
    return (*options.library_path, *(host_folders() if live is not None else ()))


def _start(options: argparse.Namespace, live: Live | None, read: ReadModules) -> tuple[tuple[Loader[Any], ...], dict[str, int | None]]:
    """The loaders, and the numbers that a live interpreter or a file gives."""
    machine = machine_of(read.modules, options.machine)
    if live is not None:
        return _from_document(live_document(live), str(options.python), options.loader, machine)
    if options.start is not None:
        return _from_document(read_start(options.start), str(options.start), options.loader, machine)
    return loaders_for(read, options.loader, options.machine), {}


def _from_document(
    document: dict[str, Any], source: str, asked: str | None, machine: str
) -> tuple[tuple[Loader[Any], ...], dict[str, int | None]]:
    there, libc, version = (document.get(name) for name in ("machine", "libc", "libc_version"))
    if there != machine:
        raise UsageError(
            f"{source}: it is a process of {there}, and the modules are for {machine}", hint="read an interpreter of the modules' machine"
        )
    name = f"{libc}-{version}" if version else str(libc)
    loader = loader_called(asked or name, machine)
    if loader.name != libc:
        raise UsageError(f"{source}: it is a process of {libc}, and --loader says {asked}", hint="leave --loader out")
    start = document.get("start") or {}
    if not isinstance(start, dict) or not all(
        value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in start.values()
    ):
        raise UnreadableInput(f"{source}: its start is {start!r}", hint="it holds numbers of bytes, as `env --format json` prints them")
    # What bisecting can't see keeps the value of a fresh process.
    return (loader,), {name: value for name, value in start.items() if value is not None}
