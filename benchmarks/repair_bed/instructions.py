"""What an access costs on an emulated machine: the instructions of a call, counted one by one by the emulator."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

from benchmarks.markdown import heading, row
from benchmarks.repair_bed.cost import SOURCE
from tests.support.repair_machines import TestedMachine
from tests.support.repair_sources import c_source
from tests.support.repairing import build_object, repair_file
from tests.support.runtimes import Runtime

HOST = """
#include <dlfcn.h>
#include <stdio.h>
typedef unsigned long function(unsigned long);
__attribute__((noinline)) void mark(void) { __asm__ volatile(""); }
int main(int count, char **words) {
    const char *what[] = {"none", "get", "add", "double"};
    for (int k = 1; k + 1 < count; k += 2) {
        void *library = dlopen(words[k + 1], RTLD_NOW);
        for (int w = 0; w < 4; w++) {
            char name[80]; snprintf(name, sizeof name, "%s_%s", words[k], what[w]);
            function *f = (function *)dlsym(library, name);
            f(1); mark();
            for (int i = 0; i < 100; i++) f(1);
            mark();
        }
    }
    return 0;
}
"""
BUILDS = {
    "ie": ("initial-exec", "initial-exec", ()),
    "gd": ("compiler's global-dynamic", "global-dynamic", ("-mtls-dialect=trad",)),
    "desc": ("compiler's descriptors", "global-dynamic", ("-mtls-dialect=desc",)),
    "fixed": ("repaired", "initial-exec", ()),
}
"""Prefix of the functions -> words, model, flags."""


def _log(runtime: Runtime, program: Path, words: list[str], folder: Path) -> list[str]:
    """A line an instruction. The option has another name since qemu 8.1."""
    command = runtime.command(program, *words)
    for option in ("-one-insn-per-tb", "-singlestep"):
        log = folder / "instructions.log"
        run = subprocess.run(
            [command[0], option, "-d", "exec,nochain", "-D", str(log), *command[1:]], capture_output=True, text=True, check=False
        )
        if run.returncode == 0:
            return log.read_text(encoding="utf-8", errors="replace").splitlines()
    raise SystemExit(run.stderr)


def measure(folder: Path, machine: TestedMachine, runtime: Runtime, room: int) -> dict[str, list[float]]:
    """Prefix of a build -> instructions beyond those of a call without access: 0 for that one, then return a variable, add to it, to a double."""
    words: list[str] = []
    for name, (_, model, flags) in BUILDS.items():
        if name == "ie" and runtime.libc == "musl":
            continue
        source = folder / f"{name}.c"
        source.write_text(SOURCE.replace("NAME", name).replace("ROOM", str(room)).replace("MODEL", f'__attribute__((tls_model("{model}")))'))
        path = build_object(source, folder / f"{name}.so", "gcc", "-O2", "-nostdlib", *flags, machine=machine)
        if name == "fixed":
            repair_file(path, folder / "fixed2.so", (machine.musl if runtime.libc == "musl" else machine.glibc,))
            path = folder / "fixed2.so"
        words += [name, str(path)]
    (folder / "count.c").write_text(HOST)
    program = runtime.program(folder / "count.c")
    counts, marked = [], False
    for line in _log(runtime, program, words, folder):
        if not line.startswith("Trace"):
            continue
        inside = line.endswith(" mark")
        if inside and not marked:
            counts.append(0)
        marked = inside
        if counts:
            counts[-1] += not inside
    # Between the marks of a pair are its calls, between pairs the host's own work.
    calls = [round(count / 100, 1) for count in counts[::2]]
    return {name: [round(count - calls[4 * place], 1) for count in calls[4 * place : 4 * place + 4]] for place, name in enumerate(words[::2])}


def lengths(folder: Path, machine: TestedMachine) -> dict[str, Counter[int]]:
    """Form -> instructions of its thunks, of all probes and a generated object."""
    (folder / "l.c").write_text(c_source(4242))
    (folder / "l.s").write_text(machine.probes.probe_source(machine.probes.all_probes()))
    found: dict[str, Counter[int]] = {}
    for source in ("l.c", "l.s"):
        before = build_object(folder / source, folder / "l.so", "gcc", "-O2", *machine.probe_flags, machine=machine)
        plan = repair_file(before, folder / "l2.so")
        for planned in plan.sites:
            found.setdefault(planned.site.form, Counter())[len(planned.thunk) // 4] += 1
    return found


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what was too long."""
    print("\n## Cost\n")
    print(
        "Instructions that the emulator counts one by one: of a call of a tiny function, beyond those of the same call without an access."
        " An emulated machine has no nanoseconds. A block of 100 bytes is static on glibc, one of 700 is not.\n"
    )
    heading("loader", "block", "build", "`return v`", "`v += n`", "`double += n`")
    wrong = []
    for make, room in ((machine.runtime, 100), (machine.runtime, 700), (machine.musl_runtime, 100)):
        runtime = make()
        found = measure(folder, machine, runtime, room)
        for name, numbers in found.items():
            row(runtime, room, BUILDS[name][0], *numbers[1:])
        wrong += [f"{runtime}: an access of {name} costs nothing" for name, numbers in found.items() if min(numbers[1:]) <= 0]
    print()
    heading("form", "instructions of its thunk: reads")
    for form, counts in lengths(folder, machine).items():
        row(form, ", ".join(f"{length}: {count}" for length, count in sorted(counts.items())))
    return wrong
