"""Caches of objects: neither build gets the other's, and each gets its own again."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.projects import REWRITE_COMMAND, run
from tests.support.readelf import initial_exec
from tests.support.toolchain import require

pytestmark = pytest.mark.compiler

IE = "-ftls-model=initial-exec"


@pytest.fixture
def sccache(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server of its own, stopped at the end."""
    require("sccache")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"SCCACHE_DIR": str(tmp_path / "sccache"), "SCCACHE_SERVER_PORT": str(port), "SCCACHE_IDLE_TIMEOUT": "60"}
    # The client waits ten seconds for the server, which a busy machine may not keep; then it is there for the next try.
    for _ in range(6):
        if run(["sccache", "--start-server"], tmp_path, variables)[0] == 0 or run(["sccache", "--show-stats"], tmp_path, variables)[0] == 0:
            break
    yield variables
    run(["sccache", "--stop-server"], tmp_path, variables)


def build(folder: Path, script: str, environment: dict[str, str], *, rewritten: bool) -> int:
    """Initial-exec relocations of one more build in the same folder."""
    for path in ("x.o", "m.so"):
        (folder / path).unlink(missing_ok=True)
    code, output = run([*(REWRITE_COMMAND if rewritten else []), "sh", "-ec", script], folder, environment)
    assert code == 0, output
    return initial_exec(folder / "m.so")[0]


def alternate(folder: Path, launcher: str, compiler: str, environment: dict[str, str]) -> list[int]:
    """Plain, rewritten, plain, rewritten; nothing in the source or on the command line differs."""
    (folder / "x.c").write_text("static __thread int x;\nint *f(void);\nint *f(void) { return &x; }\n")
    script = f"{launcher} {compiler} -fPIC {IE} -c x.c -o x.o && {compiler} -shared -o m.so x.o"
    return [build(folder, script, environment, rewritten=rewritten) for rewritten in (False, True, False, True)]


@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
def test_ccache(compiler: str, tmp_path: Path) -> None:
    require("ccache")
    require(compiler)
    environment = {"CCACHE_DIR": str(tmp_path / "ccache")}
    assert alternate(tmp_path, "ccache", compiler, environment) == [1, 0, 1, 0]
    statistics = run(["ccache", "--print-stats"], tmp_path, environment)[1]
    hits = sum(int(line.split()[1]) for line in statistics.splitlines() if line.startswith(("direct_cache_hit", "preprocessed_cache_hit")))
    assert hits == 2


@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
def test_sccache(compiler: str, tmp_path: Path, sccache: dict[str, str]) -> None:
    require(compiler)
    assert alternate(tmp_path, "sccache", compiler, sccache) == [1, 0, 1, 0]


def test_cargos_target_folder(tmp_path: Path) -> None:
    """cargo would not compile again: nothing that it watches has changed."""
    require("cargo")
    (tmp_path / "Cargo.toml").write_text(
        '[package]\nname = "out"\nversion = "1.0.0"\nedition = "2018"\n[lib]\ncrate-type = ["cdylib"]\npath = "lib.rs"\n[workspace]\n'
    )
    (tmp_path / "lib.rs").write_text(
        '#[link(name = "x", kind = "static")] extern "C" { fn f() -> *mut i32; }\n'
        '#[no_mangle] pub extern "C" fn g() -> *mut i32 { unsafe { f() } }\n'
    )
    (tmp_path / "x.c").write_text("static __thread int x;\nint *f(void);\nint *f(void) { return &x; }\n")
    (tmp_path / "build.rs").write_text(
        'use std::process::Command;\nfn main() { let out = std::env::var("OUT_DIR").unwrap();\n'
        f'  let script = format!("gcc -fPIC {IE} -c x.c -o {{0}}/x.o && ar rcs {{0}}/libx.a {{0}}/x.o", out);\n'
        '  assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());\n'
        '  println!("cargo:rustc-link-search=native={}", out); println!("cargo:rerun-if-changed=x.c"); }\n'
    )
    copy = "cp ${CARGO_TARGET_DIR:-target}/debug/libout.so m.so"
    for rewritten in (False, True, False):
        assert (build(tmp_path, f"cargo build -q --offline && {copy}", {}, rewritten=rewritten) == 0) == rewritten
    assert not list(tmp_path.glob("target/*rewrite*"))


def test_user_values_are_kept(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("mine")
    environment = {"CCACHE_EXTRAFILES": str(own), "SCCACHE_C_CUSTOM_CACHE_BUSTER": "mine", "LIBRARY_PATH": "/opt/one:/opt/two"}
    script = "gcc -shared -fPIC -o m.so -xc /dev/null; echo $CCACHE_EXTRAFILES $SCCACHE_C_CUSTOM_CACHE_BUSTER $LIBRARY_PATH"
    code, output = run([*REWRITE_COMMAND, "sh", "-ec", script], tmp_path, environment)
    assert code == 0, output
    files, buster, path = next(line for line in output.splitlines() if line.startswith(str(own))).split()
    assert files.startswith(f"{own}:")
    assert buster.startswith("mine-")
    assert path.endswith(":/opt/one:/opt/two")


def test_a_specs_file_of_another_tool_still_counts(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "specs").write_text("*cpp_unique_options:\n+ -DTHEIRS %{unused}\n\n")
    (tmp_path / "x.c").write_text("#ifndef THEIRS\n#error lost\n#endif\nstatic __thread int x;\nint *f(void);\nint *f(void) { return &x; }\n")
    environment = {"LIBRARY_PATH": str(tmp_path / "theirs")}
    assert subprocess.run(["gcc", "-c", "x.c"], cwd=tmp_path, capture_output=True, check=False).returncode != 0
    assert build(tmp_path, f"gcc -fPIC {IE} -shared -o m.so x.c", environment, rewritten=True) == 0
