#!/usr/bin/env python3
"""Every shared object of real site-packages, opened in random orders by the real interpreter and by the model: each answer must be the same.

usage: site_packages.py [--seed N] [--orders N] VENV ...      prints Markdown; exits 1 on any difference

Of each environment all extension modules that open alone are taken. Each order is one process: ctypes.CDLL of one after another; in every second
one a module of 1,400 to 1,700 bytes comes first, so that the room runs out. Compared after each step: whether it loads, the loader's words about
static TLS, _dl_tls_static_used and _dl_tls_static_optional. What DT_NEEDED names is looked up as `simulate --python` does.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.elf_builder import Reloc, Spec, Tls, build  # noqa: E402
from tls_wheel_guard.commands.simulate import ReadModules, read_modules  # noqa: E402
from tls_wheel_guard.errors import UnreadableInput  # noqa: E402
from tls_wheel_guard.inputs.host_libraries import host_folders  # noqa: E402
from tls_wheel_guard.inputs.opening import open_input  # noqa: E402
from tls_wheel_guard.live.model import Live  # noqa: E402
from tls_wheel_guard.live.reading import read_live  # noqa: E402
from tls_wheel_guard.loaders import Given, Open, loader_called  # noqa: E402
from tls_wheel_guard.loaders.link_map import there_from_the_start  # noqa: E402
from tls_wheel_guard.loaders.refusals import is_static_tls  # noqa: E402

PROCESS = ROOT / "tests" / "sources" / "process.py"


@dataclass
class Tally:
    """What was compared in one environment."""

    modules: int = 0
    with_tls: int = 0
    steps: int = 0
    refusals: int = 0
    differences: int = 0


def extension_modules(folder: Path) -> list[Path]:
    """Shared objects below site-packages that the reader takes and that have the suffix of an extension module."""
    found = []
    for path in sorted(folder.rglob("*.so")):
        if path.is_symlink() or ".libs" in path.parts[-2]:
            continue
        try:
            with open_input(path) as opened:
                if opened.contents.modules and opened.contents.modules[0].is_shared:
                    found.append(path)
        except UnreadableInput:
            continue
    return found


def opened(python: Path, paths: Sequence[Path]) -> tuple[list[int], list[tuple[str, int, int]]]:
    """The start's numbers, and an answer a step, of one process."""
    command = [str(python), "-I", str(PROCESS), *(f"+{path}" for path in paths)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False)
    lines = [line for line in run.stdout.splitlines() if line.startswith(("start ", ":"))]
    start = [int(word) for word in lines[0].split()[1:]] if lines else []
    answers = []
    for line in lines[1:]:
        error, used, optional = line[1:].rsplit("\t", 2)
        answers.append((error, int(used), int(optional)))
    return start, answers


def alone(python: Path, paths: list[Path]) -> list[Path]:
    """Those that open as the first: what fails for another reason says nothing of static TLS."""
    good = []
    for path in paths:
        _, answers = opened(python, [path])
        if answers and not answers[0][0]:
            good.append(path)
    return good


def compare(python: Path, live: Live, order: list[Path], read: ReadModules, tally: Tally) -> None:
    """One process, and the same told to the model."""
    start, answers = opened(python, order)
    used, size, align, optional, tcb = start
    loader = loader_called(f"glibc-{live.libc_version}", live.machine)
    state: Any = loader.start({"used": used, "limit": size - tcb, "align": align, "optional": optional})
    state = replace(state, loaded=tuple(there_from_the_start(module) for module in read.at_start))
    given = Given([*(module for found in read.modules.values() for module in found), *read.needed])
    for number, path in enumerate(order):
        if number >= len(answers):
            tally.differences += 1
            print(f"{python}: it ends after {number} of {len(order)} at {path}", file=sys.stderr)
            return
        error, used, optional = answers[number]
        (module,) = read.modules[path]
        state, step = loader.step(state, Open(module, given, assumes=True))
        tally.steps += 1
        tally.refusals += is_static_tls(error)
        same = step.loads == (not error) and (state.used, state.optional) == (used, optional)
        words = not error or error.rsplit("/", 1)[-1] == (step.error or "")
        if not (same and words):
            tally.differences += 1
            print(f"{path.name}: loader {error!r} {used} {optional}, model {step} {state.used} {state.optional}", file=sys.stderr)
            return


def run(venv: Path, orders: int, seed: int) -> Tally:
    """All orders of one environment."""
    python = venv / "bin" / "python"
    paths = alone(python, extension_modules(next((venv / "lib").glob("python3*")) / "site-packages"))
    live = read_live(python)
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-") as folder:
        return _run(python, live, paths, fillers(Path(folder), seed), orders, seed)


def fillers(folder: Path, seed: int) -> list[Path]:
    """Modules that take most of the room."""
    draw, found = random.Random(seed), []
    for number in range(10):
        path = folder / f"filler{number}.so"
        path.write_bytes(build(Spec(relocs=(Reloc(18),), tls=Tls(draw.randint(1400, 1700), 8), soname=path.name)))
        found.append(path)
    return found


def _run(python: Path, live: Live, paths: list[Path], fill: list[Path], orders: int, seed: int) -> Tally:
    read = read_modules([*paths, *fill], start=live.files, folders=host_folders())
    tally = Tally(len(paths), sum(m.demand.block_size > 0 for found in read.modules.values() for m in found))
    draw = random.Random(seed)
    for number in range(orders):
        order = draw.sample(paths, len(paths))
        compare(python, live, [*([draw.choice(fill)] if number % 2 else []), *order], read, tally)
    return tally


def main() -> int:
    """Markdown on stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("venvs", nargs="+", type=Path, metavar="VENV")
    parser.add_argument("--seed", type=int, default=60_000)
    parser.add_argument("--orders", type=int, default=20)
    options = parser.parse_args()
    print("| environment | extension modules | with a TLS segment | orders | steps | refusals | orders with a difference |")
    print("|---|---|---|---|---|---|---|")
    wrong = 0
    for venv in options.venvs:
        tally = run(venv.absolute(), options.orders, options.seed)
        wrong += tally.differences
        print(
            f"| {venv.name} | {tally.modules} | {tally.with_tls} | {options.orders} | {tally.steps} | {tally.refusals} | {tally.differences} |",
            flush=True,
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
