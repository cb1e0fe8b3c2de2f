#!/usr/bin/env python3
"""Every sample project under every action, compiler and linker: prints docs/proofs/matrix.md.

Per row: initial-exec relocations of the plain build and of this one (by readelf), the exit code, whether the module works in a
glibc process with no static TLS left, whether a musl CPython imports it where it was built with musl-gcc, and the processor time
as a ratio of the plain build's. Both start without any product of an earlier build. A row that is not as it must be says NO.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bench import BACKEND, PLUGIN, Bench, make_bench  # noqa: E402
from benchmarks.exhausted import EXHAUST, make_fillers  # noqa: E402
from benchmarks.markdown import row  # noqa: E402
from tests.support.musl_python import musl_python  # noqa: E402
from tests.support.projects import Built, add_table, build, copy_project, run, use_backend  # noqa: E402
from tests.support.readelf import initial_exec  # noqa: E402
from tests.support.toolchain import open_in_turn  # noqa: E402

ACTIONS = ("fail", "warn", "rewrite")
COUNTS = "assert [c.next(), c.next()] == [1, 2]"
CHECKS = {
    "setuptools-flag": "import scratch; scratch.selftest()",
    "setuptools-clean": "import scratch; scratch.selftest()",
    "setuptools-attribute": f"import counter_attribute as c; {COUNTS}",
    "setuptools-cpp": "import pool_cpp as p; assert p.add(2) == (2, 1) and p.add(3) == (5, 2)",
    "setuptools-rust": "from checksum_rust import crc32; import zlib; assert crc32(b'abc') == zlib.crc32(b'abc')",
    "cffi": f"import counter_cffi as c; {COUNTS}",
    "go-cshared": "from adder_go import add; assert add(2, 3) == 5",
    "cython-openmp": "from sum_openmp import total; assert total(1000) == 499500",
    "scikit-build-core": f"import counter_cmake as c; {COUNTS}",
    "meson-python": f"import counter_meson as c; {COUNTS}",
    "hatchling": f"import counter_hatch as c; {COUNTS}",
    "poetry-core": f"import counter_poetry as c; {COUNTS}",
    "pdm-backend": f"import counter_pdm as c; {COUNTS}",
    "maturin-mimalloc": "from sorted_mimalloc import words; assert words('b a') == ['a', 'b']",
    "maturin-jemalloc": "from sorted_jemalloc import words; assert words('b a') == ['a', 'b']",
}
"""The self checks of the projects' READMEs."""
SLOW = frozenset({"setuptools-rust", "maturin-mimalloc", "maturin-jemalloc"})
BY_MUSL = ("setuptools-flag", "setuptools-attribute", "setuptools-clean", "scikit-build-core", "meson-python", "hatchling")
"""C without other libraries: musl-gcc has no C++, and there is no cffi, Rust or Go for musl here."""
NOTHING_HELPS = {
    "go-cshared": "Go's own linker makes it; no setting reaches it",
    "cython-openmp": "libgomp is copied in from the system, not compiled here",
}
"""Why rewriting can't cure them. With clang cython-openmp gets LLVM's libomp (libomp-19-dev), which has no initial-exec."""
COMPILERS = {
    "gcc": {},
    "clang-19": {"CC": "clang-19", "CXX": "clang++-19"},
    "musl-gcc": {"CC": "musl-gcc"},
}
LINKERS = {"lld": "ld.lld-19", "mold": "mold", "gold": "ld.gold"}
BY_LINKER = ("setuptools-flag", "setuptools-attribute", "setuptools-cpp", "scikit-build-core", "meson-python", "setuptools-rust")


@dataclass(frozen=True)
class Outcome:
    """One build: how it ended, initial-exec relocations in its wheel (None without one), processor seconds."""

    built: Built
    relocations: int | None
    seconds: float


class Matrix:
    """The runs, with what they share."""

    def __init__(self, bench: Bench, repeat: int) -> None:
        self.bench, self.repeat = bench, repeat
        self.fillers = make_fillers(bench.folder / "fillers")
        self.site = bench.folder / "site"
        self.rows = self.wrong = 0
        self.ratios: dict[bool, list[float]] = {True: [], False: []}
        self.extra: list[float] = []

    def build(self, name: str, action: str | None, variables: dict[str, str], repeat: int = 1) -> Outcome:
        """The quickest of some builds, each in a fresh copy of the project."""
        found = []
        for _ in range(repeat):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            built = self._build_once(name, action, variables)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found.append(Outcome(built, self._unpack(built), seconds))
        return min(found, key=lambda outcome: outcome.seconds)

    def _build_once(self, name: str, action: str | None, variables: dict[str, str]) -> Built:
        work = self.bench.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        project = copy_project(name, work)
        environment = {key: value for key, value in self.bench.environment(name).items() if key != "CARGO_TARGET_DIR"} | variables
        if name == "cython-openmp":
            script = f"{self.bench.python} -m build -w --no-isolation -o plain . && auditwheel repair -w repaired plain/*.whl"
            guard = [self.bench.python, "-m", "tls_wheel_guard", "build", "--action", action or "", "--wheels", "repaired", "--"]
            code, output = run([*(guard if action else []), "sh", "-c", script], project, environment)
            return Built(code, output, tuple((project / "repaired").glob("*.whl")))
        if action:
            (add_table if name in PLUGIN else use_backend)(project, f'action = "{action}"')
        return build(project, "build", python=self.bench.python, environment=environment)

    def _unpack(self, built: Built) -> int | None:
        shutil.rmtree(self.site, ignore_errors=True)
        if not built.wheels:
            return None
        with zipfile.ZipFile(built.wheels[0]) as archive:
            archive.extractall(self.site)
        return sum(initial_exec(path)[0] for path in self.site.rglob("*") if ".so" in path.name)

    def glibc(self, name: str, outcome: Outcome) -> str:
        """The self check where all static TLS is used up."""
        if outcome.relocations is None:
            return "no wheel"
        environment = {**os.environ, "PYTHONPATH": str(self.site), "FILLERS": os.pathsep.join(map(str, self.fillers))}
        return _ended(
            subprocess.run([self.bench.python, "-c", EXHAUST + CHECKS[name]], env=environment, capture_output=True, text=True, check=False)
        )

    def musl(self, name: str, outcome: Outcome, compiler: str) -> str:
        """The self check under a musl CPython; it has no ctypes, so a plain library is opened by a C program."""
        if compiler != "musl-gcc":
            return ""
        if outcome.relocations is None:
            return "no wheel"
        if name == "hatchling":
            (library,) = self.site.rglob("*.so")
            (error,) = open_in_turn("musl-gcc", library)
            return "works" if not error else re.sub(r"/\S*/", "", error)
        for path in self.site.rglob("*.cpython-*.so"):
            path.rename(path.with_name(path.name.partition(".")[0] + ".so"))
        environment = {"PYTHONPATH": str(self.site), "PATH": os.environ["PATH"]}
        return _ended(subprocess.run([str(musl_python()), "-c", CHECKS[name]], env=environment, capture_output=True, text=True, check=False))

    def project(self, name: str, compiler: str) -> None:
        """The rows of one project and compiler."""
        repeat = 1 if name in SLOW else self.repeat
        plain = self.build(name, None, COMPILERS[compiler], repeat)
        if plain.relocations is None:
            raise SystemExit(f"{name} does not build with {compiler}:\n{plain.built.output[-3000:]}")
        for action in ACTIONS:
            outcome = self.build(name, action, COMPILERS[compiler], repeat)
            glibc, musl = self.glibc(name, outcome) if compiler != "musl-gcc" else "", self.musl(name, outcome, compiler)
            ratio = outcome.seconds / plain.seconds
            good, why = _judge(name, action, plain.relocations, outcome, glibc or musl)
            self.rows += 1
            self.wrong += not good
            if outcome.relocations is not None:
                self.ratios[name in SLOW].append(ratio)
            if action == "rewrite" and name not in SLOW and outcome.relocations is not None:
                self.extra.append(outcome.seconds - plain.seconds)
            after = "no wheel" if outcome.relocations is None else outcome.relocations
            said = "yes" if good else "NO"
            row(
                name,
                action,
                compiler,
                plain.relocations,
                after,
                outcome.built.code,
                glibc,
                musl,
                f"{ratio:.2f}",
                said + (f": {why}" if why else ""),
            )

    def linker(self, name: str, linker: str) -> None:
        """One project with another linker, plain and rewritten."""
        programs = self.bench.folder / f"bin-{linker}"
        if not programs.is_dir():
            programs.mkdir()
            (programs / f"ld.{linker}").symlink_to(shutil.which(LINKERS[linker]) or "")
        flag = f"-fuse-ld={linker}"
        variables = {"LDFLAGS": flag, "RUSTFLAGS": f"-Clink-arg={flag}", "PATH": f"{programs}{os.pathsep}{self.bench.environment(name)['PATH']}"}
        plain = self.build(name, None, variables)
        outcome = self.build(name, "rewrite", variables)
        glibc = self.glibc(name, outcome)
        good = outcome.built.code == 0 and outcome.relocations == 0 and glibc == "works" and bool(plain.relocations)
        self.rows += 1
        self.wrong += not good
        row(name, linker, plain.relocations, outcome.relocations, outcome.built.code, glibc, "yes" if good else "NO")

    def all(self, names: list[str]) -> None:
        """The first table."""
        row("project", "action", "compiler", "before", "after", "exit", "glibc", "musl", "time", "as it must be")
        row(*["---"] * 10)
        for name in names:
            for compiler in COMPILERS:
                if compiler != "musl-gcc" or name in BY_MUSL:
                    self.project(name, compiler)

    def all_linkers(self, names: list[str]) -> None:
        """The second table."""
        print("\n## Other linkers\n", flush=True)
        row("project", "linker", "before", "after", "exit", "glibc", "as it must be")
        row(*["---"] * 7)
        for name in BY_LINKER:
            for linker in LINKERS:
                if name in names:
                    self.linker(name, linker)

    def summary(self) -> None:
        """Counts and times."""
        print(f"\n{self.rows} rows, {self.wrong} not as they must be.")
        for slow, what in ((False, "C and C++"), (True, "Rust")):
            if ratios := self.ratios[slow]:
                print(f"Time of builds that gave a wheel, {what}: median {statistics.median(ratios):.2f}, largest {max(ratios):.2f}.")
        if self.extra:
            print(f"Rewriting and checking a C or C++ build costs {statistics.median(self.extra):.2f} seconds (median), whatever its size.")


def _ended(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == 0:
        return "works"
    last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    return re.sub(r"/\S*/", "", last)


def _judge(name: str, action: str, plain: int, outcome: Outcome, loads: str) -> tuple[bool, str]:
    """Whether a row is as it must be, and why where nothing can help."""
    code, left = outcome.built.code, outcome.relocations
    if plain == 0:
        return (code, left, loads) == (0, 0, "works"), ""
    if action == "fail":
        stopped = left is None if name != "cython-openmp" else True  # `build --` leaves the user's wheel where it is
        return code == 1 and stopped, ""
    if action == "warn":
        return code == 0 and left == plain and (loads != "works"), ""
    if name in NOTHING_HELPS:
        return code == 1 and "initial-exec is left in" in outcome.built.output, NOTHING_HELPS[name]
    return code == 0 and left == 0 and loads == "works", ""


HEAD = """\
# The matrix

Made by `make matrix` (benchmarks/matrix.py): every sample project, each action, each compiler. `before` and `after` are initial-exec
relocations of the plain build and of this one, counted by readelf. `glibc` is the project's self check in a process whose static
TLS is used up, `musl` the same under a musl CPython, of what musl-gcc built. `time` is processor time as a ratio of the plain build's;
both start from nothing. The last column says whether the row is as it must be: `fail` stops the build, `warn`
lets the module through as it is, and it does not load; `rewrite` leaves nothing, and it loads.
"""


def main() -> None:
    """Run all rows, or those of some projects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="builds of a quick project of which the quickest counts")
    parser.add_argument("--table", choices=("actions", "linkers"), help="only this one")
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help="default: all")
    options = parser.parse_args()
    if unknown := [name for name in options.projects if name not in CHECKS]:
        parser.error(f"no such project: {unknown[0]}; choose from {', '.join(CHECKS)}")
    names = options.projects or [*PLUGIN, "cython-openmp", *BACKEND]
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-matrix-") as folder:
        matrix = Matrix(make_bench(Path(folder)), options.repeat)
        if options.table != "linkers":
            matrix.all(names)
        if options.table != "actions":
            matrix.all_linkers(names)
        matrix.summary()


if __name__ == "__main__":
    main()
