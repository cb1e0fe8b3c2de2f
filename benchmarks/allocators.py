"""Real allocators from crates.io, plain and rewritten: initial-exec relocations, and whether the allocator still works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.exhausted import EXHAUST, make_fillers
from benchmarks.markdown import row
from tests.support.projects import run
from tests.support.readelf import initial_exec

THREADS, ROUNDS = 8, 1_000_000
ABOUT = """\
Each crate is the `#[global_allocator]` of a cdylib that a Python process loads which has no static TLS left: 8 threads, a million
allocations each, every block filled, some grown, a quarter handed to another thread, compared byte by byte and freed. The checksum
must be the one that the system's allocator gives.
"""
SYSTEM = ("system", "", "std::alloc::System", "std::alloc::System")
OLD_CC = 'mimalloc = "=0.1.46"\nlibmimalloc-sys = "=0.1.42"\n[build-dependencies]\ncc = "=1.0.79"'
"""A cc that puts its own flags behind those of the environment."""
CRATES = (
    # name, lines of Cargo.toml, type, value
    ("mimalloc 0.1.52 (v3)", 'mimalloc = { version = "=0.1.52", default-features = false }', "mimalloc::MiMalloc", "mimalloc::MiMalloc"),
    ("mimalloc 0.1.52 (v2)", 'mimalloc = { version = "=0.1.52", features = ["v2"] }', "mimalloc::MiMalloc", "mimalloc::MiMalloc"),
    ("mimalloc 0.1.46 (v2), cc 1.0.79", OLD_CC, "mimalloc::MiMalloc", "mimalloc::MiMalloc"),
    ("tikv-jemallocator 0.6", 'tikv-jemallocator = "0.6"', "tikv_jemallocator::Jemalloc", "tikv_jemallocator::Jemalloc"),
    ("snmalloc-rs 0.3", 'snmalloc-rs = "0.3"', "snmalloc_rs::SnMalloc", "snmalloc_rs::SnMalloc"),
    ("rpmalloc 0.2", 'rpmalloc = "0.2"', "rpmalloc::RpMalloc", "rpmalloc::RpMalloc"),
)

LIBRARY = """
use std::sync::mpsc;

#[global_allocator]
static GLOBAL: {type} = {value};

fn next(state: &mut u64) -> u64 {{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}}

/// Sums what was written, as it is read by the thread that frees it; 0 where a block was not what it should be.
#[no_mangle]
pub extern "C" fn out_work(threads: u64, rounds: u64, seed: u64) -> u64 {{
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel::<(u8, Vec<u8>)>()).unzip();
    let handles: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(number, receiver)| {{
            let sender = senders[(number + 1) % threads as usize].clone();
            std::thread::spawn(move || {{
                let mut state = seed.wrapping_mul(number as u64 + 1) | 1;
                let (mut sum, mut good) = (0u64, true);
                let mut kept: Vec<(u8, Vec<u8>)> = Vec::new();
                let mut check = |mark: u8, block: Vec<u8>| {{
                    good &= block.iter().all(|&byte| byte == mark);
                    sum = sum.wrapping_add(mark as u64 * block.len() as u64);
                }};
                for round in 0..rounds {{
                    let random = next(&mut state);
                    let size = if random % 1000 == 0 {{ random >> 46 }} else {{ random >> 56 }} as usize + 1;
                    let mark = (random >> 8) as u8;
                    let mut block = vec![mark; size];
                    if random % 7 == 0 {{
                        block.resize(size * 2, mark);
                    }}
                    match random % 4 {{
                        0 => sender.send((mark, block)).unwrap(),
                        1 if kept.len() < 1000 => kept.push((mark, block)),
                        _ => check(mark, block),
                    }}
                    if round % 64 == 0 {{
                        for (mark, block) in receiver.try_iter() {{
                            check(mark, block);
                        }}
                    }}
                }}
                drop(sender);
                for (mark, block) in kept.into_iter().chain(receiver.iter()) {{
                    check(mark, block);
                }}
                (sum, good)
            }})
        }})
        .collect();
    drop(senders);
    let results: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    if results.iter().all(|result| result.1) {{
        results.iter().fold(0u64, |total, result| total.wrapping_add(result.0))
    }} else {{
        0
    }}
}}
"""

WORK = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.out_work.restype = ctypes.c_uint64
print(library.out_work(*map(ctypes.c_uint64, map(int, sys.argv[2:5]))))
"""


def make_project(folder: Path, dependency: str, kind: str, value: str) -> Path:
    """A cdylib with one allocator."""
    manifest = (
        '[package]\nname = "out"\nversion = "1.0.0"\nedition = "2021"\n[lib]\ncrate-type = ["cdylib"]\npath = "lib.rs"\n'
        f"[workspace]\n[dependencies]\n{dependency}\n"
    )
    folder.mkdir(parents=True)
    (folder / "Cargo.toml").write_text(manifest)
    (folder / "lib.rs").write_text(LIBRARY.format(type=kind, value=value))
    if "[build-dependencies]" in manifest:
        (folder / "build.rs").write_text("fn main() {}\n")
    return folder


def build(project: Path, *, rewritten: bool) -> tuple[int, str, Path]:
    """Build it; exit code, output, the module."""
    script = 'cargo build -q --release && cp "${CARGO_TARGET_DIR:-target}/release/libout.so" .'
    guard = [sys.executable, "-m", "tls_wheel_guard", "build", "--action", "rewrite", "--"]
    code, output = run([*(guard if rewritten else []), "sh", "-ec", script], project)
    return code, output, project / "libout.so"


def work(module: Path, seed: int, fillers: list[Path]) -> str:
    """The workload's checksum in a process without static TLS, or the loader's words."""
    command = [sys.executable, "-c", EXHAUST + WORK, str(module), str(THREADS), str(ROUNDS), str(seed)]
    environment = {**os.environ, "FILLERS": os.pathsep.join(map(str, fillers))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    if done.returncode < 0:
        return f"signal {-done.returncode}"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[-1].rpartition("/")[2]


def table(folder: Path, seed: int) -> None:
    """Build and run each crate; a row each."""
    row("allocator", "before", "loads", "exit", "after", "allocations", "checksum equals the system's", "seconds")
    row(*["---"] * 8)
    fillers = make_fillers(folder / "fillers")
    _, _, module = build(make_project(folder / "system", *SYSTEM[1:]), rewritten=False)
    expected = work(module, seed, fillers)
    if not expected.isdigit() or expected == "0":
        raise SystemExit(f"the system's allocator does not work here: {expected}")
    for number, (name, *project) in enumerate(CRATES):
        _crate(name, make_project(folder / str(number), *project), seed, fillers, expected)


def _crate(name: str, project: Path, seed: int, fillers: list[Path], expected: str) -> None:
    code, output, module = build(project, rewritten=False)
    if code:
        row(name, f"does not build here: {output.strip().splitlines()[-1][:100]}", *["-"] * 6)
        return
    plain, loads = initial_exec(module)[0], work(module, seed, fillers)
    module.unlink()
    code, output, module = build(project, rewritten=True)
    if code:
        row(name, plain, loads, code, output.strip().splitlines()[-1], "-", "-", "-")
        return
    started = time.monotonic()
    checksum = work(module, seed, fillers)
    seconds = time.monotonic() - started
    same = "yes" if checksum == expected else f"NO: {checksum}"
    row(name, plain, loads if not loads.isdigit() else "yes", code, initial_exec(module)[0], f"{THREADS} x {ROUNDS:,}", same, f"{seconds:.1f}")
