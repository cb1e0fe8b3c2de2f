"""Generated code of every compiler, level and linker: the reads that the linker knows, and the values of original and repaired object."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.markdown import heading, row
from tests.support.repair_machines import TestedMachine, machine_of
from tests.support.repair_sources import EXCEPTIONS, c_source
from tests.support.repairing import build_object, is_true, repair_file, run_host
from tls_wheel_guard.repair.refusal import CannotRepair

RUST = """
#![crate_type = "cdylib"]
use std::cell::{Cell, RefCell};
thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(7) };
    static ROOM: RefCell<[u8; 800]> = const { RefCell::new([0; 800]) };
    static LAZY: RefCell<Vec<u64>> = RefCell::new(vec![1, 2, 3]);
    static SUM: Cell<f64> = const { Cell::new(0.5) };
}
#[inline(never)]
fn step(n: u64) -> u64 {
    COUNT.with(|c| c.set(c.get().wrapping_mul(31).wrapping_add(n)));
    ROOM.with_borrow_mut(|r| { let i = (n % 800) as usize; r[i] = r[i].wrapping_add(n as u8); });
    SUM.with(|s| s.set(s.get() * 0.5 + (n % 100) as f64));
    LAZY.with_borrow_mut(|v| { v.push(n); if v.len() > 40 { v.drain(..30); } v.iter().fold(0u64, |a, b| a.wrapping_mul(33).wrapping_add(*b)) })
}
#[no_mangle]
pub extern "C" fn work(seed: u64) -> u64 {
    let mut sum = seed;
    for i in 0..50u64 {
        sum = sum.wrapping_mul(17).wrapping_add(step(sum ^ i));
        let ended = std::panic::catch_unwind(|| { if (seed + i) % 11 == 0 { std::panic::resume_unwind(Box::new(i)) } step(i); });
        if ended.is_err() { sum ^= COUNT.get(); }
    }
    let room = ROOM.with_borrow(|r| r.iter().fold(0u64, |a, b| a.wrapping_mul(7).wrapping_add(*b as u64)));
    let found = sum ^ COUNT.get() ^ SUM.get().to_bits() ^ room;
    COUNT.set(7); SUM.set(0.5); ROOM.set([0; 800]); LAZY.set(vec![1, 2, 3]);
    found
}
"""


@dataclass
class Tally:
    """What was compared, and what differed."""

    objects: int = 0
    sites: int = 0
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another one's objects too."""
        self.objects, self.sites, self.kept = self.objects + other.objects, self.sites + other.sites, self.kept + other.kept
        self.refused.update(other.refused)
        self.layouts.update(other.layouts)
        self.forms.update(other.forms)
        self.wrong += other.wrong


def compare(before: Path, folder: Path, what: str, truth: bool = True) -> Tally:
    """One object: sites beside the linker's relocations, values of eight threads and main beside the original's."""
    tally, machine = Tally(objects=1), machine_of(before.read_bytes())
    try:
        plan = repair_file(before, folder / "after.so")
    except CannotRepair as error:
        explained = [flag for flag in machine.may_refuse if flag in what.split()]
        tally.refused[f"{explained[0] if explained else '?'}: {error.rule}"] += 1
        if not explained:
            tally.wrong.append(f"{what}: {error.line()}")
        return tally
    tally.sites, tally.kept = len(plan.sites), sum(planned.site.keep_flags for planned in plan.sites)
    tally.layouts[f"{plan.layout.how} {plan.layout.place}".strip() + f", {plan.descriptors}, {plan.unwinding}"] += 1
    tally.forms.update(plan.forms)
    if truth and not is_true(before, {planned.site.address for planned in plan.sites}):
        tally.wrong.append(f"{what}: sites")
    runs = [run_host(machine.runtime(), "values", path, "8", "20") for path in (before, folder / "after.so")]
    if runs[0].stdout != runs[1].stdout or runs[0].returncode or runs[1].returncode or len(runs[0].stdout.split()) != 9:
        tally.wrong.append(f"{what}: values {runs[0].returncode} {runs[1].returncode} {runs[1].stdout[:80]!r}")
    return tally


def generated(count: int, seed: int, folder: Path, machine: TestedMachine) -> dict[str, Tally]:
    """``count`` objects of chance: source, compiler, level, linker."""
    draw = random.Random(seed)
    found = {compiler: Tally() for compiler in machine.compilers}
    for number in range(count):
        compiler = draw.choice(list(machine.compilers))
        level, more, linker = draw.choice(machine.levels[compiler]), draw.choice(machine.more), draw.choice(list(machine.linkers))
        if ("flto" in level and "lld" in linker) or ("tiny" in more and not linker.startswith("bfd")):
            linker = "bfd"  # what the other does not know
        source = folder / ("m.cc" if "++" in compiler else "m.c")
        source.write_text(c_source(seed * 100_000 + number, functions=draw.randint(2, 10)))
        keeps = "stripped" not in linker
        flags = [*level.split(), *more.split(), *machine.linkers[linker], *(["-Wl,-q"] if keeps else [])]
        before = build_object(source, folder / "before.so", compiler, *flags, machine=machine)
        found[compiler].add(compare(before, folder, f"seed {seed}, object {number}: {compiler} {' '.join(flags)}", truth=keeps))
    return found


def exceptions(folder: Path, machine: TestedMachine) -> Tally:
    """C++ that throws through functions with reads, in destructors and handlers."""
    tally = Tally()
    (folder / "e.cpp").write_text(EXCEPTIONS)
    for compiler in ("g++", "clang++-19"):
        for level in ("-O0", "-O1", "-O2", "-O3", "-Os"):
            before = build_object(folder / "e.cpp", folder / "before.so", compiler, level, "-Wl,-q", machine=machine)
            tally.add(compare(before, folder, f"exceptions, {compiler} {level}"))
    return tally


def rust(folder: Path, machine: TestedMachine) -> Tally:
    """thread_local! with and without lazy values and destructors, panics that are caught."""
    tally = Tally()
    (folder / "r.rs").write_text(RUST)
    for level in ("0", "1", "2", "3", "s", "z"):
        flags = ["-Ztls-model=initial-exec", f"-Copt-level={level}", "-Clink-arg=-Wl,-q", "--crate-name", "r", "-o", str(folder / "before.so")]
        run = subprocess.run(
            ["rustc", *machine.rust, *flags, str(folder / "r.rs")],
            env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise SystemExit(run.stderr)
        tally.add(compare(folder / "before.so", folder, f"rustc -Copt-level={level}", truth=False))
    return tally


def report(count: int, seed: int, folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what was wrong."""
    started = time.monotonic()
    found = {**generated(count, seed, folder, machine), "C++ exceptions": exceptions(folder, machine), "rustc": rust(folder, machine)}
    print("\n## Code that compilers make\n")
    print(
        f"{count} generated objects (seed {seed}), each of a compiler, level and linker of chance, with `--emit-relocs` as the truth about"
        " reads where the object is not stripped; then C++ that throws, and Rust. Values: of eight threads and main, original beside"
        f" repaired, each in a fresh process. {machine.refusal_words}\n"
    )
    heading("code", "objects", "reads", "flags kept at", "forms", "refused", "wrong sites or values")
    for name, tally in found.items():
        row(
            name,
            tally.objects,
            f"{tally.sites:,}",
            f"{tally.kept:,}",
            ", ".join(f"{k} {v:,}" for k, v in sorted(tally.forms.items())),
            tally.refused.total(),
            len(tally.wrong),
        )
    whole = Tally()
    for tally in found.values():
        whole.add(tally)
    if whole.refused:
        print("\nRefused, by flag and rule: " + "; ".join(f"`{name}` {count}" for name, count in sorted(whole.refused.items())) + ".")
    print("\nLayouts that were taken: " + "; ".join(f"{name}: {count}" for name, count in whole.layouts.most_common()) + ".")
    print(f"\n{whole.objects} objects in {time.monotonic() - started:.0f} s.", flush=True)
    return whole.wrong
