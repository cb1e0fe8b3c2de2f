"""The command line: parse, call a recipe, print, choose the exit code."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from tls_wheel_guard.cli.output import flush_stdout, say, wants_traceback, write_text
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError, bug_of
from tls_wheel_guard.version import __version__

__all__ = ["Parser", "build_parser", "run"]

COMMANDS = ("check", "show", "explain", "fix", "repair", "mark", "index", "build", "simulate", "env", "doctor", "completion")
"""Each is a module here: SUMMARY, EXAMPLE, add_arguments, run. Only the one that was asked for is imported."""


def _command(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are errors of ours: one line, with a hint.

    ``only``: the one command that it knows. What is left over is the top parser's error, and belongs to that command.
    """

    only: str | None = None

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse would say nothing where --help can't be written.
        if file is sys.stdout:
            write_text(message, None)
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage and exiting."""
        near = _near_option(self, message) or _near_choice(message)
        page = f"{self.prog} {self.only}" if self.only else self.prog
        hint = f"did you mean {near}?" if near else f"see {page} --help"
        if self.only == "doctor" and message.startswith("unrecognized arguments:"):
            hint = ("" if near is None else hint + " ") + "options of a script go after --, as in: doctor app.py -- --fast"
        raise UsageError(message, hint=hint)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    names = [name for action in parser._actions for name in action.option_strings]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                names += _options(child)
    return names


def _near_option(parser: argparse.ArgumentParser, message: str) -> str | None:
    if not message.startswith("unrecognized arguments:"):
        return None
    import difflib

    # Without the dashes, which would make any two options alike.
    names = {name.lstrip("-"): name for name in _options(parser)}
    typed = (word.split("=")[0].lstrip("-") for word in message.split()[2:] if word.startswith("--"))
    return next((names[near[0]] for word in typed if (near := difflib.get_close_matches(word, names, 1))), None)


def _near_choice(message: str) -> str | None:
    import difflib

    choices = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)$", message)
    near = difflib.get_close_matches(choices[1], re.findall(r"[\w-]+", choices[2]), 1) if choices else []
    return near[0] if near else None


def build_parser(only: str | None = None) -> Parser:
    """The parser of the whole command line, or of it with one command."""
    parser = Parser(
        prog="tls-wheel-guard",
        description="Finds native code in wheels that dlopen will refuse for want of static TLS, before the release.",
        epilog="example: tls-wheel-guard check dist/*.whl; `tls-wheel-guard help COMMAND` shows a command's options",
    )
    parser.only = only
    version = f"tls-wheel-guard {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    children = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name in (only,) if only else COMMANDS:
        module = _command(name)
        child = children.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[0].upper() + module.SUMMARY[1:] + ".",
            epilog=f"example: {module.EXAMPLE}",
            allow_abbrev=False,
        )
        child.add_argument("-V", "--version", action="version", version=version)
        module.add_arguments(child)
        # The list below it has every option; argparse would name them all twice.
        words = (str(a.metavar or a.dest) + ("..." if a.nargs in ("*", "...") else "") for a in child._actions if not a.option_strings)
        child.usage = " ".join((child.prog, "[OPTION...]", *words))
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Errors become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A member's name may hold what the terminal's encoding cannot say.
            stream.reconfigure(errors="backslashreplace")
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    try:
        return _run(arguments)
    except TlsWheelGuardError as error:
        say(error.line())
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:  # the last resort: no traceback by default
        bug = bug_of(error)
        say(bug.line())
        if wants_traceback(os.environ):
            raise
        return bug.exit_code


def _run(arguments: Sequence[str]) -> int:
    only = arguments[0] if arguments and arguments[0] in COMMANDS else None
    # What stands behind -- is not for us; argparse would look for our options in it.
    at = arguments.index("--") if only == "doctor" and "--" in arguments else len(arguments)
    try:
        options = build_parser(only).parse_args(arguments[:at])
        options.rest = list(arguments[at + 1 :])
        if not gc.isenabled():
            gc.freeze()
            gc.set_threshold(10_000, 20, 20)
            gc.enable()
        return int(_command(options.command).run(options))
    finally:
        # --help and --version end with SystemExit, and what they print waits until now.
        flush_stdout()
