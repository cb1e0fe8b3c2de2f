"""``action = "rewrite"`` against every order of flags: the project insists on initial-exec, and none is left."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import REWRITE_COMMAND, run
from tests.support.readelf import initial_exec
from tests.support.routes import CLANG, ROUTES, Route
from tests.support.toolchain import require

pytestmark = pytest.mark.compiler

CASES = [(name, "gcc") for name in ROUTES] + [(name, "clang-19") for name in CLANG]
MARKED = [pytest.param(*case, marks=[pytest.mark.network] * ROUTES[case[0]].fetches) for case in CASES]
EXECUTABLE = platform.machine() == "x86_64"


def environment(compiler: str, folder: Path) -> dict[str, str]:
    """CC, CXX and a linker that reads its bitcode for clang; nothing for gcc, which is what everything finds by itself."""
    clang = {"CC": require(compiler), "CXX": require(compiler.replace("clang", "clang++")), "CLANG_LTO": "-fuse-ld=lld"}
    return {**({} if compiler == "gcc" else clang), "CARGO_TARGET_DIR": str(folder / "target")}


def build_both(route: Route, compiler: str, tmp_path: Path) -> tuple[tuple[int, int], tuple[int, int], str]:
    """A route's product from a plain and from a rewritten build, in two copies of the project."""
    results = []
    output = ""
    shutil.copytree(route.write(tmp_path / "plain"), tmp_path / "rewritten")
    for name in ("plain", "rewritten"):
        folder = tmp_path / name
        command = ["sh", "-ec", route.command]
        code, output = run(command if name == "plain" else [*REWRITE_COMMAND, *command], folder, environment(compiler, tmp_path / name))
        assert code == 0, output
        results.append(initial_exec(folder / "libout.so"))
    return results[0], results[1], output


@pytest.mark.parametrize(("name", "compiler"), MARKED)
def test_rewrite_beats_every_order(name: str, compiler: str, tmp_path: Path) -> None:
    plain, rewritten, output = build_both(ROUTES[name], compiler, tmp_path)
    assert plain[0] > 0, f"the control does not insist on initial-exec: {plain}"
    assert rewritten[0] == 0, output
    assert rewritten[1] > 0
    left = {path.name for path in (tmp_path / "rewritten").rglob("*rewrite*")}
    assert not left, left
    if EXECUTABLE and name not in ("musl", "cross", "fortran") and "crate" not in name:
        library = ctypes.CDLL(str(tmp_path / "rewritten" / "libout.so"))
        assert [library.next_count() for _ in range(3)] == [1, 2, 3]


def test_other_linkers_change_nothing(tmp_path: Path) -> None:
    route = ROUTES["make-flag-last"]
    for linker, tool in (("lld", "ld.lld-19"), ("mold", "mold"), ("gold", "ld.gold")):
        require(tool)
        folder = route.write(tmp_path / linker)
        programs = tmp_path / f"bin-{linker}"
        programs.mkdir()
        (programs / f"ld.{linker}").symlink_to(require(tool))
        linking = route.command + f" CC='gcc -fuse-ld={linker}'"
        code, output = run([*REWRITE_COMMAND, "sh", "-ec", linking], folder, {"PATH": f"{programs}:{os.environ['PATH']}"})
        assert code == 0, output
        assert initial_exec(folder / "libout.so")[0] == 0


def test_a_variable_of_another_library_is_the_right_one(tmp_path: Path) -> None:
    """local-dynamic in place of global-dynamic would read the wrong variable here, without a word from the linker."""
    (tmp_path / "one.c").write_text("__thread int foreign = 4242;\n")
    (tmp_path / "two.c").write_text("extern __thread int foreign;\n__thread int own = 7;\nint f(void); int f(void) { return foreign + own; }\n")
    script = "gcc -fPIC -shared -o libone.so one.c && gcc -fPIC -shared -ftls-model=local-dynamic -o libtwo.so two.c -L. -lone -Wl,-rpath,$PWD"
    code, output = run([*REWRITE_COMMAND, "sh", "-ec", script], tmp_path)
    assert code == 0, output
    statement = f"import ctypes; assert ctypes.CDLL({str(tmp_path / 'libtwo.so')!r}).f() == 4249"
    subprocess.run([sys.executable, "-c", statement], check=True)
