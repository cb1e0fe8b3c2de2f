"""``python -m tls_wheel_guard`` and the console script: the exit codes, and nothing that surprises a pipe."""

from __future__ import annotations

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
    if arguments in (["--version"], ["-V"]):
        from tls_wheel_guard.version import __version__

        print(f"tls-wheel-guard {__version__}")
        return 0
    _open_what_is_closed()
    try:
        # Here, so that an interruption of the imports is one line too.
        from tls_wheel_guard.cli import run

        code = run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("tls-wheel-guard: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        from tls_wheel_guard.cli.options import forget_stdout

        forget_stdout()
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
