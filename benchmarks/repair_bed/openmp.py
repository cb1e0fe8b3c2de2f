"""The OpenMP runtimes of an emulated machine's wheels: refused without static TLS before, two threads and the same sums after."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks.exhausted import make_fillers
from benchmarks.markdown import heading, row
from tests.support.repair_machines import TestedMachine
from tests.support.repairing import HOST
from tests.support.runtimes import Runtime, release
from tests.support.wheels import fetch, unpack
from tls_wheel_guard.commands.repair import Wanted, repair_file

WHEELS = ("scikit-learn==1.3.2", "xgboost==2.1.4", "torch==2.1.2")
REFUSED = "cannot allocate memory in static TLS block"
SUITES = ("", "bullseye", "trixie")
"""The machine's own glibc, and other releases'."""
SOURCE = """
#include <omp.h>
static unsigned long private_sum;
#pragma omp threadprivate(private_sum)
unsigned long work(unsigned long seed)
{
    unsigned long sum = seed, team = 0, critical = 0;
    double halves = 0, numbers[1000];
    #pragma omp parallel num_threads(2) reduction(+:sum)
    {
        #pragma omp single
        team = omp_get_num_threads();
        private_sum = 0;
        #pragma omp for schedule(static)
        for (int i = 0; i < 1000; i++) { numbers[i] = (double)(seed + i) * 0.5; sum += (seed + i) * 31; private_sum += i; }
        #pragma omp for schedule(dynamic, 7) reduction(+:halves)
        for (int i = 0; i < 1000; i++) halves += numbers[i];
        #pragma omp critical
        critical = critical + private_sum;
        #pragma omp barrier
        #pragma omp single
        for (int i = 0; i < 20; i++)
        #pragma omp task firstprivate(i)
        {
            #pragma omp atomic
            sum += (unsigned long)i;
        }
    }
    return team == 2 ? sum * 1000003 + (unsigned long)halves * 31 + critical : 0;
}
"""
"""Nothing depends on the order: the halves are exact."""


def _program(folder: Path, machine: TestedMachine, library: Path) -> Path:
    """A shared object of OpenMP code that needs ``library`` by its SONAME and finds it beside itself."""
    (folder / "omp.c").write_text(SOURCE)
    compiler = machine.compilers["gcc"]
    made, output = folder / "omp.o", library.parent / "omp.so"
    for words in (
        ("-c", "-fopenmp", str(folder / "omp.c"), "-o", str(made)),
        ("-shared", str(made), str(library), "-Wl,-rpath,$ORIGIN", "-o", str(output)),
    ):
        subprocess.run([*compiler, "-O2", "-fPIC", *words], check=True, capture_output=True)
    return output


def _answer(runtime: Runtime, library: Path, fillers: str) -> tuple[bool, str]:
    """Whether the code ran in a process (without static TLS where there are fillers), and its sums or the loader's words."""
    program = runtime.program(HOST, "-pthread", "-w")
    environment = {"FILL": fillers} if fillers else {}
    run = subprocess.run(
        runtime.command(program, "values", library, "2", "5", environment=environment), capture_output=True, text=True, check=False
    )
    if fillers and "filled by 0" in run.stderr:
        raise SystemExit("static TLS is not used up")
    refused = run.stdout.startswith("!")
    words = run.stdout.strip().rpartition("/")[2] if refused else " ".join(run.stdout.split())
    return run.returncode == 0 and not refused and len(set(run.stdout.split())) == 3, words or f"exit {run.returncode}"


def _gomp(folder: Path) -> Path:
    (found,) = folder.glob("*.libs/libgomp*")
    return found


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what was wrong."""
    wrong = []
    fillers = os.pathsep.join(map(str, make_fillers(folder / "fillers", machine.compilers["gcc"][0])))
    print(
        "\nAn OpenMP program of two threads (reductions, dynamic schedules, tasks, threadprivate data) with the wheel's own libgomp, run by"
        " main and two more threads: three sums. Without static TLS: libraries were loaded until the loader refused the next one.\n"
    )
    heading(
        "libgomp of",
        "loader",
        "original, fresh",
        "original, no static TLS left",
        "repaired, no static TLS left",
        "repair, processor s",
    )
    for name in WHEELS:
        wheel = fetch(name, f"manylinux2014_{machine.name}", "3.11")
        place = folder / "openmp" / name
        place.mkdir(parents=True)
        started = time.process_time()
        repair = repair_file(wheel, place / wheel.name, Wanted())
        seconds = time.process_time() - started
        if repair.refused:
            wrong.append(f"{name}: {repair.refused[0][1].line()}")
            continue
        before, after = (
            _program(place, machine, _gomp(unpack(path, place / which))) for path, which in ((wheel, "before"), (place / wheel.name, "after"))
        )
        for suite in SUITES:
            runtime = release(suite, machine.name) if suite else machine.runtime()
            fresh, refused, cured = _answer(runtime, before, ""), _answer(runtime, before, fillers), _answer(runtime, after, fillers)
            row(f"{name}, {_gomp(place / 'before').name}", runtime, fresh[1], refused[1], cured[1], f"{seconds:.2f}")
            if not fresh[0] or refused[0] or REFUSED not in refused[1] or cured != fresh:
                wrong.append(f"{name} on {runtime}: {fresh}, {refused}, {cured}")
    return wrong
