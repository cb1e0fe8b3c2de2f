"""The command line: parse, call a recipe, print, choose the exit code."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from tls_wheel_guard.cli import build, check, env, explain, mark, show, simulate
from tls_wheel_guard.errors import TlsWheelGuardError, UsageError
from tls_wheel_guard.version import __version__

__all__ = ["Parser", "build_parser", "run"]

COMMANDS: dict[str, Any] = {"check": check, "show": show, "explain": explain, "mark": mark, "build": build, "simulate": simulate, "env": env}


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are errors of ours: one line, with a hint."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage and exiting."""
        raise UsageError(message, hint=_near_option(self, message) or f"see {self.prog} --help")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    names = [name for action in parser._actions for name in action.option_strings]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                names += _options(child)
    return names


def _near_option(parser: argparse.ArgumentParser, message: str) -> str | None:
    for word in message.split():
        if word.startswith("-"):
            near = difflib.get_close_matches(word.split("=")[0], _options(parser), 1)
            if near:
                return f"did you mean {near[0]}?"
    return None


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="tls-wheel-guard",
        description="Finds native code in wheels that dlopen will refuse for want of static TLS, before the release.",
        epilog="example: tls-wheel-guard check dist/*.whl",
    )
    parser.add_argument("--version", action="version", version=f"tls-wheel-guard {__version__}")
    children = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, module in COMMANDS.items():
        child = children.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[0].upper() + module.SUMMARY[1:] + ".",
            epilog=f"example: {module.EXAMPLE}",
            allow_abbrev=False,
        )
        module.add_arguments(child)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Errors become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A member's name may hold what the terminal's encoding cannot say.
            stream.reconfigure(errors="backslashreplace")
    try:
        options = build_parser().parse_args(arguments)
        return int(COMMANDS[options.command].run(options))
    except TlsWheelGuardError as error:
        print(f"tls-wheel-guard: {error.line()}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:  # the last resort: a bug of ours must not look like the user's fault
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(
            f"tls-wheel-guard: a bug in tls-wheel-guard {__version__}: {line}; hint: please report this line with the command and the"
            " wheel's name; TLS_WHEEL_GUARD_TRACEBACK=1 shows where",
            file=sys.stderr,
        )
        if _wants_traceback():
            raise
        return 5


def _wants_traceback() -> bool:
    import os

    return os.environ.get("TLS_WHEEL_GUARD_TRACEBACK") == "1"
