"""One rewritten build: its temporary folder, its environment, and the folders in which nothing old lies.

Everything is proved before the build starts: each compiler that the environment names compiles a test that insists on
initial-exec. One that the environment alone does not reach is put behind a script; one that the script does not reach either
is refused, before anything is built.
"""

from __future__ import annotations

import configparser
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tls_wheel_guard.build_guard.rewrite.compilers import LAUNCHERS, Compiler, ask, named_compilers, specs_in_use
from tls_wheel_guard.build_guard.rewrite.own_folder import own_folder
from tls_wheel_guard.build_guard.rewrite.settings import changes, setuptools_settings, specs, wrapper
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import UsageError, reason_of

__all__ = ["Rebuilding", "rewritten"]

PREFIX = "tls-wheel-guard-"
X86 = frozenset({"x86_64", "amd64", "i386", "i486", "i586", "i686"})
"""Machines, as systems call them, whose gcc knows -mtls-dialect=gnu."""
NO_STATIC_TLS = frozenset({"win32", "cygwin", "darwin", "emscripten"})
"""Systems (sys.platform) whose own wheels have no ELF modules: nothing to rewrite."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_./+@=-]+")
"""A folder's name that make, sh, libtool and lists with colons can all carry."""
CROSS_NAME = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+){1,3}-(?:gcc|g\+\+|cc|c\+\+|gfortran)")
"""A GNU compiler for another machine, as the cc crate and toolchain files look it up on PATH: ``aarch64-linux-gnu-gcc``."""


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """A rewritten build that is under way.

    ``folder``: ours, gone at the end. ``changes``: the variables that are set for it. ``target``: cargo's own folder.
    ``usual_target``: the one it stands for. ``started``: seconds since 1970; what is older was not made by this build.
    """

    folder: Path
    changes: Mapping[str, str]
    target: Path
    usual_target: Path
    started: float

    @property
    def trees(self) -> tuple[Path, ...]:
        """The folders of ours that hold what was compiled."""
        return (self.target, self.folder)


@contextmanager
def rewritten(config: Config, environment: MutableMapping[str, str]) -> Iterator[Rebuilding | None]:
    """With ``action = "rewrite"`` the environment of the build, set in ``environment`` until the end; else None.

    Raises UsageError where a compiler or the temporary folder can't be used.
    """
    if config.action != "rewrite" or sys.platform in NO_STATIC_TLS:
        yield None
        return
    before = dict(environment)
    usual = _target_folder(before)
    with _temporary_folder() as folder, own_folder(usual) as target:
        try:
            settings = {} if _is_rewritten(before) else _settings(before, folder, target)
        except OSError as error:
            raise UsageError(f"{folder}: it can't be written: {reason_of(error)}", hint="free some space, or set TMPDIR") from error
        rebuilding = Rebuilding(folder, settings, target, usual, time.time())
        environment.update(settings)
        try:
            yield rebuilding
        finally:
            for name in settings:
                if name in before:
                    environment[name] = before[name]
                else:
                    environment.pop(name, None)


def _is_rewritten(environment: Mapping[str, str]) -> bool:
    """Whether this build runs inside another rewritten one, as a setuptools build under `tls-wheel-guard build --` does."""
    folder = environment.get("LIBRARY_PATH", "").partition(":")[0]
    return Path(folder).name.startswith(PREFIX) and Path(folder, "specs").is_file()


def _target_folder(environment: Mapping[str, str]) -> Path:
    """Cargo's target folder here: a workspace or a configuration file may have moved it, so cargo is asked."""
    named = environment.get("CARGO_TARGET_DIR") or environment.get("CARGO_BUILD_TARGET_DIR")
    if named is None and Path("Cargo.toml").is_file():
        command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
        try:
            done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
            named = json.loads(done.stdout)["target_directory"]
        except (OSError, subprocess.SubprocessError, ValueError, KeyError):
            named = None  # the build will say what is wrong
    return Path.cwd() / (named or "target")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder whose name every tool can carry, and whose scripts can be started; raises UsageError."""
    tried = []
    for parent in dict.fromkeys([_configured_folder(), "/tmp", "/var/tmp", str(Path.cwd())]):  # noqa: S108  (the fallback of tempfile too)
        if not parent:
            continue
        try:
            stack = ExitStack()
            path = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True))
        except OSError as error:
            tried.append(f"{parent}: {reason_of(error)}")
            continue
        with stack:
            if not PLAIN_NAME.fullmatch(path):
                tried.append(f"{parent}: its name has characters that make and sh split at")
            elif os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0):
                tried.append(f"{parent}: mounted noexec")
            else:
                yield Path(path)
                return
    raise UsageError(f"no folder for temporary files can be used ({'; '.join(tried)})", hint="set TMPDIR to a folder that can be written")


def _configured_folder() -> str | None:
    try:
        return tempfile.gettempdir()
    except OSError:
        return None


def _settings(before: Mapping[str, str], folder: Path, target: Path) -> dict[str, str]:
    """The variables to set, proved on the compilers that are named; raises UsageError where one can't be reached."""
    (folder / "specs").write_text(specs(specs_in_use(before), x86=platform.machine() in X86), encoding="utf-8", errors="surrogateescape")
    (folder / "setup.cfg").write_text(_setuptools_settings(before, folder), encoding="utf-8")
    named = named_compilers(before)
    settings = changes(before, str(folder), str(target))
    plain = changes(before, str(folder), str(target), quiet=False)
    answers = [ask(compiler, {**before, **settings}, folder) for compiler in named]
    if any(
        answer == "none" and ask(compiler, {**before, **plain}, folder) == "global-dynamic"
        for compiler, answer in zip(named, answers, strict=True)
    ):
        settings = plain
        answers = [ask(compiler, {**before, **settings}, folder) for compiler in named]
    settings.update(_cross_compilers(before, folder))
    for number, (compiler, answer) in enumerate(zip(named, answers, strict=True)):
        environment = {**before, **settings}
        if answer != "global-dynamic" and ask(compiler, environment, folder) != "global-dynamic":
            settings.update(_wrapped(compiler, environment, folder, number))
    return settings


def _setuptools_settings(before: Mapping[str, str], folder: Path) -> str:
    theirs = before.get("DIST_EXTRA_CONFIG")
    try:
        return setuptools_settings(str(folder), Path(theirs).read_text(encoding="utf-8") if theirs else "")
    except (OSError, ValueError, configparser.Error) as error:
        raise UsageError(f"DIST_EXTRA_CONFIG={theirs}: it can't be read: {error}".replace("\n", " "), hint="correct it, or unset it") from error


def _cross_compilers(before: Mapping[str, str], folder: Path) -> dict[str, str]:
    """PATH with scripts in front for the cross compilers on it, which builds look up by the target's name."""
    scripts = folder / "path"
    search = before.get("PATH", os.defpath)
    native = {Path(found).resolve() for name in ("gcc", "g++", "gfortran") if (found := shutil.which(name, path=search))}
    for place in search.split(os.pathsep):
        try:
            names = sorted(name for name in os.listdir(place or ".") if CROSS_NAME.fullmatch(name))  # noqa: PTH208  (names, not paths)
        except OSError:
            continue
        for name in names:
            program = Path(place, name)
            # A link to ccache looks for the compiler on PATH, and would find the script again.
            if program.resolve() not in native and program.resolve().name not in LAUNCHERS and os.access(program, os.X_OK):
                _write_script(scripts / name, str(program.absolute()), overwrite=False)
    return {"PATH": f"{scripts}{os.pathsep}{search}"} if scripts.is_dir() else {}


def _write_script(path: Path, compiler: str, *, overwrite: bool = True) -> None:
    if path.exists() and not overwrite:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wrapper(compiler), encoding="utf-8", errors="surrogateescape")
    path.chmod(0o755)


def _wrapped(compiler: Compiler, environment: Mapping[str, str], folder: Path, number: int) -> dict[str, str]:
    """The variable with a script in the compiler's place; raises UsageError where that does not help either."""
    program = compiler.program
    name = compiler.variable or compiler.kind
    if program is None:
        if compiler.variable is None:
            return {}
        raise UsageError(f"{compiler}: there is no such program", hint=f"correct {name}, or install it")
    script = folder / "compilers" / str(number) / Path(program).name
    _write_script(script, program)
    through = compiler.through(str(script))
    answer = ask(through, environment, folder)
    if answer == "global-dynamic":
        return {name: through.text()}
    if compiler.variable is None and answer == "none":
        # It can't compile thread-local variables at all, and perhaps nobody asks it to.
        return {}
    why = "it keeps initial-exec against -ftls-model=global-dynamic" if answer == "initial-exec" else "it compiles no test for gcc and clang"
    raise UsageError(f"{compiler}: {why}, so the build can't be rewritten", hint='use gcc or clang, or action = "fail"')
