"""``python -m tls_wheel_guard`` and the console script: the exit codes, and nothing that surprises a pipe."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        from tls_wheel_guard.version import __version__

        print(f"tls-wheel-guard {__version__}")
        return 0
    from tls_wheel_guard.cli import run

    try:
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
