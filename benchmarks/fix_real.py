#!/usr/bin/env python3
"""``fix`` on real projects at fixed revisions, from clones that lie in a folder as OWNER+NAME (or OWNER+NAME/repo).

    git clone --bare https://github.com/apache/datafusion-python apache+datafusion-python
    python -m benchmarks.fix_real FOLDER

For each: the edits and the advice; whether the edited files still parse by their own programs; whether a second run finds nothing. Where
a later commit of the project made the edit itself, whether that commit has the same feature.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tomllib

from benchmarks.markdown import heading, row
from tls_wheel_guard.commands.fix import plan_fix, write_fix
from tls_wheel_guard.fix.result import Fix
from tls_wheel_guard.report.fix import write_fix as as_text

SUFFIXES = (
    ".py",
    ".toml",
    ".lock",
    ".cmake",
    ".build",
    ".cfg",
    ".am",
    ".ac",
    ".mk",
    ".sh",
    ".yml",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".rs",
    ".pyx",
)
NAMES = ("CMakeLists.txt", "Makefile", "GNUmakefile", ".gitmodules", "rust-toolchain", "README.md", "LICENSE")


@dataclass(frozen=True)
class Real:
    """A repository, a revision, the project's folder in it, what must come out, and the commit by which its authors made that edit."""

    repository: str
    revision: str
    folder: str = "."
    edited: tuple[str, ...] = ()
    advised: int = 0
    upstream: str = ""


PROJECTS = (
    Real("apache/datafusion-python", "0b2962a7^", edited=("Cargo.toml",), upstream="0b2962a7"),
    Real("emmett-framework/granian", "dae46d7^", edited=("Cargo.toml",), upstream="dae46d7"),
    Real("pydantic/pydantic-core", "459e59ec^", edited=("Cargo.toml",), upstream="459e59ec"),
    Real("awolverp/cachebox", "v5.2.0", edited=("Cargo.toml",)),
    Real("pola-rs/polars", "0136482348^", "py-polars", edited=("Cargo.toml",)),
    Real("apache/sedona-db", "f34050154", "python/sedonadb", edited=("python/sedonadb/Cargo.toml",)),
    Real("lakehq/sail", "0fd25cb49", edited=("crates/sail-cli/Cargo.toml",)),
    Real("alibaba/neug", "c9a77f51", edited=("CMakeLists.txt",)),
    Real("v6d-io/v6d", "0cbaada9", edited=("CMakeLists.txt",)),
    Real("delta-io/delta-rs", "2c996fa9b", "python"),
    Real("pola-rs/polars", "4db92c12c0", "py-polars/runtime/polars-runtime-32"),
    Real("apache/arrow", "515410b2a1", "cpp"),
    Real("DataDog/dd-trace-py", "3bb9ecda22"),
    Real("plasma-umass/scalene", "9069a321", advised=1),
    Real("bloomberg/memray", "v1.15.0", advised=1),
    Real("microsoft/LightGBM", "bae0b7ba9"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, metavar="FOLDER")
    parser.add_argument("--diffs", action="store_true", help="print each diff too, to be read")
    options = parser.parse_args()
    clones: Path = options.clones
    heading("project", "revision", "files edited", "edits", "by hand", "its own programs read them", "again", "its authors' own commit")
    wrong, diffs = 0, []
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-real-") as temporary:
        for number, real in enumerate(PROJECTS):
            git = _git_folder(clones, real.repository)
            folder = Path(temporary, str(number))
            checkout(git, real.revision, folder)
            plan = plan_fix(folder / real.folder)
            fix = plan.fix
            diffs.append((real, as_text(fix).replace(str(folder), "")))
            if fix.edits:
                write_fix(plan, unsafe=True)
            again = len(plan_fix(folder / real.folder).fix.edits)
            refused = [words for words in _commands(plan.read.top, fix) if _runs(words, plan.read.top)]
            upstream = _upstream(git, real)
            good = set(fix.paths) == set(real.edited) and len(fix.advice) == real.advised and not again and not refused and upstream != "differs"
            wrong += not good
            safe = sum(edit.safe for edit in fix.edits)
            edits = f"{safe} safe, {len(fix.edits) - safe} unsafe" if fix.edits else "none"
            reads = "yes" if fix.edits and not refused else "-" if not fix.edits else f"NO: {refused}"
            short = _git(git, "rev-parse", "--short", real.revision).strip()
            where = real.repository + (f", {real.folder}" if real.folder != "." else "")
            row(where, short, ", ".join(fix.paths) or "-", edits, len(fix.advice), reads, again or "nothing", upstream)
    print(f"\n{wrong} rows are not as they should be.")
    for real, text in diffs if options.diffs else ():
        if "nothing to fix" not in text:
            print(f"\n{real.repository}:\n\n{text.rstrip()}")
    raise SystemExit(1 if wrong else 0)


def _git_folder(clones: Path, repository: str) -> Path:
    folder = clones / repository.replace("/", "+")
    return folder / "repo" if (folder / "repo").is_dir() else folder


def _git(git: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={git}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=True).stdout


def checkout(git: Path, revision: str, folder: Path) -> None:
    """The build files and sources of a revision, without links and without what else a repository holds."""
    wanted = []
    for line in _git(git, "ls-tree", "-r", "-z", revision).split("\0"):
        mode, _, rest = line.partition(" ")
        path = rest.partition("\t")[2]
        if mode.startswith("100") and (path.endswith(SUFFIXES) or Path(path).name in NAMES):
            wanted.append((rest.split("\t")[0].split(" ")[1], path))
    with subprocess.Popen(["git", f"--git-dir={git}", "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        if reader.stdin is None or reader.stdout is None:
            raise SystemExit("git cat-file has no pipes")
        for name, path in wanted:
            reader.stdin.write(f"{name}\n".encode())
            reader.stdin.flush()
            head = reader.stdout.readline().split()
            if head[1] == b"missing":
                continue  # a clone without its largest files
            data = reader.stdout.read(int(head[2]))
            reader.stdout.read(1)
            target = folder / os.fsdecode(path.encode("utf-8", "surrogateescape"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _commands(top: Path, fix: Fix) -> Iterator[list[str]]:
    """What reads each edited file."""
    for path in fix.paths:
        if path.endswith("Cargo.toml"):
            # Without the registry: the manifest, and all of its workspace.
            yield ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path", path]
        elif path.endswith("CMakeLists.txt"):
            script = top / "parse.cmake"
            script.write_text(f"if(FALSE)\n{(top / path).read_text()}\nendif()\n")
            yield ["cmake", "-P", "parse.cmake"]
        elif path.endswith(".py"):
            yield [sys.executable, "-m", "py_compile", path]


def _runs(words: list[str], folder: Path) -> int:
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode


def _upstream(git: Path, real: Real) -> str:
    """Whether the authors' own commit turned the same feature on."""
    if not real.upstream:
        return "-"
    manifest = tomllib.loads(_git(git, "show", f"{real.upstream}:Cargo.toml"))
    mimalloc = manifest["dependencies"].get("mimalloc", {})
    default = manifest.get("features", {}).get("default", [])
    same = "local_dynamic_tls" in mimalloc.get("features", []) or "mimalloc/local_dynamic_tls" in default
    return f"{real.upstream}: the same feature" if same else "differs"


if __name__ == "__main__":
    main()
