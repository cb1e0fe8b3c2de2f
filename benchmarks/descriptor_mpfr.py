#!/usr/bin/env python3
"""MPFR from Debian's source, built with descriptors: what it keeps, values by release, its own tests. For docs/proofs/descriptors.md."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.descriptor_gcc import compare as beside_gcc  # noqa: E402
from benchmarks.markdown import heading, row  # noqa: E402
from tests.support.cached import made_once  # noqa: E402
from tests.support.descriptor_truth import CALL_SIZE, descriptor_sites, linked_calls, slots_of  # noqa: E402
from tests.support.gcc_live import live_sets, plugin, plugin_flags  # noqa: E402
from tests.support.runtimes import native, release  # noqa: E402
from tests.support.sysroots import source  # noqa: E402
from tests.support.toolchain import SOURCES, require  # noqa: E402
from tests.support.wheels import CACHE  # noqa: E402
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSite  # noqa: E402

COMPILERS = ("gcc", "clang-19")
LIBRARY = "src/.libs/libmpfr.so.6.2.0"
DOUBLES = re.compile(r"t\w*(?:_d|_ld|float128|flt|dbl)\w*")
"""Names of the tests of functions that take floating-point arguments: these are always run."""


def built(compiler: str) -> Path:
    """MPFR's tree with the library built by a compiler; gcc's with the live sets in ``live``."""

    def make(work: Path) -> None:
        tree = work / "tree"
        tree.mkdir()
        subprocess.run(["tar", "-xf", str(source("mpfr4", work)), "-C", str(tree), "--strip-components=1"], check=True)
        flags = ["-O2", "-fPIC", "-mtls-dialect=gnu2"]
        configure = [
            f"CC={require(compiler)}",
            f"CFLAGS={' '.join(flags)}",
            "LDFLAGS=-Wl,--emit-relocs",
            "--disable-static",
            "--enable-thread-safe",
        ]
        _quietly(tree, "./configure", *configure)
        more = plugin_flags(plugin(), work / "live") if compiler == "gcc" else ()
        _quietly(tree, "make", "-C", "src", f"CFLAGS={' '.join((*flags, *more))}")

    return made_once(CACHE / f"mpfr-4.2.0-{compiler}", make)


def _quietly(tree: Path, *words: str) -> None:
    run = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{' '.join(words[:3])}: {run.stderr[-2000:]}")


def _functions(path: Path) -> list[tuple[int, str]]:
    """(Address, name) of the functions, sorted."""
    text = subprocess.run([require("readelf"), "-sW", str(path)], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in text.splitlines())
    return sorted({(int(row[1], 16), row[7].split("@")[0]) for row in rows if len(row) >= 8 and row[3] == "FUNC" and row[6] != "UND"})


def sites_table(folders: dict[str, Path]) -> None:
    """Sites beside the linker's relocations, and what is kept."""
    heading("compiler", "sites", "missed", "extra", "unread", "kept", "of these never first", "functions that are reported")
    for compiler, folder in folders.items():
        path = folder / "tree" / LIBRARY
        found, linked = descriptor_sites(path), linked_calls(path)
        known, starts = {site.address for site in found.sites}, _functions(path)
        kept = [site for site in found.sites if site.kept]
        names = dict.fromkeys(starts[bisect_right(starts, (site.address, "~")) - 1][1] for site in found.kept)
        cells = (len(found.sites), len(linked - known), len(known - linked), len(found.unread), len(kept), len(kept) - len(found.kept))
        row(compiler, *cells, ", ".join(f"`{name}`" for name in names))


def gcc_table(folder: Path) -> None:
    """The analysis beside gcc's own live sets."""
    path = folder / "tree" / LIBRARY
    found = beside_gcc(path, live_sets(path, folder / "live"))
    heading("gcc says", "kept", "unsure", "dead")
    for says in ("live", "dead"):
        row(says, *(found.counts[says, kind] for kind in ("kept", "unsure", "dead")))
    print(f"\nKept more than gcc: {found.more}. Not paired: {found.unpaired}.")


def values_table(folders: dict[str, Path]) -> None:
    """The first and the second result in a new thread, by release, compiler and malloc."""
    runs: dict[str, dict[str, tuple[str, str]]] = {}
    gmp = next(path for path in (Path("/usr/lib/x86_64-linux-gnu/libgmp.so.10"), Path("/usr/lib/libgmp.so.10")) if path.exists())
    for runtime in (release("bullseye"), native(), release("trixie")):
        host = runtime.program(SOURCES / "mpfr_first_use.c", "-pthread")
        for compiler, folder in folders.items():
            for more in ((), ("destroy",)):
                words = runtime.command(host, gmp, folder / "tree" / LIBRARY, *more)
                title = f"{'.'.join(map(str, runtime.version))} {compiler}{', destroying malloc' if more else ''}"
                runs[title] = _results(words)
    heading("function", "second call, all runs", *runs)
    for name in next(iter(runs.values())):
        second = sorted({run[name][1] for run in runs.values()})
        row(f"`{name}`", " or ".join(second), *(run[name][0] if run[name][0] not in second else "right" for run in runs.values()))


def _results(words: list[str]) -> dict[str, tuple[str, str]]:
    text = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
    return {name: (first, second) for name, first, second in (line.split("\t") for line in text.splitlines())}


def _spared(sites: tuple[DescriptorSite, ...], how: str) -> Iterator[int]:
    for site in sites:
        if how == "but the kept" and site.kept:
            yield site.address + CALL_SIZE


def tests_table(folders: dict[str, Path], every: int) -> bool:
    """MPFR's own tests with the registers destroyed; False where one fails whose kept calls were spared."""
    tests = folders["gcc"] / "tree" / "tests"
    names = sorted(path.stem for path in tests.glob("t*.c") if path.stem not in ("tests", "tversion"))
    chosen = [name for number, name in enumerate(names) if number % every == 0 or DOUBLES.fullmatch(name)]
    _quietly(tests.parent, "make", "-C", "tests", *chosen)
    heading("compiler", "destroyed at", "programs", "passed", "skipped", "failed", "too slow", "calls")
    good, always = True, set[str]()
    with tempfile.TemporaryDirectory() as name:
        preload = Path(name) / "destroy.so"
        subprocess.run(
            [require("gcc"), "-O1", "-fPIC", "-shared", "-o", str(preload), str(SOURCES / "destroy_preload.c")], check=True, capture_output=True
        )
        for compiler, folder in folders.items():
            path = folder / "tree" / LIBRARY
            sites = descriptor_sites(path).sites
            for how in ("nothing", "but the kept", "all"):
                plan = Path(name) / "plan"
                spared = " ".join(f"{at:x}" for at in _spared(sites, how))
                plan.write_text(f"libmpfr.so.6\n{' '.join(f'{slot:x}' for slot in slots_of(path))} :\n{spared}\n")
                environment = {**os.environ, "LD_LIBRARY_PATH": str(path.parent), "srcdir": str(tests), "DESTROY_PLAN": str(plan)}
                environment |= {"LD_PRELOAD": str(preload)} if how != "nothing" else {}
                with ThreadPoolExecutor(2) as pool:
                    ends = list(pool.map(lambda test, e=environment: _test(tests / test, e), chosen))
                counts = Counter(end for end, _ in ends)
                failed = {test for test, (end, _) in zip(chosen, ends, strict=True) if end == "failed"}
                always = failed if how == "nothing" else always
                good &= how == "all" or failed <= always
                cells = (counts[end] for end in ("passed", "skipped", "failed", "too slow"))
                row(compiler, how, len(chosen), *cells, f"{sum(calls for _, calls in ends):,}")
    return good


def _test(program: Path, environment: dict[str, str]) -> tuple[str, int]:
    """(How a test ended, calls at which registers were destroyed). It gets three seconds of a processor."""
    words = ["prlimit", "--cpu=3", str(program)]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False)
    calls = re.search(r"destroyed at (\d+) calls", run.stderr)
    end = {0: "passed", 77: "skipped", -24: "too slow", -9: "too slow"}.get(run.returncode, "failed")
    return end, int(calls[1]) if calls else 0


def main() -> int:
    """Print the tables; 1 where a test fails although the kept calls were spared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=3, metavar="N", help="run each N-th test, and those of doubles")
    arguments = parser.parse_args()
    folders = {compiler: built(compiler) for compiler in COMPILERS}
    sites_table(folders)
    print()
    gcc_table(folders["gcc"])
    print()
    values_table(folders)
    print()
    return 0 if tests_table(folders, arguments.every) else 1


if __name__ == "__main__":
    sys.exit(main())
