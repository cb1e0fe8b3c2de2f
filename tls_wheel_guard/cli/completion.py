"""``completion``: a script that completes commands, options and files in a shell. Needs shtab, the extra ``[completion]``."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from tls_wheel_guard.errors import UsageError

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "print a script that completes commands and options in bash, zsh or fish"
EXAMPLE = "tls-wheel-guard completion bash"
SHELLS = ("bash", "zsh", "fish")
_FILES = {"FILE", "PATH", "WHEEL", "EXE", "MODULE|FILE.so|SCRIPT.py"}
_FOLDERS = {"DIR", "PROJECT"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "shell", choices=SHELLS, metavar="SHELL", help=f"{', '.join(SHELLS)}; source what is printed; needs tls-wheel-guard[completion]"
    )


def run(options: argparse.Namespace) -> int:
    """0; 2 without shtab."""
    if importlib.util.find_spec("shtab") is None:
        raise UsageError("completion needs shtab", hint="pip install 'tls-wheel-guard[completion]'")
    import shtab

    from tls_wheel_guard.cli import build_parser
    from tls_wheel_guard.cli.output import write_text

    parser = build_parser()
    for action in _actions(parser):
        # Actions have no place for it but an attribute that shtab looks for.
        if action.metavar in _FILES or action.type is Path:
            action.complete = shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE  # type: ignore[attr-defined]
    write_text(shtab.complete(parser, options.shell), None)
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action
