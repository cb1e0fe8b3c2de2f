"""What the guard must not change: builds without its table, and the wheels that it lets pass."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

from benchmarks.bench import PLUGIN, Bench
from benchmarks.markdown import heading, row
from tests.support.projects import ROOT, SAMPLES, Built, add_table, use_backend

__all__ = ["fetch_sdist", "sdists", "transparent"]

SDISTS = {
    # sdist -> (a statement that must work with the wheel installed, whether it brings initial-exec)
    "cachebox==5.2.0": ("import cachebox; c = cachebox.LRUCache(2); c[1] = 2; assert c[1] == 2", True),
    "dockerfile==3.4.0": ("import dockerfile; assert dockerfile.parse_string('FROM a')[0].value == ('a',)", True),
    "markupsafe==3.0.2": ("import markupsafe._speedups, markupsafe; assert str(markupsafe.escape('<')) == '&lt;'", False),
    "greenlet==3.1.1": ("import greenlet; assert greenlet.greenlet(lambda: 5).switch() == 5", False),
    "msgpack==1.1.0": ("import msgpack._cmsgpack, msgpack; assert msgpack.unpackb(msgpack.packb([1])) == [1]", False),
    "rpds-py==0.22.3": ("import rpds; assert list(rpds.List([1, 2])) == [1, 2]", False),
}
"""mimalloc by Rust, Go's runtime by setuptools-golang; C, C++, Cython and Rust without."""
ENVIRONMENT = {
    "cachebox==5.2.0": {"MATURIN_PEP517_ARGS": "--features mimalloc"},
    "dockerfile==3.4.0": {"GOFLAGS": "-trimpath"},
}
"""cachebox is released with that feature. setuptools-golang builds in a folder of random name, and without the flag Go writes it down."""
ROUNDS = 3
STARTS = 20


# ---- transparent


def transparent(bench: Bench) -> int:
    """Wheels of projects without a table, with and without the plugin in the environment, and its cost."""
    real = [fetch_sdist(bench, requirement) for requirement in ("markupsafe==3.0.2", "msgpack==1.1.0", "greenlet==3.1.1")]
    projects = [SAMPLES / name for name in (*PLUGIN, "cython-openmp")] + real
    heading("project", "files in the wheel", "identical", "CPU seconds without", "with", "ratio")
    wheels: dict[str, list[bytes]] = {project.name: [] for project in projects}
    times: dict[tuple[str, bool], list[float]] = {}
    starts: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        for installed in (False, True) if number % 2 else (True, False):
            bench.pip(*(["install", "--no-deps", str(ROOT)] if installed else ["uninstall", "-y", "tls-wheel-guard"]))
            for project in projects:
                data, seconds = _timed_build(bench, project)
                wheels[project.name].append(data)
                times.setdefault((project.name, installed), []).append(seconds)
            starts[installed] += [_start(bench) for _ in range(STARTS)]
    bench.pip("install", "--no-deps", str(ROOT))
    wrong = 0
    totals = {False: 0.0, True: 0.0}
    for project in projects:
        same = len(set(wheels[project.name])) == 1
        wrong += not same
        a, b = (min(times[project.name, installed]) for installed in (False, True))
        totals = {False: totals[False] + a, True: totals[True] + b}
        row(project.name, _files(wheels[project.name][0]), "yes" if same else "NO", f"{a:.2f}", f"{b:.2f}", f"{b / a:.3f}")
    row("all", "", "", f"{totals[False]:.2f}", f"{totals[True]:.2f}", f"{totals[True] / totals[False]:.3f}")
    a, b = (min(starts[installed]) for installed in (False, True))
    row("`setup.py --name`: nothing but the start", "", "", f"{a:.3f}", f"{b:.3f}", f"{b / a:.3f}")
    print(f"\nThe least of {ROUNDS} builds each, and of {ROUNDS * STARTS} starts. The plugin's import and call alone: {_alone(bench):.1f} ms.")
    return wrong


def _files(data: bytes) -> int:
    return data.count(b"PK\x01\x02")


def _timed_build(bench: Bench, source: Path) -> tuple[bytes, float]:
    ignored = shutil.ignore_patterns("build", "*.egg-info", "target")
    project = Path(shutil.copytree(source, bench.work() / source.name, ignore=ignored))
    started = _spent()
    built = bench.build(project, "build")
    seconds = _spent() - started
    if built.code:
        raise SystemExit(f"{source.name} does not build here:\n{built.output[-2000:]}")
    return built.wheels[0].read_bytes(), seconds


def _spent() -> float:
    """CPU seconds of all children so far: other work on the machine counts little."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _start(bench: Bench) -> float:
    started = _spent()
    subprocess.run([bench.python, "setup.py", "--name"], cwd=SAMPLES / "setuptools-clean", capture_output=True, check=True)
    return _spent() - started


ALONE = """
import os, pathlib, sys, time, typing
started = time.perf_counter()
from tls_wheel_guard.setuptools_plugin import finalize
finalize(None)
print(time.perf_counter() - started)
"""


def _alone(bench: Bench) -> float:
    """Milliseconds that the plugin takes in a project without a table; what it imports is there in every build."""
    command = [bench.python, "-c", ALONE]
    runs = [subprocess.run(command, cwd=SAMPLES / "setuptools-clean", capture_output=True, check=True, text=True) for _ in range(STARTS)]
    return min(float(run.stdout) for run in runs) * 1000


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


def sdists(bench: Bench) -> int:
    """Real sdists, plain and through the guard."""
    heading("sdist", "through", "initial-exec", "fail: exit, members as without the guard", "warn: exit, members as without the guard", "import")
    wrong = 0
    for requirement, (statement, initial_exec) in SDISTS.items():
        source = fetch_sdist(bench, requirement)
        through = "plugin" if _uses_setuptools(source) else "backend"
        environment = ENVIRONMENT.get(requirement, {})
        plain, failed, warned = (_build_sdist(bench, source, action, environment) for action in (None, "fail", "warn"))
        fail, warn, works = _equal(plain, failed), _equal(plain, warned), _imports(bench, warned, statement)
        right = failed.code == int(initial_exec) and warned.code == 0 and works == "works" and "all" in warn
        right &= fail == "no wheel" if initial_exec else "all" in fail
        wrong += not right
        row(requirement, through, "yes" if initial_exec else "no", f"{failed.code}, {fail}", f"{warned.code}, {warn}", works)
    return wrong


def _uses_setuptools(project: Path) -> bool:
    path = project / "pyproject.toml"
    return not path.exists() or 'build-backend = "maturin"' not in path.read_text(encoding="utf-8")


def _build_sdist(bench: Bench, source: Path, action: str | None, environment: dict[str, str]) -> Built:
    project = Path(shutil.copytree(source, bench.work() / source.name))
    if action is not None:
        (add_table if _uses_setuptools(project) else use_backend)(project, f'action = "{action}"')
    built = bench.build(project, "pip", **environment)
    if action is None and built.code:
        raise SystemExit(f"{source.name} does not build here:\n{built.output[-3000:]}")
    kept = bench.folder / f"kept-{action}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    return Built(built.code, built.output, tuple(Path(shutil.copy(wheel, kept)) for wheel in built.wheels))


def _members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _equal(one: Built, other: Built) -> str:
    """Whether two builds made the same files with the same bytes, RECORD and METADATA too."""
    if not other.wheels:
        return "no wheel"
    if one.wheels[0].name != other.wheels[0].name:
        return f"other name: {other.wheels[0].name}"
    a, b = _members(one.wheels[0]), _members(other.wheels[0])
    differing = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return f"all {len(a)}" if not differing else f"{len(a) - len(differing)} of {len(a)} (not {', '.join(differing)})"


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
