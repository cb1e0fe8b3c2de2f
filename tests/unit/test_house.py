"""What the house promises of its own files: helpers of tests lie in tests/support/."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.projects import ROOT


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports modules by."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_helpers_are_imported_from_support_only() -> None:
    files = [path for folder in ("tests", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path)
        if name.startswith(".") or (name.startswith("tests.") and not name.startswith("tests.support"))
    }
    assert not wrong


OPENERS = frozenset({"open", "fdopen", "read_bytes", "read_text", "ZipFile", "mmap"})
"""What opens a file, called by its name or as a method."""
NO_INPUTS = {
    "__main__.py": "the null device, for a stream that the caller closed",
    "build_guard/judged.py": "notes of our own, in a temporary folder of our own",
    "build_guard/products.py": "metadata of what is installed, through importlib.metadata",
    "build_guard/rewrite/compilers.py": "the file specs that gcc names",
    "build_guard/rewrite/environment.py": "settings of setuptools that the environment names",
    "build_guard/rewrite/own_folder.py": "a lock",
    "cli/anchor.py": "the line of pyproject.toml that a report points to",
    "cli/explain.py": "pages of this package",
    "cli/index.py": "lists and settings that the command line names",
    "cli/options.py": "the list that --files-from names, and GitHub's summary, which is written",
    "cli/output.py": "reports, to be written, and the null device, for a stream that nobody reads",
    "commands/index.py": "data of this package",
    "config/sources.py": "settings",
    "culprits/data_files.py": "data of this package",
    "index/ranges.py": "the temporary file that keeps what was fetched of a wheel, to be written",
    "index/reading.py": "the temporary file that a wheel is fetched into, to be written",
    "index/sources.py": "lock files",
    "live/reading.py": "answers that our own children wrote",
    "setuptools_plugin.py": "whether pyproject.toml names us at all, before anything is imported",
}
"""Modules outside of inputs/ and archive/ that open something that is no input, and what that is."""


def opened_in(tree: ast.Module, pure: bool) -> set[str]:
    """What a module opens files with. In a pure one ``.open`` is a step of a model, since it can import no path."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OPENERS:
            found.add(node.func.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OPENERS and not pure:
            found.add(node.func.attr)
    return found


def test_only_inputs_and_archive_open_inputs() -> None:
    package = ROOT / "tls_wheel_guard"
    opening = set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        if name.startswith(("inputs/", "archive/", "live/scripts/")):
            continue
        if opened_in(ast.parse(path.read_text(encoding="utf-8")), pure=name.startswith("loaders/")):
            opening.add(name)
    assert opening == set(NO_INPUTS), "open inputs through tls_wheel_guard.inputs; what is no input is named here with its reason"


def test_the_search_for_openers_finds_them() -> None:
    for code in ("open('x')", "path.open('rb')", "os.open('x', 0)", "Path('x').read_bytes()", "zipfile.ZipFile(f)"):
        assert opened_in(ast.parse(code), pure=False), code


PACKAGE = ROOT / "tls_wheel_guard"
LONG = {
    "elf/reader.py read_shared_object": "it fills the 30 fields of a value, a line each",
    "rules/room.py overflow": "it fills one finding, whose sentences need all that was reckoned",
}
"""Functions of more than 40 lines, and why."""


def test_files_and_functions_are_of_a_size_that_can_be_read() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 11
    long = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 40:
                long.add(f"{path.relative_to(PACKAGE).as_posix()} {node.name}")
    assert long == set(LONG)
