"""The man page, from the command line's own parser: ``python tools/make_man.py FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from argparse_manpage.manpage import Manpage

from tls_wheel_guard.cli import build_parser
from tls_wheel_guard.version import __version__

EXIT_STATUS = """.TP
.B 0
no finding at or above \\-\\-fail\\-on
.TP
.B 1
at least one
.TP
.B 2
a wrong command line or wrong settings
.TP
.B 3
input that can't be read
.TP
.B 4
a change that can't be made safely; nothing was written
.TP
.B 5
a bug of the program
.TP
.B 130
interrupted"""


def man_page() -> str:
    """The page as roff, with the exit codes behind the commands."""
    parser = build_parser()
    data = {
        "prog": parser.prog,
        "project_name": parser.prog,
        "version": __version__,
        "description": parser.description,
        "manual_section": "1",
        "manual_title": "User commands",
    }
    parser.man_short_description = "finds native code in wheels that will not load"  # type: ignore[attr-defined]
    page = str(Manpage(parser, data, format="single-commands-section"))
    return f"{page.rstrip()}\n.SH EXIT STATUS\n{EXIT_STATUS}\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(man_page(), encoding="utf-8")
