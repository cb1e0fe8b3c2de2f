"""Run the sections and print the page; exit 1 where something was wrong."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.repair_bed import by_hand, code, corpus, cost, grafting, instructions, kills, running, tools, wheels
from tests.support.repair_machines import TESTED

HEAD = """\
# Repaired objects{of}

Made by `make repair-bed{word}` (benchmarks/repair_bed). Every object was repaired and proved by the code that `tls-wheel-guard repair` runs;
what is compared here is what real processes then do. An object that differed, crashed or was refused without a reason would be listed at the
end, and the command would fail.{more}
"""
EMULATED = """ Programs of {name} run under qemu-user, with the glibc of its cross compiler, other releases' from Debian's archive, and
Debian's musl; single steps are breakpoints that a program plants in itself, one instruction ahead."""
SECTIONS = ("code", "by-hand", "running", "tools", "cost", "wheels", "kills", "corpus")


def main() -> int:
    """0 where all was right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--objects", type=int, default=400, help="generated objects")
    parser.add_argument("--threads", type=int, default=10_000)
    parser.add_argument("--cycles", type=int, default=3_000)
    parser.add_argument("--only", action="append", choices=SECTIONS, default=[])
    parser.add_argument("--machine", choices=TESTED, default="x86_64", help="whose code; another machine's runs under qemu-user")
    parser.add_argument("--corpus", type=Path, help="a folder of wheels: each is repaired or refused for a reason")
    options = parser.parse_args()
    machine = TESTED[options.machine]
    chosen = options.only or SECTIONS
    wrong: list[str] = []
    name = machine.name
    other = {"of": f" of {name}", "word": f" MACHINE={name}", "more": EMULATED.format(name=name)} if machine.binutils else {}
    print(HEAD.format(**{"of": "", "word": "", "more": "", **other}))
    print(f"{platform.platform()}, glibc {platform.libc_ver()[1]}; the machine was shared.")
    with tempfile.TemporaryDirectory(prefix="repair-bed-") as name:
        folder = Path(name)
        sections = {
            "code": lambda: code.report(options.objects, options.seed, folder, machine),
            "running": lambda: running.report(folder, options.threads, options.cycles, machine),
            "by-hand": lambda: by_hand.report(folder, machine) if machine.binutils else [],
            "tools": lambda: [*tools.report(folder, machine), *grafting.report(folder, machine)],
            "cost": lambda: instructions.report(folder, machine) if machine.binutils else cost.report(folder),
            "wheels": lambda: wheels.report(folder, machine),
            "kills": lambda: kills.report(folder, options.seed) if not machine.binutils else [],
            "corpus": lambda: corpus.report(options.corpus, machine) if options.corpus else [],
        }
        for section in chosen:
            wrong += sections[section]()
    print("\n## What was wrong\n\n" + ("\n".join(f"- {line}" for line in wrong) or "Nothing."))
    return 1 if wrong else 0


sys.exit(main())
