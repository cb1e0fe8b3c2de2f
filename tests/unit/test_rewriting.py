"""The settings as text, the script in a compiler's place, the reader of object files, the question asked of compilers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.toolchain import COMPILERS, SOURCES, compile_shared, require
from tls_wheel_guard.build_guard.rewrite.compilers import Compiler, ask, named_compilers
from tls_wheel_guard.build_guard.rewrite.environment import rewritten
from tls_wheel_guard.build_guard.rewrite.settings import OPTIONS, changes, specs, wrapper
from tls_wheel_guard.config.fields import allow_from_option
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.config.sources import from_toml
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.relocatable import INITIAL_EXEC, initial_exec_objects
from tls_wheel_guard.errors import ConfigError

# ---- settings


def test_what_is_set_is_added_to() -> None:
    before = {"LIBRARY_PATH": "/a:/b", "CCC_OVERRIDE_OPTIONS": "x-g +-O1", "CCACHE_EXTRAFILES": "/x", "SCCACHE_C_CUSTOM_CACHE_BUSTER": "v1"}
    settings = changes(before, "/ours", "/target")
    assert settings["LIBRARY_PATH"] == "/ours:/a:/b"
    assert settings["CCC_OVERRIDE_OPTIONS"].startswith(
        "x-g +-O1 s/^-mtls-dialect=gnu2$/-mtls-dialect=gnu/ +--start-no-unused-arguments +-ftls-model=global-dynamic "
    )
    assert settings["CCACHE_EXTRAFILES"] == "/x:/ours/specs"
    assert settings["SCCACHE_C_CUSTOM_CACHE_BUSTER"].startswith("v1-")


def test_no_flag_variable_is_touched() -> None:
    names = set(changes({}, "/ours", "/target"))
    assert not {name for name in names if "FLAGS" in name or name in ("CC", "CXX", "FC", "LDSHARED")}


def test_local_dynamic_is_nowhere() -> None:
    texts = [specs(), wrapper("gcc"), *OPTIONS, *changes({}, "/ours", "/target").values()]
    assert not [text for text in texts if "local-dynamic" in text]


def test_clang_before_14_gets_no_option_that_it_does_not_know() -> None:
    assert "unused-arguments" not in changes({}, "/ours", "/target", quiet=False)["CCC_OVERRIDE_OPTIONS"]


@pytest.mark.compiler
def test_the_action_decides_and_the_environment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for config in (Config(action="fail"), Config(action="warn")):
        environment = {"PATH": "/usr/bin:/bin"}
        with rewritten(config, environment) as nothing:
            assert nothing is None
            assert environment == {"PATH": "/usr/bin:/bin"}
    before = {"PATH": "/usr/bin:/bin", "LIBRARY_PATH": "/a"}
    environment = dict(before)
    with rewritten(Config(action="rewrite"), environment) as rebuilding:
        assert rebuilding is not None
        assert Path(environment["LIBRARY_PATH"].split(":")[0], "specs").is_file()
    assert environment == before
    assert not rebuilding.folder.exists()


# ---- the script


@pytest.mark.parametrize(
    ("words", "compiles"),
    [
        (["-c", "x.c", "-o", "x.o"], True),
        (["-o", "x.so", "-shared", "x.cpp"], True),
        (["-E", "-"], True),
        (["@response"], True),
        (["f.F90", "-shared"], True),
        (["-shared", "-o", "x.so", "x.o", "-lm"], False),
        (["--version"], False),
        ([], False),
        (["-DA='b c'", "-c", "a b.c", "$HOME", "*", '"'], True),
    ],
)
def test_the_script_adds_only_where_it_compiles_and_keeps_every_word(words: list[str], compiles: bool, tmp_path: Path) -> None:
    real = tmp_path / """it's a "compiler" """.strip()
    real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    real.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(wrapper(str(real)))
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, str(script), *words], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 3
        assert done.stdout.splitlines() == ([*words, *OPTIONS] if compiles else words or [""])


# ---- object files


def compiled(machine: str, folder: Path, *flags: str) -> bytes:
    compiler = COMPILERS[machine]
    require(compiler[0])
    output = folder / "x.o"
    subprocess.run([*compiler, "-c", "-O1", *flags, str(SOURCES / "models.c"), "-o", str(output)], check=True, capture_output=True)
    return output.read_bytes()


MACHINES = ("x86_64", "i386", "aarch64", "arm", "ppc64le", "ppc64", "s390x", "riscv64", "loongarch64")


@pytest.mark.compiler
@pytest.mark.parametrize("machine", MACHINES)
def test_object_files_of_every_machine_of_the_table(machine: str, tmp_path: Path) -> None:
    (found,) = initial_exec_objects(compiled(machine, tmp_path, "-fPIC", "-ftls-model=initial-exec"))
    assert found.own
    assert found.member is None
    assert any(("clang" if machine == "loongarch64" else "GCC") in line for line in found.compilers)
    assert list(initial_exec_objects(compiled(machine, tmp_path, "-fPIC", "-ftls-model=initial-exec", *OPTIONS))) == []


@pytest.mark.compiler
@pytest.mark.parametrize("machine", COMPILERS)
def test_our_options_behind_the_others_leave_none_on_any_machine(machine: str, tmp_path: Path) -> None:
    flags = ("-ftls-model=initial-exec", *OPTIONS)
    module = read_shared_object(BytesSource(compile_shared(COMPILERS[machine], SOURCES / "models.c", tmp_path / "m.so", *flags)))
    assert module.initial_exec.count == 0
    assert module.dynamic.dtpmod or module.dynamic.tlsdesc


def test_the_table_has_no_machine_without_a_test() -> None:
    assert len(INITIAL_EXEC) == len({"ppc64" if machine == "ppc64le" else machine for machine in MACHINES})


@pytest.mark.compiler
def test_archives_with_long_names(tmp_path: Path) -> None:
    name = "a_name_that_is_longer_than_sixteen_letters.o"
    (tmp_path / name).write_bytes(compiled("x86_64", tmp_path, "-fPIC", "-ftls-model=initial-exec"))
    subprocess.run(["ar", "rcs", "lib.a", name, "x.o"], cwd=tmp_path, check=True)
    assert [found.member for found in initial_exec_objects((tmp_path / "lib.a").read_bytes())] == [name, "x.o"]


@pytest.mark.compiler
def test_broken_object_files_are_passed_over(tmp_path: Path) -> None:
    """The section headers stand at the end: a file that is cut has none, and a header with one wrong byte leads to the same or to nothing."""
    data = compiled("x86_64", tmp_path, "-fPIC", "-ftls-model=initial-exec")
    (whole,) = initial_exec_objects(data)
    for cut in range(0, len(data), 37):
        assert list(initial_exec_objects(data[:cut])) == []
        assert list(initial_exec_objects(b"!<arch>\n" + data[:cut])) == []
    kept = 0
    for place in range(64):
        found = list(initial_exec_objects(data[:place] + b"\xff" + data[place + 1 :]))
        assert len(found) <= 1
        kept += found == [whole]
    assert 0 < kept < 64


# ---- compilers


@pytest.mark.parametrize(
    ("variable", "value", "words", "place"),
    [
        ("CC", "gcc", ("gcc",), 0),
        ("CXX", "ccache g++ -std=c++17", ("ccache", "g++", "-std=c++17"), 1),
        ("CC", "gcc -DX='a b'", ("gcc", "-DX=a b"), 0),
        ("CC_x86_64-unknown-linux-gnu", "gcc", ("gcc",), 0),
        ("TARGET_CC", "env A=b gcc", ("env", "A=b", "gcc"), 2),
        ("CC", "no'such", ("no'such",), 0),
    ],
)
def test_compilers_in_variables(variable: str, value: str, words: tuple[str, ...], place: int) -> None:
    found = named_compilers({variable: value, "CC": value} if variable != "CC" else {"CC": value})
    assert found[0] == Compiler(variable, words, place, "CXX" if "CXX" in variable else "CC")


def test_variables_that_only_look_like_compilers() -> None:
    names = [
        c.variable for c in named_compilers({"CC": "gcc", "CC_SHELL_ESCAPED_FLAGS": "1", "CXX_STD": "CXX17", "CCACHE_DIR": "gcc", "FC": " "})
    ]
    assert names == ["CC"]


@pytest.mark.compiler
def test_the_question_is_answered_by_what_was_compiled(tmp_path: Path) -> None:
    require("gcc")
    require("tcc")
    environment = {"PATH": "/usr/bin:/bin"}
    (tmp_path / "specs").write_text(specs())
    gcc = Compiler(None, ("gcc",), 0, "CC")
    assert ask(gcc, environment, tmp_path) == "initial-exec"
    assert ask(gcc, {**environment, "LIBRARY_PATH": str(tmp_path)}, tmp_path) == "global-dynamic"
    assert ask(Compiler(None, ("false",), 0, "CC"), environment, tmp_path) == "none"
    assert ask(Compiler(None, ("no-such-program",), 0, "CC"), environment, tmp_path) == "none"


@pytest.mark.compiler
def test_a_fortran_compiler_is_asked_in_fortran(tmp_path: Path) -> None:
    require("gfortran")
    fortran = Compiler("FC", ("gfortran",), 0, "FC")
    (tmp_path / "specs").write_text(specs())
    assert ask(fortran, {"PATH": "/usr/bin:/bin"}, tmp_path) == "initial-exec"
    assert ask(fortran, {"PATH": "/usr/bin:/bin", "LIBRARY_PATH": str(tmp_path)}, tmp_path) == "global-dynamic"


# ---- the allowance


def test_an_interposer_can_be_allowed_by_the_rules_name() -> None:
    found = from_toml('[[tool.tls-wheel-guard.allow]]\nmodule = "*"\nrule = "rewritten-interposer"\nreason = "r"\n', "pyproject.toml")
    assert found["allow"][0].rule == "rewritten-interposer"
    assert allow_from_option("*:rewritten-interposer").rule == "rewritten-interposer"
    with pytest.raises(ConfigError) as raised:
        from_toml('[[tool.tls-wheel-guard.allow]]\nmodule = "*"\nrule = "rewriten-interposer"\n', "pyproject.toml")
    assert raised.value.hint == "did you mean 'rewritten-interposer'?"
