"""``fix --prove``: the project built before and after the edits, in copies, by its own build; both wheels checked and imported."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tls_wheel_guard.commands.check import check_wheel
from tls_wheel_guard.commands.fix import Plan
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import Refused, TlsWheelGuardError, UsageError
from tls_wheel_guard.findings import Report, at_or_above
from tls_wheel_guard.fix.result import Fix, Proof, Seen
from tls_wheel_guard.records import dataclass, replace

__all__ = ["DEFAULT_BUILD", "Recipe", "prove_fix"]

DEFAULT_BUILD = "{python} -m pip wheel --no-deps --disable-pip-version-check -w {out} ."
_NOT_COPIED = (".git", ".hg", "build", "dist", "target", "wheelhouse", "node_modules", "__pycache__", ".venv", "venv", "*.egg-info", ".tox")
_ERROR = re.compile(r"\b(\w*error|\w*exception|fatal)\b", re.IGNORECASE)
_TIMEOUT = 3600
"""Seconds that one build or one import may take."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to prove: the interpreter, the build as a command line with {python}, {project} and {out}, split as a shell does, and Python code."""

    python: str
    build: str = DEFAULT_BUILD
    test: str = ""


def prove_fix(plan: Plan, recipe: Recipe, unsafe: bool, say: Callable[[str], None]) -> Fix:
    """Apply the edits to a copy, build it and an untouched copy, check both, import what the wheels hold, run the test.

    ``say``: is told what goes on. Raises Refused where no edit may be written, UsageError where the interpreter is not there.
    """
    changes = plan.changed(unsafe)
    if not changes:
        raise Refused("there is no edit to prove", hint="--unsafe tries those that are not proved to be safe" if plan.fix.edits else "")
    if shutil.which(recipe.python) is None:
        raise UsageError(f"--python {recipe.python}: no such program", hint="give an interpreter that has pip")
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-fix-") as temporary:
        seen = []
        for name, data in (("before", {}), ("after", {path: new for path, (_, new) in changes.items()})):
            say(f"building {'as it is' if name == 'before' else 'with the edits'}: {recipe.build}")
            top = Path(temporary, name, "project")
            _copy(plan.read.top, top)
            for path, new in data.items():
                (top / path).parent.mkdir(exist_ok=True)
                (top / path).write_bytes(new)
            seen.append(_build(top / plan.read.folder, Path(temporary, name, "out"), recipe))
    return replace(plan.fix, proof=Proof(*seen))


def _copy(project: Path, copy: Path) -> None:
    try:
        shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED, "*.so"))
    except (OSError, shutil.Error) as error:
        raise UsageError(f"{project}: it can't be copied: {error}", hint="free some room in the temporary folder") from error


def _build(project: Path, out: Path, recipe: Recipe) -> Seen:
    out.mkdir()
    places = {"{python}": recipe.python, "{project}": str(project), "{out}": str(out)}
    words = [re.sub(r"\{(?:python|project|out)\}", lambda place: places[place[0]], word) for word in shlex.split(recipe.build)]
    error = _run(words, project)
    wheels = sorted(out.rglob("*.whl"))
    if error or not wheels:
        return Seen(error=error or "the build made no wheel")
    try:
        reports = [check_wheel(wheel, Config()) for wheel in wheels]
    except TlsWheelGuardError as problem:
        return Seen(tuple(wheel.name for wheel in wheels), error=problem.line())
    imported, error = _import(wheels, reports, recipe, out)
    findings = sum(at_or_above(f.severity, "warning") for report in reports for f in report.findings)
    return Seen(tuple(wheel.name for wheel in wheels), sum(map(_initial_exec, reports)), findings, imported, error)


def _initial_exec(report: Report) -> int:
    return sum(m.shared_object.initial_exec.count for m in report.modules if m.kind == "shared")


def _run(words: Sequence[str], folder: Path) -> str:
    """Run a command; the last line that it said where it failed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TLS_WHEEL_GUARD_")}
    try:
        done = subprocess.run(  # noqa: S603  (the project's own build, asked for by its author)
            words, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{words[0]}: {error}"
    if not done.returncode:
        return ""
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    # The last line is often only a hint to look further up.
    errors = [line for line in said if _ERROR.search(line)] or said
    return f"exit code {done.returncode}: {errors[-1] if errors else 'no message'}"


def _import(wheels: Sequence[Path], reports: Sequence[Report], recipe: Recipe, out: Path) -> tuple[tuple[str, ...], str]:
    """Import the extension modules of the wheels, installed into a folder with what they need, in a process of its own."""
    names = tuple(dict.fromkeys(name for report in reports for name in _modules(report)))
    site = out.parent / "site"
    error = _run([recipe.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(site), *map(str, wheels)], out)
    if error:
        return (), f"the wheel can't be installed: {error}"
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import importlib; [importlib.import_module(n) for n in {list(names)!r}]\n{recipe.test}"
    )
    return names, _run([recipe.python, "-c", code], out)


def _modules(report: Report) -> Iterator[str]:
    """The modules of a wheel with native code, as Python imports them; a library that is no module stands for its package."""
    for module in report.modules:
        if module.kind != "shared" or ".libs/" in module.path or ".data/" in module.path:
            continue
        folders, _, name = module.path.rpartition("/")
        stem = name.partition(".")[0]
        parts = [*folders.split("/"), stem] if folders else [stem]
        named = parts if not stem.startswith("lib") else parts[:-1]
        if named and all(part.isidentifier() for part in named):
            yield ".".join(named)
