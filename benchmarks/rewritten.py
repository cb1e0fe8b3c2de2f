#!/usr/bin/env python3
"""Real allocators and real projects, rewritten: prints docs/proofs/rewritten.md."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import allocators  # noqa: E402
from benchmarks.bench import Bench, make_bench  # noqa: E402
from benchmarks.exhausted import EXHAUST, make_fillers  # noqa: E402
from benchmarks.markdown import row  # noqa: E402
from benchmarks.unchanged import fetch_sdist  # noqa: E402
from tests.support.projects import build, run, use_backend  # noqa: E402
from tests.support.readelf import initial_exec  # noqa: E402

HEAD = """\
# Real code, rewritten

Made by `make rewritten` (benchmarks/rewritten.py). Relocations are initial-exec ones, counted by readelf. "Loads" means: in a glibc
process whose static TLS is used up.
"""


@dataclass(frozen=True)
class Sdist:
    """A project from the package index: what must work, where its tests are, what they need."""

    statement: str
    tests: str
    needs: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


SDISTS = {
    "cachebox==5.2.0": Sdist(
        "import cachebox; c = cachebox.LRUCache(2); c[1] = 2; assert c[1] == 2",
        "python/tests",
        ("pytest-asyncio",),
        (("MATURIN_PEP517_ARGS", "--features mimalloc"),),  # as its release was built
    ),
    "pydantic-core==0.7.1": Sdist(
        "import pydantic_core",
        "tests",
        (
            "dirty-equals",
            "hypothesis",
            "pytest-examples",
            "pytest-mock",
            "pytest-timeout",
            "pytest-benchmark",
            "coverage",
            "maturin>=0.13,<0.14",
            "typing-extensions",
            "pytz",
        ),
        (("RUSTUP_TOOLCHAIN", "stable"),),  # it asks for nightly, whose features of then are gone
    ),
}
CRATE = ("tikv-jemallocator", "0.6.1")
"""A crate whose package has tests: they run with the rewritten allocator as the program's own."""


def sdists(bench: Bench, names: list[str]) -> None:
    """Real sdists: plain, then rewritten; the project's own tests on both."""
    row("project", "before", "loads", "exit", "after", "loads", "own tests, plain build", "own tests, rewritten")
    row(*["---"] * 8)
    fillers = make_fillers(bench.folder / "fillers")
    for requirement, sdist in SDISTS.items():
        if names and requirement not in names:
            continue
        bench.pip("install", "pytest", *sdist.needs)
        source = fetch_sdist(bench, requirement)
        cells: list[object] = [requirement]
        tests = []
        for action in (None, "rewrite"):
            code, relocations, site = _build(bench, source, sdist, action)
            cells += [*([code] if action else []), relocations, _loads(bench, site, sdist.statement, fillers)]
            tests.append(_own_tests(bench, source, site, sdist))
        row(*cells, *tests)


def _build(bench: Bench, source: Path, sdist: Sdist, action: str | None) -> tuple[int, int | str, Path]:
    work = bench.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    project = Path(shutil.copytree(source, work / source.name))
    if action:
        use_backend(project, f'action = "{action}"')
    environment = {key: value for key, value in bench.environment(source.name).items() if key != "CARGO_TARGET_DIR"} | dict(sdist.variables)
    built = build(project, "pip", python=bench.python, environment=environment)
    site = bench.folder / f"site-{action}"
    shutil.rmtree(site, ignore_errors=True)
    if not built.wheels:
        print(built.output[-3000:], file=sys.stderr)
        return built.code, "no wheel", site
    with zipfile.ZipFile(built.wheels[0]) as archive:
        archive.extractall(site)
    return built.code, sum(initial_exec(path)[0] for path in site.rglob("*.so")), site


def _loads(bench: Bench, site: Path, statement: str, fillers: list[Path]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "FILLERS": os.pathsep.join(map(str, fillers))}
    done = subprocess.run([bench.python, "-c", EXHAUST + statement], env=environment, capture_output=True, text=True, check=False)
    return "yes" if done.returncode == 0 else re.sub(r"/\S*/", "", done.stderr.strip().splitlines()[-1])


def _own_tests(bench: Bench, source: Path, site: Path, sdist: Sdist) -> str:
    """Pytest's last line; the tests are copied away from the source tree, so that the wheel's module is what they import."""
    folder = bench.folder / "tests"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source / sdist.tests, folder / "tests")
    command = [bench.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--benchmark-skip", "tests"]
    if "pytest-benchmark" not in sdist.needs:
        command.remove("--benchmark-skip")
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout or done.stderr).splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    return re.sub(r" in [\d.]+s.*|=", "", lines[-1]).strip() if lines else (done.stdout + done.stderr).strip()[-200:]


def crate(folder: Path) -> None:
    """The tests of a crate, as its package has them, under `build --`, plain and rewritten."""
    name, version = CRATE
    carrier = folder / "carrier"
    carrier.mkdir(parents=True)
    manifest = (
        f'[package]\nname = "carrier"\nversion = "1.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n[dependencies]\n{name} = "={version}"\n'
    )
    (carrier / "Cargo.toml").write_text(f"{manifest}[workspace]\n")
    (carrier / "lib.rs").write_text("")
    subprocess.run(["cargo", "vendor", "-q", "vendored"], cwd=carrier, check=True, stdout=subprocess.DEVNULL)
    project = carrier / "vendored" / name
    (project / "Cargo.toml").write_text((project / "Cargo.toml").read_text() + "\n[workspace]\n")
    counts = []
    for rewritten in (False, True):
        script = (
            'cargo test -q --tests 2>&1 && find "${CARGO_TARGET_DIR:-target}" -name "libjemalloc*.a" -exec cp {} kept.a \\; -quit'
            " && gcc -shared -o module.so -Wl,--whole-archive kept.a -Wl,--no-whole-archive -lpthread -ldl"
        )
        guard = [sys.executable, "-m", "tls_wheel_guard", "build", "--action", "rewrite", "--"]
        code, output = run([*(guard if rewritten else []), "sh", "-ec", script], project)
        passed = sum(int(number) for number in re.findall(r"(\d+) passed", output))
        failed = sum(int(number) for number in re.findall(r"(\d+) failed", output))
        if code:
            print(output[-3000:], file=sys.stderr)
        relocations = initial_exec(project / "module.so")[0] if (project / "module.so").exists() else "no module"
        counts += [relocations, code, f"{passed} passed, {failed} failed"]
    row("crate", "before", "exit", "own tests, plain build", "after", "exit", "own tests, rewritten")
    row(*["---"] * 7)
    row(f"{name} {version}", *counts)


def main() -> None:
    """Run all parts, or some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("parts", nargs="*", metavar="PART", help="allocators, sdists, crate, or an sdist's name; default: all")
    options = parser.parse_args()
    parts = options.parts or ["allocators", "sdists", "crate"]
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-rewritten-") as scratch:
        folder = Path(scratch)
        if "allocators" in parts:
            print(f"## Allocators from crates.io\n\n{allocators.ABOUT}", flush=True)
            allocators.table(folder / "allocators", options.seed)
        if "sdists" in parts or any("==" in part for part in parts):
            print("\n## Projects from PyPI, with their own tests\n", flush=True)
            (folder / "sdists").mkdir()
            sdists(make_bench(folder / "sdists"), [part for part in parts if "==" in part])
        if "crate" in parts:
            print("\n## A project from crates.io, with its own tests\n", flush=True)
            crate(folder / "crate")


if __name__ == "__main__":
    main()
