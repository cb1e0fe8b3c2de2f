#!/usr/bin/env python3
"""The build guard in real builds; prints Markdown, and exits 1 where anything is not as it should be.

samples       every sample project, fail and warn, under each front end: exit code, message, wheel, flag
editable      editable installs and maturin develop, each twice: the second compiles nothing
front-ends    one project under setuptools 65 and the newest, each front end, isolated or not
transparent   projects without a table: wheels with and without the plugin byte for byte, and what the plugin costs
sdists        real sdists from the package index, wired to the guard: the same wheel as without it, and those with initial-exec stopped
killed        SIGKILL at 20 random moments of each command that writes wheels

It makes one virtual environment with all build backends; compilers, Rust and Go must be there.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bench import BACKEND, BACKENDS, CROSS, PLUGIN, Bench, flagged, make_bench, wire  # noqa: E402
from benchmarks.kills import killed  # noqa: E402
from benchmarks.markdown import heading, row  # noqa: E402
from benchmarks.unchanged import sdists, transparent  # noqa: E402
from tests.support.interpreters import OLD, environment  # noqa: E402
from tests.support.projects import Built, add_table, build, run  # noqa: E402

MESSAGES = {"fail": "is not released", "warn": "will not load everywhere"}
CLEAN = "setuptools-clean"


def rules_in(output: str) -> str:
    """The rules that a build's output names as errors or warnings."""
    known = ("initial-exec-tls", "static-tls-overflow", "static-tls-crowding")
    return ", ".join(rule for rule in known if f"error: {rule}" in output or f"warning: {rule}" in output) or "none"


# ---- samples


def samples(bench: Bench) -> int:
    """Every sample project under every action and front end."""
    heading("project", "through", "action", "front end", "exit", "rules shown", "last line", "wheel left", "flag")
    wrong = 0
    for name in (*PLUGIN, *BACKEND):
        for action in ("fail", "warn"):
            for front_end in ("pip", "build"):
                project = bench.sample(name)
                through = wire(project, f'action = "{action}"')
                wrong += _sample_row(name, through, action, front_end, bench.build(project, front_end))
            if name.startswith("maturin"):
                command = ["maturin", "build", "--release", "--out", "out"]
                wrong += _sample_row(name, "`build --`", action, "maturin", _guarded_command(bench, name, action, command, "out"))
    for lines in (('action = "warn"',), ('action = "warn"', "set-flag = false")):
        project = bench.sample("setuptools-flag")
        add_table(project, *lines)
        wrong += _sample_row("setuptools-flag, aarch64", "plugin", ", ".join(lines), "build", bench.build(project, "build", **CROSS))
    for action in ("fail", "warn"):
        script = "python -m build -w --no-isolation -o plain . && auditwheel repair -w repaired plain/*.whl"
        built = _guarded_command(bench, "cython-openmp", action, ["sh", "-c", script], "repaired")
        wrong += _sample_row("cython-openmp", "`build --`", action, "build, auditwheel", built)
    return wrong


def _sample_row(name: str, through: str, how: str, front_end: str, built: Built) -> int:
    """Print one build; 1 where it did not end as it must."""
    action = "warn" if "warn" in how else "fail"
    said = MESSAGES[action] in built.output
    flag = flagged(built.wheels)
    # `build --` leaves what the command made: the exit code stops what follows.
    stops = action == "fail" and name != CLEAN
    right = (built.code, said) == (int(stops), name != CLEAN)
    right &= bool(built.wheels) == (not stops or through == "`build --`")
    right &= flag == "no" if "set-flag" in how else flag != "no"
    row(
        name, through, how, front_end, built.code, rules_in(built.output), f"`... {MESSAGES[action]}`" if said else "-",
        "yes" if built.wheels else "none", flag if right else f"{flag} WRONG",
    )  # fmt: skip
    return int(not right)


def _guarded_command(bench: Bench, name: str, action: str, command: list[str], folder: str) -> Built:
    project = bench.sample(name)
    guard = [bench.python, "-m", "tls_wheel_guard", "build", "--action", action, "--wheels", folder, "--", *command]
    code, output = run(guard, project, bench.environment(project.name))
    return Built(code, output, tuple(sorted((project / folder).glob("*.whl"))))


# ---- editable

EDITABLE = {
    "setuptools-flag": "import scratch", "setuptools-rust": "import checksum_rust", "setuptools-clean": "import scratch",
    "meson-python": "import counter_meson", "scikit-build-core": "import counter_cmake", "hatchling": "import counter_hatch",
    "poetry-core": "import counter_poetry", "pdm-backend": "import counter_pdm", "maturin-mimalloc": "import sorted_mimalloc",
}  # fmt: skip
"""Sample -> the statement that works when it is installed."""


def editable(bench: Bench) -> int:
    """Each editable install twice: what was compiled the first time is judged the second time too."""
    heading("project", "through", "action", "command", "exit, first and second", "rules shown", "imports", "imports without the guard")
    wrong = 0
    for name in EDITABLE:
        install = [bench.python, "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps", "-e", "."]
        plain = bench.sample(name)
        run(install, plain, bench.environment(name))
        expected = _imports_then_goes(bench, plain)
        for action in ("fail", "warn"):
            project = bench.sample(name)
            through = wire(project, f'action = "{action}"')
            wrong += _editable_row(bench, project, (through, action, "pip install -e ."), install, expected)
            if name.startswith("maturin"):
                project = bench.sample(name)
                develop = [bench.python, "-m", "tls_wheel_guard", "build", "--action", action, "--", "maturin", "develop"]
                wrong += _editable_row(bench, project, ("`build --`", action, "maturin develop"), develop, expected)
    return wrong


def _imports_then_goes(bench: Bench, project: Path) -> bool:
    """Whether what a project installed can be imported; it is uninstalled then."""
    statement = EDITABLE[project.name]
    works = subprocess.run([bench.python, "-c", statement], cwd=bench.folder, capture_output=True, check=False).returncode == 0
    distribution = next(line.split('"')[1] for line in (project / "pyproject.toml").read_text().splitlines() if line.startswith("name = "))
    bench.pip("uninstall", "-y", distribution)
    return works


def _editable_row(bench: Bench, project: Path, cells: tuple[str, str, str], command: list[str], expected: bool) -> int:
    through, action, _ = cells
    (first, output), (second, again) = (run(command, project, bench.environment(project.name)) for _ in range(2))
    works = _imports_then_goes(bench, project)
    stops = action == "fail" and project.name != CLEAN
    # What `maturin develop` installed stays; the exit code says it.
    right = (first, second) == (stops, stops) and works == (expected and (not stops or through == "`build --`"))
    right &= rules_in(output) == rules_in(again) and (rules_in(again) == "none") == (project.name == CLEAN)
    works_then = ("yes" if works else "no") + ("" if right else " WRONG")
    row(project.name, *cells, f"{first}, {second}", rules_in(again), works_then, "yes" if expected else "no")
    return int(not right)


# ---- front ends


def front_ends(bench: Bench) -> int:
    """One project, setuptools old and new, every front end."""
    heading("setuptools", "front end", "isolated", "fail: exit, wheel left", "warn: exit, wheel left")
    wrong = 0
    for name, requirements in (("65.5.0", "old"), ("newest", "new")):
        if requirements == "old" and sys.version_info >= (3, 12):
            print("| 65.5.0 | does not start on Python 3.12 and newer | | | |")
            continue
        python = environment(bench.folder / f"venv-{name}", requirements)
        for front_end, isolated in (("pip", False), ("pip", True), ("build", False), ("build", True), ("setup.py", False)):
            cells = []
            for action in ("fail", "warn"):
                project = bench.sample("setuptools-flag")
                add_table(project, f'action = "{action}"')
                path = project / "pyproject.toml"
                requires = [f"tls-wheel-guard @ {ROOT.as_uri()}", *(OLD if requirements == "old" else ("setuptools",))]
                path.write_text(path.read_text().replace('requires = ["setuptools >=65"]', f"requires = {requires}"))
                built = build(project, front_end, isolated=isolated, python=python)
                cells.append(f"{built.code}, {'yes' if built.wheels else 'none'}")
                wrong += (built.code, bool(built.wheels)) != ((1, False) if action == "fail" else (0, True))
            row(name, front_end, "yes" if isolated else "no", *cells)
    return wrong


# ---- all


def versions(bench: Bench) -> None:
    """A line that says with what it was measured."""
    frozen = subprocess.run([bench.python, "-m", "pip", "freeze", "--all"], capture_output=True, text=True, check=True).stdout.splitlines()
    packages = [line.replace("==", " ") for line in frozen if line.partition("==")[0].lower() in (*BACKENDS, "pip")]
    commands = (["gcc", "--version"], ["rustc", "--version"], ["go", "version"])
    tools = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0] for command in commands]
    print(f"Measured on {platform.machine()} with Python {platform.python_version()}, {', '.join([*tools, *packages])}.")


def main() -> None:
    """Run the proofs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proofs: dict[str, tuple[str, Callable[[Bench], int]]] = {
        "samples": ("Sample projects", samples),
        "editable": ("Editable installs", editable),
        "front-ends": ("Front ends, setuptools old and new", front_ends),
        "transparent": ("Transparent without a table", transparent),
        "sdists": ("Real sdists", sdists),
        "killed": ("Killed at random moments", killed),
    }
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="default: all")
    options = parser.parse_args()
    if unknown := [name for name in options.proofs if name not in proofs]:
        parser.error(f"no such proof: {unknown[0]}; choose from {', '.join(proofs)}")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-builds-") as folder:
        bench = make_bench(Path(folder))
        versions(bench)
        for name in options.proofs or proofs:
            title, proof = proofs[name]
            print(f"\n## {title}\n", flush=True)
            found = proof(bench)
            print(f"\n{found} rows are not as they should be.", flush=True)
            wrong += found
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
