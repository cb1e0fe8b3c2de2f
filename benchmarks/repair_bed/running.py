"""Registers at every form, single steps, signals, forks, threads, reopening: in several glibcs and musl."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.markdown import heading, row
from tests.support.repair_probes import all_probes, probe_source
from tests.support.repair_sources import c_source
from tests.support.repairing import GLIBC, MUSL, build_object, repair_file, run_host, widest_vectors
from tests.support.runtimes import RELEASES, Runtime, musl, native, release

WIDTHS = ("xmm", "ymm", "zmm and masks")


def probes(folder: Path, runtime: Runtime, wide: int) -> tuple[str, list[str]]:
    """All probes in one runtime, each in a thread of its own and then in main: differences to the original on this machine's glibc."""
    every = all_probes()
    (folder / "p.s").write_text(probe_source(every, wide))
    before = build_object(folder / "p.s", folder / "p.so", "gcc", "-nostdlib")
    repair_file(before, folder / "q.so", (MUSL,) if runtime.libc == "musl" else (GLIBC,))
    expected = run_host(native(), "probes", before, str(len(every)), str(wide), clobber=True)
    found = run_host(runtime, "probes", folder / "q.so", str(len(every)), str(wide), clobber=True)
    differing = sum(a != b for a, b in zip(expected.stdout.splitlines(), found.stdout.splitlines(), strict=False))
    differing += abs(len(expected.stdout.splitlines()) - len(found.stdout.splitlines()))
    slow = found.stderr.count("slow")
    wrong = [f"probes {WIDTHS[wide]} on {runtime}: {differing} differ, exit {found.returncode}"] if differing or found.returncode else []
    return f"{2 * len(every)} / {differing} / {slow}", wrong


def steps(folder: Path) -> tuple[int, int]:
    """Single steps through all probes: how many, and at how many an unwinder did not find the caller and its stack pointer."""
    every = all_probes()
    (folder / "s.s").write_text(probe_source(every, 0, trap=True))
    before = build_object(folder / "s.s", folder / "s.so", "gcc", "-nostdlib")
    repair_file(before, folder / "t.so")
    run = run_host(native(), "steps", folder / "t.so", str(len(every)), str(1 << 21), clobber=True, timeout=600)
    words = run.stdout.split()
    return int(words[1]), int(words[3])


def behaviour(folder: Path, runtime: Runtime, threads: int, cycles: int) -> tuple[list[str], list[str]]:
    """Cells and faults: signals, fork, many threads, closing and opening again."""
    (folder / "b.c").write_text(c_source(4242))
    before = build_object(folder / "b.c", folder / "b.so", "gcc", "-O2", "-nostdlib")
    (folder / "o.c").write_text("__thread char a[70]; char *f(void) { return a; }")
    other = build_object(folder / "o.c", folder / "o.so", "gcc", "-nostdlib")
    repair_file(before, folder / "c.so", (MUSL,) if runtime.libc == "musl" else (GLIBC,))
    cells, wrong = [], []
    for mode in (("values", "8", "40"), ("signals",), ("fork",), ("threads", str(threads))):
        expected = run_host(native(), mode[0], before, *mode[1:], timeout=600)
        found = run_host(runtime, mode[0], folder / "c.so", *mode[1:], timeout=600)
        same = found.returncode == 0 and found.stdout == expected.stdout
        cells.append("same" if same else "differs")
        if not same:
            wrong.append(f"{mode[0]} on {runtime}: {found.returncode} {found.stdout[:100]!r} and not {expected.stdout[:100]!r}")
    found = run_host(runtime, "reopen", folder / "c.so", other, str(cycles), timeout=600)
    cells.append("same" if (found.returncode, found.stdout) == (0, "wrong 0\n") else "differs")
    if cells[-1] != "same":
        wrong.append(f"reopen on {runtime}: {found.returncode} {found.stdout!r}")
    return cells, wrong


def places() -> list[tuple[str, Callable[[], Runtime]]]:
    """Every loader: this machine's, other releases', musl."""
    return [("native", native), *((suite, lambda suite=suite: release(suite)) for suite in RELEASES), ("musl", musl)]


def report(folder: Path, threads: int, cycles: int) -> list[str]:
    """The section of the page; what was wrong."""
    wrong: list[str] = []
    print("\n## Registers\n")
    print(
        f"{len(all_probes())} probes: every register but the stack pointer, `mov` and `add`, all states of the flags, both alignments of the"
        " stack, with the red zone and every vector register holding known values. Each runs in a thread of its own, so that it meets that"
        " thread's first access, with a malloc that destroys every register that a call may destroy, and again in main. Cells: probes run /"
        " that differ from the original / threads that entered malloc.\n"
    )
    heading("loader", *WIDTHS)
    for _, make in places():
        runtime = make()
        cells = []
        for wide in range(3):
            if wide > widest_vectors():
                cells.append("not on this processor")
                continue
            cell, faults = probes(folder, runtime, wide)
            cells.append(cell)
            wrong += faults
        row(runtime, *cells)
    count, lost = steps(folder)
    wrong += [f"{lost} steps without a caller"] if lost else []
    missed = f"at {lost} of them `_Unwind_Backtrace` did not find the caller and its stack pointer"
    print(f"\nSingle steps through all probes, thunks and guard: {count:,}; {missed}.")
    print("\n## Threads, signals, forks\n")
    made = f"Threads: {threads:,} made and ended, no memory kept; reopened: {cycles:,} times, with another module coming and going"
    print(f"Beside the original on this machine's glibc. {made}.\n")
    heading("loader", "values in 8 threads", "signals", "fork", f"{threads:,} threads", "reopened")
    for _, make in places():
        runtime = make()
        cells, faults = behaviour(folder, runtime, threads, cycles)
        row(runtime, *cells)
        wrong += faults
    print(f"\n{os.cpu_count()} processors, shared with other work.", flush=True)
    return wrong
