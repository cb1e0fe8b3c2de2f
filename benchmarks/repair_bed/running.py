"""Registers at every form, single steps, signals, forks, threads, reopening: in several glibcs and musl."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.markdown import heading, row
from tests.support.repair_machines import TestedMachine
from tests.support.repair_sources import c_source
from tests.support.repairing import build_object, repair_file, run_host, unwinds, widest_vectors
from tests.support.runtimes import Runtime


def probes(folder: Path, machine: TestedMachine, runtime: Runtime, wide: int) -> tuple[str, list[str]]:
    """All probes in one runtime, each in a thread of its own and then in main: differences to the original on the machine's first glibc."""
    every = machine.probes.all_probes()
    (folder / "p.s").write_text(machine.probes.probe_source(every, wide))
    before = build_object(folder / "p.s", folder / "p.so", "gcc", *machine.probe_flags, machine=machine)
    repair_file(before, folder / "q.so", (machine.musl if runtime.libc == "musl" else machine.glibc,))
    expected = run_host(machine.runtime(), "probes", before, str(len(every)), str(wide), clobber=True, timeout=600)
    found = run_host(runtime, "probes", folder / "q.so", str(len(every)), str(wide), clobber=True, timeout=600)
    differing = sum(a != b for a, b in zip(expected.stdout.splitlines(), found.stdout.splitlines(), strict=False))
    differing += abs(len(expected.stdout.splitlines()) - len(found.stdout.splitlines()))
    slow, wrong = found.stderr.count("slow"), []
    if differing or found.returncode or "misaligned 0" not in found.stderr or "lost 0" not in found.stderr:
        last = found.stderr.splitlines()[-1:]
        wrong.append(f"probes {machine.widths[wide]} on {runtime}: {differing} differ, exit {found.returncode}, {last}")
    return f"{2 * len(every)} / {differing} / {slow}", wrong


def steps(folder: Path, machine: TestedMachine, runtime: Runtime) -> tuple[int, int]:
    """Single steps through all probes: how many, and at how many an unwinder did not find the caller and its stack pointer."""
    every = machine.probes.all_probes() if runtime.suite is None else machine.probes.few_probes()
    (folder / "s.s").write_text(machine.probes.probe_source(every, 0, trap=True))
    before = build_object(folder / "s.s", folder / "s.so", "gcc", *machine.probe_flags, machine=machine)
    repair_file(before, folder / "t.so")
    run = run_host(runtime, "steps", folder / "t.so", str(len(every)), clobber=True, timeout=600)
    words = run.stdout.split()
    return (int(words[1]), int(words[3])) if run.returncode == 0 else (0, 0)


def behaviour(folder: Path, machine: TestedMachine, runtime: Runtime, threads: int, cycles: int) -> tuple[list[str], list[str]]:
    """Cells and faults: signals, fork, many threads, closing and opening again."""
    (folder / "b.c").write_text(c_source(4242))
    before = build_object(folder / "b.c", folder / "b.so", "gcc", "-O2", "-nostdlib", machine=machine)
    (folder / "o.c").write_text("__thread char a[70]; char *f(void) { return a; }")
    other = build_object(folder / "o.c", folder / "o.so", "gcc", "-nostdlib", machine=machine)
    repair_file(before, folder / "c.so", (machine.musl if runtime.libc == "musl" else machine.glibc,))
    cells, wrong = [], []
    for mode in (("values", "8", "40"), ("signals",), ("fork",), ("threads", str(threads))):
        expected = run_host(machine.runtime(), mode[0], before, *mode[1:], timeout=600)
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


def report(folder: Path, threads: int, cycles: int, machine: TestedMachine) -> list[str]:
    """The section of the page; what was wrong."""
    wrong: list[str] = []
    every = machine.probes.all_probes()
    print("\n## Registers\n")
    print(
        f"{len(every)} probes: {machine.probes.WORDS}. Each runs in a thread of its own, so that it meets that"
        " thread's first access, with a malloc that destroys every register that a call may destroy, and again in main. Cells: probes run /"
        " that differ from the original / threads that entered malloc.\n"
    )
    heading("loader", *machine.widths)
    for make in machine.places():
        runtime = make()
        cells = []
        for wide in range(len(machine.widths)):
            if wide and wide > widest_vectors():
                cells.append("not on this processor")
                continue
            cell, faults = probes(folder, machine, runtime, wide)
            cells.append(cell)
            wrong += faults
        row(runtime, *cells)
    print("\nSingle steps through probes, all of them on the first loader, and at how many `_Unwind_Backtrace` did not find the caller and its")
    print("stack pointer:\n")
    heading("loader", "steps", "caller lost")
    for make in machine.places():
        runtime = make()
        if unwinds(runtime):
            count, lost = steps(folder, machine, runtime)
            row(runtime, f"{count:,}", lost)
            wrong += [f"{lost} of {count} steps without a caller on {runtime}"] if lost or not count else []
    print("\n## Threads, signals, forks\n")
    made = f"Threads: {threads:,} made and ended, no memory kept; reopened: {cycles:,} times, with another module coming and going"
    print(f"Beside the original on {machine.runtime()}. {made}.\n")
    heading("loader", "values in 8 threads", "signals", "fork", f"{threads:,} threads", "reopened")
    for make in machine.places():
        runtime = make()
        cells, faults = behaviour(folder, machine, runtime, threads, cycles)
        row(runtime, *cells)
        wrong += faults
    print(f"\n{os.cpu_count()} processors, shared with other work.", flush=True)
    return wrong
