"""``fix``: the lasting edit of a project's build files, as a diff."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tls_wheel_guard.cli.options import path_typed
from tls_wheel_guard.cli.output import say, write_exact, write_text
from tls_wheel_guard.errors import UsageError

__all__ = ["EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show the lasting edit of a project's build files, as a diff; with --write make it"
EXAMPLE = "tls-wheel-guard fix --from dist/pkg-1.0-cp312-cp312-musllinux_1_2_x86_64.whl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("project", nargs="?", type=path_typed, default=Path(), metavar="PROJECT", help="the project's folder (default: this one)")
    parser.add_argument("--from", dest="report", type=Path, metavar="REPORT|WHEEL", help="fix what this wheel, or this report in JSON, is about")
    parser.add_argument("--init", action="store_true", help="add the guard itself to the project: build, cibuildwheel, workflow")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="write the edits into the files: all of them or none")
    mode.add_argument("--check", action="store_true", help="exit 1 where there is an edit to be made")
    mode.add_argument("--prove", action="store_true", help="build copies of the project with and without the edits, check and import both")
    parser.add_argument("--unsafe", action="store_true", help="with --write and --prove: also the edits that are not proved to be safe")
    parser.add_argument("--python", default=sys.executable, metavar="EXE", help="with --prove: the interpreter that builds (default: this one)")
    parser.add_argument("--build", metavar="COMMAND", help="with --prove: the build, such as '{python} -m build -w -o {out}'; default: pip wheel")
    parser.add_argument(
        "--test", metavar="CODE", help="with --prove: Python code that both builds must run, such as 'import pkg; pkg.selftest()'"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text, which git apply takes")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the diff to FILE instead of stdout")


def run(options: argparse.Namespace) -> int:
    """0 shown, written, or nothing to do; 1 with --check where there is an edit, or a proof that fails; 2, 3 as everywhere.

    4 where an edit is needed and none can be made: by hand only, or unsafe ones with --write and without --unsafe.
    """
    from tls_wheel_guard.commands.fix import plan_fix, write_fix
    from tls_wheel_guard.report.fix import write_fix as as_text
    from tls_wheel_guard.report.fix import write_fix_json as as_json

    if options.unsafe and not (options.write or options.prove):
        raise UsageError("--unsafe without --write or --prove", hint="the diff shows unsafe edits anyway, marked as such")
    if options.init and options.report is not None:
        raise UsageError("--init with --from", hint="--init looks at the project alone")
    plan = plan_fix(options.project, options.report, init=options.init)
    fix = plan.fix
    if options.write and fix.edits:
        fix = write_fix(plan, options.unsafe)
        _say_left_out(len(fix.edits) - len(fix.written))
        if any(edit.path.endswith(".py") for edit in fix.written) and Path(fix.project, "build").is_dir():
            say("build/ holds objects of the old flags; hint: remove it, setuptools compiles nothing again for a changed flag")
    if options.prove and fix.edits:
        from tls_wheel_guard.commands.fix_prove import DEFAULT_BUILD, Recipe, prove_fix

        fix = prove_fix(plan, Recipe(options.python, options.build or DEFAULT_BUILD, options.test or ""), options.unsafe, say)
    if options.format == "json":
        write_text(as_json(fix), options.output)
    else:
        write_exact(as_text(fix), options.output)
    if fix.proof is not None and not fix.proof.holds:
        return 1
    if fix.edits:
        return int(options.check)
    return 4 if fix.advice and not options.init else 0


def _say_left_out(count: int) -> None:
    if count:
        say(f"{count} edit{'s are' if count > 1 else ' is'} not proved to be safe and not written; hint: read the diff, then --write --unsafe")
