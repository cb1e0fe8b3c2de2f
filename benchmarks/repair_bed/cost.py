"""What an access costs: initial-exec, repaired, and what a compiler makes of global-dynamic, in one process and one run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.markdown import heading, row
from tests.support.repairing import GLIBC, MUSL, build_object, repair_file
from tests.support.runtimes import Runtime, musl, native

SOURCE = """
static __thread unsigned long NAME_v MODEL; static __thread double NAME_d MODEL; static __thread char NAME_room[ROOM] MODEL;
unsigned long NAME_get(unsigned long n) { (void)n; return NAME_v; }
unsigned long NAME_add(unsigned long n) { NAME_v += n; return 0; }
unsigned long NAME_double(unsigned long n) { NAME_d += (double)n; return 0; }
unsigned long NAME_none(unsigned long n) { return n; }
char *NAME_room_at(void) { return NAME_room; }
"""
HOST = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
typedef unsigned long function(unsigned long);
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
static double once(function *f, long n) { double a = now(); for (long i = 0; i < n; i++) f(i); return (now() - a) / n; }
static function *first; static double first_time[400]; static int first_count;
static void *thread(void *x) { double a = now(); first(1); first_time[first_count++] = now() - a; return x; }
static int order(const void *a, const void *b) { double d = *(const double *)a - *(const double *)b; return d < 0 ? -1 : d > 0; }
static function *functions[9][4]; static double best[9][4];
int main(int count, char **words) {
    const char *what[] = {"none", "get", "add", "double"};
    for (int k = 1; k < count; k += 2) {
        void *library = dlopen(words[k + 1], RTLD_NOW);
        if (!library) { printf("%s %s\\n", words[k], dlerror()); continue; }
        for (int w = 0; w < 4; w++) {
            char name[80]; snprintf(name, sizeof name, "%s_%s", words[k], what[w]);
            functions[k / 2][w] = (function *)dlsym(library, name);
        }
    }
    /* Short rounds in turn: the best of each is the one that nothing disturbed. */
    for (int r = 0; r < 400; r++)
        for (int k = 1; k < count; k += 2)
            for (int w = 0; w < 4 && functions[k / 2][0]; w++) {
                double t = once(functions[k / 2][w], 20000);
                if (!best[k / 2][w] || t < best[k / 2][w]) best[k / 2][w] = t;
            }
    for (int k = 1; k < count; k += 2) {
        if (!functions[k / 2][0]) continue;
        void *library = dlopen(words[k + 1], RTLD_NOW);
        printf("%s", words[k]);
        for (int w = 0; w < 4; w++) printf(" %.2f", best[k / 2][w]);
        char name[80]; snprintf(name, sizeof name, "%s_get", words[k]);
        first = (function *)dlsym(library, name); first_count = 0;
        for (int i = 0; i < 301; i++) { pthread_t t; pthread_create(&t, 0, thread, 0); pthread_join(t, 0); }
        qsort(first_time, 301, sizeof *first_time, order);
        printf(" %.0f\\n", first_time[150]);
    }
    return 0;
}
"""


def measure(folder: Path, runtime: Runtime, room: int) -> dict[str, list[float]]:
    """Name of a build -> ns of a call that reads nothing, returns a variable, adds to it, adds to a double; ns of a thread's first access."""
    targets = (MUSL,) if runtime.libc == "musl" else (GLIBC,)
    builds = {"ie": ("initial-exec", ()), "gd": ("global-dynamic", ("-mtls-dialect=gnu",)), "desc": ("global-dynamic", ("-mtls-dialect=gnu2",))}
    words: list[str] = []
    for name, (model, flags) in builds.items():
        if name == "ie" and runtime.libc == "musl":
            continue
        path = _build(folder, name, model, room, flags)
        words += [name, str(path)]
    original = _build(folder, "fixed", "initial-exec", room, ())
    repair_file(original, folder / "fixed2.so", targets)
    words += ["fixed", str(folder / "fixed2.so")]
    (folder / "cost.c").write_text(HOST)
    program = folder / f"cost-{runtime.libc}"
    subprocess.run([*runtime.compiler, "-O2", "-w", "-pthread", "-o", str(program), str(folder / "cost.c"), "-ldl"], check=True)
    run = subprocess.run(runtime.command(program, *words), capture_output=True, text=True, check=True)
    return {line.split()[0]: [float(word) for word in line.split()[1:]] for line in run.stdout.splitlines()}


def _build(folder: Path, name: str, model: str, room: int, flags: tuple[str, ...]) -> Path:
    source = folder / f"{name}.c"
    text = SOURCE.replace("NAME", name).replace("ROOM", str(room)).replace("MODEL", f'__attribute__((tls_model("{model}")))')
    source.write_text(text)
    return build_object(source, folder / f"{name}.so", "gcc", "-O2", "-nostdlib", *flags)


def report(folder: Path) -> list[str]:
    """The section of the page; what was too slow."""
    print("\n## Cost\n")
    print(
        "Nanoseconds of one call of a tiny function, all builds in one process, the best of 400 short rounds in turn; the last column is the"
        " median of a thread's first access. A block of 100 bytes is static on glibc, one of 700 is not.\n"
    )
    heading("loader", "block", "build", "no TLS", "`return v`", "`v += n`", "`double += n`", "first access of a thread")
    names = {"ie": "initial-exec", "gd": "compiler's global-dynamic", "desc": "compiler's descriptors", "fixed": "repaired"}
    wrong: list[str] = []
    ratios = []
    for runtime, room in ((native(), 100), (native(), 700), (musl(), 100)):
        found = measure(folder, runtime, room)
        for name, numbers in found.items():
            row(runtime, room, names[name], *numbers)
        for place in (1, 2, 3):
            ratios.append(found["fixed"][place] / found["gd"][place])
            if "ie" in found and found["fixed"][place] - found["ie"][place] > 3:
                wrong.append(f"{runtime}, {room} bytes: {found['fixed'][place] - found['ie'][place]:.2f} ns more than initial-exec")
    print(f"\nRepaired beside the compiler's global-dynamic: {min(ratios):.2f} to {max(ratios):.2f} times.", flush=True)
    wrong += [f"{max(ratios):.2f} times global-dynamic"] if max(ratios) > 1.3 else []
    return wrong
