#!/usr/bin/env python3
"""Random functions as a thread's first use of TLS, in a host whose malloc destroys vector registers: for docs/proofs/descriptors.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.markdown import heading, row  # noqa: E402
from tests.support.descriptor_programs import program  # noqa: E402
from tests.support.descriptor_truth import CALL_SIZE, descriptor_sites, slots_of  # noqa: E402
from tests.support.runtimes import Runtime, native, release  # noqa: E402
from tests.support.toolchain import SOURCES, require  # noqa: E402
from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSite  # noqa: E402

COMMANDS = (
    ("gcc", "-O0"), ("gcc", "-O1"), ("gcc", "-O2"), ("gcc", "-O3"), ("gcc", "-Os"), ("gcc", "-O3", "-march=x86-64-v3"),
    ("gcc", "-O3", "-march=x86-64-v4"), ("clang-19", "-O0"), ("clang-19", "-O1"),
    ("clang-19", "-O2"), ("clang-19", "-O3"), ("clang-19", "-O3", "-march=x86-64-v4"),
)  # fmt: skip
RESULTS = ("same", "changed", "died")
KINDS = ("kept", "unsure", "dead", "all dead", "no call", "later", "unread")
"""What the analysis calls the first call that a function made; ``all dead``: this one and all behind it; ``later``: that it is no first one."""
# The block never fits the optional part, on any release. A new thread's variables have their first values: nothing is to be reset.
LAST = "    put_variables(&at);\n    return"
MORE = "\n__thread char big[4096];\nint touch(void) { return t_i0 + big[t_i0 & 7]; }\n"


class Work(NamedTuple):
    """One random program; ``led``: of functions that begin without floats."""

    seed: int
    command: tuple[str, ...]
    led: bool
    functions: int


def build(folder: Path, work: Work) -> Path:
    """A random C program for the host, with descriptors."""
    source, output = folder / "p.c", folder / "p.so"
    source.write_text(
        "void made_all(void);\n"
        + program(work.seed, work.functions, cxx=False, led=work.led).replace("    reset();\n", "").replace(LAST, f"    made_all();\n{LAST}")
        + MORE
    )
    flags = ["-fPIC", "-shared", "-mtls-dialect=gnu2", "-w", f"-I{SOURCES}", "-o", str(output), str(source), "-lm"]
    subprocess.run([*work.command, *flags], check=True, capture_output=True)
    return output


def kind_of_site(site: DescriptorSite) -> str:
    """What the analysis says of a site, in one word."""
    return "kept" if site.kept else "unsure" if site.unsure else "dead"


def kind_of(said: list[str]) -> str:
    """The kind of a function by what the analysis says of the calls that it made, the first of them first."""
    if not said:
        return "no call"
    if said[0].startswith("later"):
        return "later"
    return "all dead" if {word.removeprefix("later ") for word in said} == {"dead"} else said[0]


def compare(hosts: list[tuple[Runtime, Path]], work: Work) -> list[Counter[tuple[str, str]]]:
    """For each runtime and its host: (kind of function, what the run gave) -> functions."""
    with tempfile.TemporaryDirectory() as name:
        path = build(Path(name), work)
        said = {site.address: ("later " * site.later) + kind_of_site(site) for site in descriptor_sites(path).sites}
        return [_run(runtime, host, path, said, work) for runtime, host in hosts]


def _run(runtime: Runtime, host: Path, path: Path, said: dict[int, str], work: Work) -> Counter[tuple[str, str]]:
    words = runtime.command(host, path, *(f"{slot:x}" for slot in slots_of(path)))
    counts: Counter[tuple[str, str]] = Counter()
    for line in subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines():
        number, result, *behind = line.split()
        kind = kind_of([said.get(int(address, 16) - CALL_SIZE, "unread") for address in behind])
        counts[kind, RESULTS[int(result)]] += 1
        if kind != "kept" and result != "0":
            print(f"not foreseen: {runtime}, {work}, function {number}, calls before {behind}: {kind}, {RESULTS[int(result)]}", file=sys.stderr)
    return counts


def _works(arguments: argparse.Namespace) -> list[Work]:
    wide = "avx512bw" in Path("/proc/cpuinfo").read_text()
    commands = [command for command in COMMANDS if wide or "-march=x86-64-v4" not in command]
    return [
        Work(arguments.seed + 1000 * number + n, command, n % 4 > 0, arguments.functions)
        for number, command in enumerate(commands)
        for n in range(arguments.programs)
    ]


def main() -> int:
    """Print the table; 1 where a function went wrong whose first call is called dead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--programs", type=int, default=4, help="programs of each compiler's command; three of four begin their functions without floats"
    )
    parser.add_argument("--functions", type=int, default=60, help="functions of each program")
    arguments = parser.parse_args()
    works = _works(arguments)
    for command in {work.command[0] for work in works}:
        require(command)
    hosts = [(runtime, runtime.program(SOURCES / "first_use.c", "-pthread")) for runtime in (release("bullseye"), native(), release("trixie"))]
    total: list[Counter[tuple[str, str]]] = [Counter() for _ in hosts]
    with ProcessPoolExecutor(2) as pool:
        for counts in pool.map(partial(compare, hosts), works):
            total = [old + new for old, new in zip(total, counts, strict=True)]
    heading("glibc", "functions", *(f"{kind}: {result}" for kind in KINDS for result in RESULTS))
    for (runtime, _), found in zip(hosts, total, strict=True):
        row(".".join(map(str, runtime.version)), str(found.total()), *(str(found[kind, result]) for kind in KINDS for result in RESULTS))
    return (
        1
        if any(
            n
            for found in total
            for (kind, result), n in found.items()
            if kind not in ("kept", "unsure") and (result != "same" or kind == "later")
        )
        else 0
    )


if __name__ == "__main__":
    sys.exit(main())
