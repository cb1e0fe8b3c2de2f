"""``python -m tls_wheel_guard`` and the console script: the exit codes, and nothing that surprises a pipe."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def _open_what_is_closed() -> None:
    """Stand in for streams that the caller closed (``>&-``): the exit code still says what was found."""
    import os

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  (for the life of the process)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if argv is None:
        # What is imported stays: looking through it for garbage takes a twentieth of a short run. The command itself runs with it again.
        gc.disable()
    _open_what_is_closed()
    try:
        if arguments in (["--version"], ["-V"]):
            from tls_wheel_guard.version import __version__

            print(f"tls-wheel-guard {__version__}", flush=True)
            return 0
        # Here, so that an interruption of the imports is one line too.
        from tls_wheel_guard.cli import run

        return run(arguments)
    except KeyboardInterrupt:
        print("tls-wheel-guard: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        from tls_wheel_guard.cli.output import forget_stdout

        forget_stdout()
        return 0
    except OSError as error:
        # Only stdout is left: a full disk behind `--version > FILE`.
        from tls_wheel_guard.cli.output import forget_stdout, say

        forget_stdout()
        say(f"stdout: it can't be written: {error.strerror}; hint: see where it goes")
        return 2


if __name__ == "__main__":
    sys.exit(main())
