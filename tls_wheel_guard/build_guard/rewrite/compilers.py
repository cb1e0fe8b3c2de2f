"""The compilers that a build's environment names, and the one question that counts: does initial-exec survive our settings?

Nothing is concluded from a compiler's name or version. It compiles a few lines that insist on initial-exec, and the result is read.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tls_wheel_guard.errors import UnreadableInput
from tls_wheel_guard.inputs.opening import inspect_file

__all__ = ["LAUNCHERS", "Answer", "Compiler", "ask", "named_compilers", "specs_in_use"]

Answer = Literal["global-dynamic", "initial-exec", "none"]
"""What came out of the test; ``none``: it could not be compiled."""

VARIABLE = re.compile(r"(?:(?:HOST|TARGET|BUILD)_)?(CC|CXX|FC|F77|F90)(?:_[A-Za-z0-9_.-]+)?")
"""As make, CMake, meson, autoconf and the cc crate name compilers: ``CC``, ``TARGET_CXX``, ``CC_aarch64-unknown-linux-gnu``."""
LAUNCHERS = frozenset("ccache sccache distcc icecc cachepot buildcache env nice".split())
"""Programs that start a compiler."""
FORTRAN = frozenset({"FC", "F77", "F90"})

C_TEST = """\
__attribute__((tls_model("initial-exec"))) static __thread int tls_wheel_guard_variable;
int *tls_wheel_guard_test(void);
int *tls_wheel_guard_test(void) { return &tls_wheel_guard_variable; }
"""
FORTRAN_TEST = """\
      subroutine guard(v)
      integer v, x
      common /tlswgv/ x
!$omp threadprivate(/tlswgv/)
      x = x + v
      v = x
      end subroutine
"""
PATIENCE = 60
"""Seconds for one answer; a real compiler needs a tenth of one."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler as a variable names it. ``words``: the command; ``place``: which word is the compiler; ``kind``: CC, CXX, FC, ..."""

    variable: str | None
    words: tuple[str, ...]
    place: int
    kind: str

    @property
    def program(self) -> str | None:
        """The compiler's path, None where there is no such program."""
        return shutil.which(self.words[self.place])

    def through(self, wrapper: str) -> Compiler:
        """The same command with a script in the compiler's place."""
        return replace(self, words=(*self.words[: self.place], wrapper, *self.words[self.place + 1 :]))

    def text(self) -> str:
        """The command as a variable holds it; quoted only where it must be, since make and the cc crate split at blanks."""
        return " ".join(self.words) if all(word.isprintable() and len(word.split()) == 1 for word in self.words) else shlex.join(self.words)

    def __str__(self) -> str:
        command = self.text()
        return f"{self.variable}={command}" if self.variable else command


def named_compilers(environment: Mapping[str, str]) -> list[Compiler]:
    """The compilers that variables name, then the default one where CC is not set: Python's own, and ``cc``."""
    found = [
        compiler
        for variable, value in environment.items()
        if (match := VARIABLE.fullmatch(variable)) and (compiler := _parse(variable, value, match[1])) is not None
    ]
    if not environment.get("CC", "").strip():
        defaults = [c for c in (_parse(None, sysconfig.get_config_var("CC") or "", "CC"), _parse(None, "cc", "CC")) if c and c.program]
        found += {Path(c.program or "").resolve(): c for c in reversed(defaults)}.values()
    return found


def _parse(variable: str | None, value: str, kind: str) -> Compiler | None:
    """A command in a variable; None where it is none, as CC_SHELL_ESCAPED_FLAGS=1 is not."""
    if not value.strip():
        return None
    try:
        # A path with blanks is one word to CMake and to the cc crate; to a shell only with quotes.
        words = (value,) if shutil.which(value) else tuple(shlex.split(value))
    except ValueError:
        words = tuple(value.split())
    place = next((i for i, word in enumerate(words) if Path(word).name not in LAUNCHERS and "=" not in word), len(words) - 1)
    compiler = Compiler(variable, words, place, kind)
    return compiler if variable == kind or variable is None or compiler.program else None


def ask(compiler: Compiler, environment: Mapping[str, str], folder: Path) -> Answer:
    """Have a test compiled and linked in ``folder``, against the flag and the attribute, and read what came out."""
    fortran = compiler.kind in FORTRAN
    source = folder / ("test.f" if fortran else "test.c")
    source.write_text(FORTRAN_TEST if fortran else C_TEST, encoding="ascii")
    output = folder / "test.so"
    output.unlink(missing_ok=True)
    flags = ["-fPIC", "-ftls-model=initial-exec", *(["-fopenmp"] if fortran else []), "-shared", "-nostdlib"]
    command = [*compiler.words, *flags, "-o", output.name, source.name]
    # The cache of a launcher has no business with this.
    quiet = {**environment, "CCACHE_DISABLE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
        if done.returncode or not output.is_file():
            return "none"
        modules = inspect_file(output).modules
    except (OSError, ValueError, subprocess.TimeoutExpired, UnreadableInput):
        return "none"
    if not modules:
        return "none"
    facts = modules[0].facts
    if facts.tls_segment is None:
        return "none"
    return "initial-exec" if facts.initial_exec.count else "global-dynamic"


def specs_in_use(environment: Mapping[str, str]) -> str:
    """The text of the file ``specs`` that gcc reads already: from LIBRARY_PATH, or a distribution's own; "" where there is none."""
    for compiler in named_compilers(environment):
        command = [*compiler.words, "-print-file-name=specs"]
        try:
            done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
            path = Path(done.stdout.strip())
            if done.returncode == 0 and path.is_absolute():
                return path.read_text(encoding="utf-8", errors="surrogateescape")
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
    return ""
