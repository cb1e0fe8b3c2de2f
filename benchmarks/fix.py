#!/usr/bin/env python3
"""Proofs of ``fix``: real builds before and after its edits, and what maintainers' own commands say of the files that it wrote.

samples    every sample project: edited, built before and after, both wheels checked, the project's own test run on both
init       --init on five kinds of projects, then pip wheel: the guard stops the build, and lets it through once it is fixed
accepted   cargo, meson, CMake and validate-pyproject on every file that was written
transitive a crate that another crate brings: with Cargo.lock, built with --locked
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bench import Bench, make_bench
from benchmarks.markdown import heading, row
from tests.support.projects import ROOT, SAMPLES, copy_project

PIP_WHEEL = "{python} -m pip wheel -q --no-deps --no-build-isolation --disable-pip-version-check -w {out} ."
REPAIRED = """
import pathlib, shlex, subprocess, sys, tomllib
out = sys.argv[1]
subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "plain", "."], check=True)
command = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]
(wheel,) = pathlib.Path("plain").glob("*.whl")
subprocess.run(shlex.split(command.format(dest_dir=out, wheel=wheel)), check=True)
"""
"""Builds a wheel and runs the project's own repair command of cibuildwheel on it."""
NO_EDIT = {"setuptools-clean": "nothing to fix", "go-cshared": "by hand: exit 4 with --from its wheel"}


def _guard(bench: Bench, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(Path(bench.python).with_name("tls-wheel-guard")), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **bench.environment("fix"), "PIP_NO_INPUT": "1"}, capture_output=True, text=True, check=False
    )


def _self_check(name: str) -> str:
    """The statement that a sample project's README gives as its own check."""
    found = re.search(r'^Self check[^:]*: `python -c "(.*)"`$', (SAMPLES / name / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "import scratch; scratch.selftest()"


def samples(bench: Bench) -> int:
    """Every sample project, proved."""
    heading("project", "files edited", "edits", "initial-exec before", "after", "findings before", "after", "its own test before", "after")
    wrong = 0
    script = bench.folder / "repaired.py"
    script.write_text(REPAIRED, encoding="utf-8")
    for name in sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()):
        project = bench.sample(name)
        if name in NO_EDIT:
            wrong += _without_edit(bench, project)
            continue
        build = f"{{python}} {script} {{out}}" if name == "cython-openmp" else PIP_WHEEL
        done = _guard(bench, "fix", project, "--prove", "--unsafe", "--build", build, "--test", _self_check(name), "--format", "json")
        found = json.loads(done.stdout) if done.returncode in (0, 1) else {"edits": [], "proof": None}
        proof = found.get("proof") or {"before": {"error": done.stderr}, "after": {}, "holds": False}
        before, after = proof["before"], proof["after"]
        wrong += not (proof["holds"] and before.get("initial_exec") and after["initial_exec"] == 0 and not after["error"])
        row(
            name, ", ".join(sorted({edit["path"] for edit in found["edits"]})), "safe" if all(e["safe"] for e in found["edits"]) else "unsafe",
            before.get("initial_exec"), after.get("initial_exec"), before.get("findings"), after.get("findings"),
            before.get("error") or "passes", after.get("error") or "passes",
        )  # fmt: skip
    return wrong


def _without_edit(bench: Bench, project: Path) -> int:
    """A project that ``fix`` must leave alone: it says so, and for a wheel with initial-exec it says what helps, and exits 4."""
    built = bench.build(project, "pip")
    done = _guard(bench, "fix", project, "--from", built.wheels[0])
    expected = 4 if project.name == "go-cshared" else 0
    said = "advice" if "# by hand:" in done.stdout else "nothing to fix"
    row(project.name, f"none: {said}, exit {done.returncode} with --from its wheel", *["-"] * 7)
    return done.returncode != expected


INIT = {
    "setuptools": "setuptools-flag", "maturin": "maturin-mimalloc", "scikit-build-core": "scikit-build-core", "meson-python": "meson-python",
    "hatchling": "hatchling",
}  # fmt: skip


def init(bench: Bench) -> int:
    """``--init --write``, then ``pip wheel .`` in isolation, as users and release workflows run it."""
    links = bench.folder / "links"
    bench.pip("wheel", "--no-deps", "-w", str(links), str(ROOT))
    heading("kind", "requires-python", "lines added, removed", "pip wheel with initial-exec", "fix --write, pip wheel again")
    wrong = 0
    for kind, name in INIT.items():
        project = bench.sample(name)
        path = project / "pyproject.toml"
        path.write_text(path.read_text().replace(">=3.8", ">=3.10").replace(">=3.9", ">=3.10"))
        before = path.read_text()
        done = _guard(bench, "fix", project, "--init", "--write")
        changed = [line for line in difflib.ndiff(before.splitlines(), path.read_text().splitlines()) if line[:1] in "+-"]
        again = _guard(bench, "fix", project, "--init", "--check")
        first = _pip_wheel(bench, project, links)
        fixed = _guard(bench, "fix", project, "--write")
        shutil.rmtree(project / "build", ignore_errors=True)
        second = _pip_wheel(bench, project, links)
        good = done.returncode == again.returncode == fixed.returncode == 0 and first == "stopped by the guard" and second == "a wheel"
        wrong += not good
        added = sum(line.startswith("+") for line in changed)
        row(kind, ">=3.10", f"{added}, {len(changed) - added}", first, second)
    return wrong


def _pip_wheel(bench: Bench, project: Path, links: Path) -> str:
    out = project / "out"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [bench.python, "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "--find-links", str(links), "-w", str(out), "."],
        cwd=project, env={**os.environ, **bench.environment(project.name)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0 and list(out.glob("*.whl")):
        return "a wheel"
    said = done.stdout + done.stderr
    return "stopped by the guard" if "[initial-exec-tls]" in said or "initial-exec-tls" in said else said.strip().splitlines()[-1]


def accepted(bench: Bench) -> int:
    """Each sample project's written files, read by the programs that they are for."""
    bench.pip("install", "validate-pyproject[all]", "packaging")
    heading("project", "command", "exit")
    wrong = 0
    for name in sorted(path.name for path in SAMPLES.iterdir() if path.is_dir() and path.name not in NO_EDIT):
        project = copy_project(name, bench.work())
        _guard(bench, "fix", project, "--write", "--unsafe")
        # The fixed file of --init too: its requirement, its table.
        _guard(bench, "fix", project, "--init", "--write", "--unsafe")
        for command in commands_for(bench, project):
            done = subprocess.run(
                command, cwd=project, env={**os.environ, **bench.environment(name)}, capture_output=True, text=True, check=False
            )
            wrong += done.returncode != 0
            row(name, f"`{' '.join(_short(bench, word) for word in command)}`", done.returncode or "0")
    return wrong


def _short(bench: Bench, word: str) -> str:
    return Path(word).name if word.startswith((str(Path(bench.python).parent), str(bench.folder))) else word.partition("\n")[0]


def commands_for(bench: Bench, project: Path) -> list[list[str]]:
    """What a maintainer would run on a project's files to see that they are still right."""
    beside = Path(bench.python).parent
    found = [[str(beside / "validate-pyproject"), "pyproject.toml"]] if (project / "pyproject.toml").exists() else []
    if (project / "Cargo.toml").exists():
        found += [["cargo", "metadata", "--locked", "--format-version", "1"], ["cargo", "build", "-q", "--locked"]]
    if (project / "meson.build").exists():
        found.append([str(beside / "meson"), "introspect", "--ast", "meson.build"])
    if (project / "CMakeLists.txt").exists():
        # A script may not have project(): parsed whole, and not run.
        script = project / "parse.cmake"
        script.write_text("if(FALSE)\n" + (project / "CMakeLists.txt").read_text() + "\nendif()\n")
        found.append(["cmake", "-P", "parse.cmake"])
    if (project / "setup.py").exists():
        found.append([bench.python, "-m", "py_compile", "setup.py"])
    return found


def transitive(bench: Bench) -> int:
    """The extension depends on a crate beside the project, which depends on mimalloc or jemalloc."""
    heading("brought by a crate with", "files edited", "cargo metadata --locked", "cargo build --locked", "initial-exec before", "after")
    wrong = 0
    for allocator, requirement, static in BRINGS:
        work = bench.work()
        project = work / "uses"
        _crate(work / "brings", "brings", "", f"{allocator} = {requirement}\n", f"#[global_allocator]\npub static GLOBAL: {static} = {static};\n")
        _crate(project, "uses", '[lib]\ncrate-type = ["cdylib"]\n\n', 'brings = { path = "../brings" }\n', MAIN)
        environment = {**os.environ, **bench.environment(allocator)}
        library = Path(environment["CARGO_TARGET_DIR"]) / "debug" / "libuses.so"
        codes = [_cargo(project, environment, "generate-lockfile"), _cargo(project, environment, "build", "-q", "--locked")]
        before = _initial_exec(bench, library)
        done = _guard(bench, "fix", project, "--from", library, "--write")
        files = ", ".join(line.removeprefix("# written: ") for line in done.stdout.splitlines() if line.startswith("# written: "))
        codes += [
            _cargo(project, environment, "metadata", "--locked", "--format-version", "1"),
            _cargo(project, environment, "build", "-q", "--locked"),
        ]
        after = _initial_exec(bench, library)
        wrong += not (not any(codes) and before and after == 0)
        row(f"`{allocator} = {requirement}`", files, codes[2], codes[3], before, after)
    return wrong


def _crate(folder: Path, name: str, tables: str, dependencies: str, source: str) -> None:
    (folder / "src").mkdir(parents=True)
    head = f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n\n'
    (folder / "Cargo.toml").write_text(f"{head}{tables}[dependencies]\n{dependencies}")
    (folder / "src" / "lib.rs").write_text(source)


def _cargo(project: Path, environment: dict[str, str], *arguments: str) -> int:
    return subprocess.run(["cargo", *arguments], cwd=project, env=environment, capture_output=True, check=False).returncode


MAIN = """\
use brings as _;
#[no_mangle]
pub extern "C" fn words(n: usize) -> usize { let v: Vec<usize> = (0..n).collect(); v.iter().sum() }
"""
BRINGS = (("mimalloc", '"0.1.46"', "mimalloc::MiMalloc"),)
"""An allocator's crate, its requirement, and its type."""


def _initial_exec(bench: Bench, library: Path) -> int:
    done = _guard(bench, "show", library, "--format", "json")
    return sum(module["initial_exec"]["count"] for wheel in json.loads(done.stdout)["wheels"] for module in wheel["modules"])


def main() -> None:
    """Run the proofs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proofs: dict[str, tuple[str, Callable[[Bench], int]]] = {
        "samples": ("Sample projects", samples),
        "init": ("fix --init on five kinds of projects", init),
        "accepted": ("Maintainers' own commands", accepted),
        "transitive": ("Another crate brings the allocator", transitive),
    }
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="default: all")
    options = parser.parse_args()
    if unknown := [name for name in options.proofs if name not in proofs]:
        parser.error(f"no such proof: {unknown[0]}; choose from {', '.join(proofs)}")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-fix-proof-") as folder:
        bench = make_bench(Path(folder))
        for name in options.proofs or proofs:
            title, proof = proofs[name]
            print(f"\n## {title}\n", flush=True)
            found = proof(bench)
            print(f"\n{found} rows are not as they should be.", flush=True)
            wrong += found
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
