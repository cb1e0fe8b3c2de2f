"""What rewriting can't cure or must not: the build fails, says why and what to do, and what can't be built with is refused first."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.modules import INITIAL_EXEC
from tests.support.projects import REWRITE_COMMAND, add_table, run
from tests.support.readelf import initial_exec
from tests.support.toolchain import require
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import check_wheel
from tls_wheel_guard.build_guard.rewrite.remaining import explain_leftovers

pytestmark = pytest.mark.compiler

IE = "-ftls-model=initial-exec"
FILES = {
    "own.c": "static __thread int x;\nint *f(void);\nint *f(void) { return &x; }\n",
    "foreign.c": "extern __thread int y;\nint *g(void);\nint *g(void) { return &y; }\n",
    "defines.c": "__thread int y = 3;\n",
    "calls.c": "int *f(void);\nint *h(void);\nint *h(void) { return f(); }\n",
    "asm.s": (
        ".globl f\nf: movq x@gottpoff(%rip), %rax\naddq %fs:0, %rax\nret\n"
        '.section .tbss,"awT",@nobits\n.globl x\nx: .zero 4\n.section .note.GNU-stack,"",@progbits\n'
    ),
    "allocates.c": (
        "#include <stddef.h>\nstatic __thread char *next; static __thread char pool[4096];\n"
        "void *malloc(size_t n) { if (!next) next = pool; next += n; return next - n; }\nvoid free(void *p) { (void)p; }\n"
    ),
    "deaf": '#!/bin/sh\nexec env -i PATH="$PATH" gcc "$@"\n',
    "stubborn": (
        '#!/bin/sh\nfor word do case $word in -*=global-dynamic | -D*tls_model*) ;; *) set -- "$@" "$word" ;; esac; shift; done\n'
        'exec env -i PATH="$PATH" gcc "$@"\n'
    ),
    "cl.exe": "#!/bin/sh\necho 'cl : Command line error D8021' >&2\nexit 2\n",
}
X86_64 = platform.machine() == "x86_64"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the sources."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def rewrite(folder: Path, script: str, **environment: str) -> tuple[int, str]:
    """Run a script under the rewriting command; the exit code and all that was said, but that there is no wheel."""
    code, output = run([*REWRITE_COMMAND, "sh", "-ec", script], folder, environment)
    return code, "\n".join(line for line in output.splitlines() if "no wheel found" not in line)


PREBUILT = f"gcc -fPIC {IE} -c own.c -o old.o && ar rcs libold.a old.o"
LINK_OLD = "gcc -shared -fPIC -o m.so calls.c libold.a"
LEFT = {
    # what is there before the build; the build; why initial-exec is left; what to do
    "assembler": (
        "true",
        "gcc -c asm.s -o asm.o && gcc -shared -o m.so asm.o",
        "asm.o was written in assembler",
        "choose the variant in C",
    ),
    "archive": (PREBUILT, LINK_OLD, "libold.a(old.o) was compiled before this build", "-ftls-model=global-dynamic"),
    "old-object": (
        f"gcc -fPIC {IE} -c own.c",
        "make own.o >/dev/null; gcc -shared -o m.so own.o",
        "own.o is left from an earlier build",
        "remove the products",
    ),
    "no-fPIC": (
        "true",
        "gcc -fPIE -c foreign.c && gcc -fPIC -c defines.c && gcc -shared -o m.so foreign.o defines.o",
        "foreign.o was compiled without -fPIC",
        "POSITION_INDEPENDENT_CODE",
    ),
    "unreached": (
        "true",
        f"./deaf -fPIC {IE} -c own.c && gcc -shared -o m.so own.o",
        "own.o was compiled out of reach of the settings (GCC: (",
        "CC and CXX",
    ),
    "elsewhere": (
        f"{PREBUILT}; rm old.o; mv libold.a $OUTSIDE",
        "gcc -shared -fPIC -o m.so calls.c $OUTSIDE/libold.a",
        "a static library of the system",
        "-Wl,-Map=FILE",
    ),
}


@pytest.mark.parametrize("case", [pytest.param(n, marks=pytest.mark.skipif(n == "assembler" and not X86_64, reason="x86_64")) for n in LEFT])
def test_why_it_is_left(case: str, project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before, script, why, hint = LEFT[case]
    outside = {"OUTSIDE": str(tmp_path_factory.mktemp("outside"))}
    code, output = run(["sh", "-ec", before], project, outside)
    assert code == 0, output
    code, output = rewrite(project, script, **outside)
    last = output.splitlines()[-1]
    assert code == 1, output
    assert last.startswith("tls-wheel-guard: m.so is not released: initial-exec is left in "), output
    assert why in last
    assert hint in last.split("; hint: ")[1]


def test_a_library_of_the_system_that_was_copied_in(project: Path) -> None:
    make_wheel(project, {"pkg/_m.so": INITIAL_EXEC, "pkg.libs/libgomp-24e2ab19.so.1.0.0": INITIAL_EXEC}, name="made")
    code, output = rewrite(project, "mkdir dist; cp made-*.whl dist")
    assert code == 1
    first, last = output.splitlines()[-2:]
    assert first.startswith("initial-exec is left in pkg.libs/libgomp-24e2ab19.so.1.0.0: it was copied into the wheel from the system")
    assert "auditwheel repair --exclude 'libgomp*'" in first
    assert "initial-exec is left in pkg/_m.so and 1 more: " in last


def test_go_is_named_by_its_note(project: Path) -> None:
    (project / "libgo.so").write_bytes(INITIAL_EXEC)
    (module,) = check_wheel(project / "libgo.so").modules
    (left,) = explain_leftovers([replace(module, shared_object=replace(module.shared_object, note_owners=("Go",)))], [], 0)
    assert "Go's own linker" in left.why


def test_never_fail_still_tells(project: Path) -> None:
    (project / "pyproject.toml").write_text("")
    add_table(project, 'fail-on = "never"')
    assert run(["sh", "-ec", PREBUILT], project)[0] == 0
    code, output = rewrite(project, LINK_OLD)
    assert code == 0
    assert "initial-exec is left in" in output.splitlines()[-1]


def test_what_the_user_allows_is_no_failure(project: Path) -> None:
    (project / "pyproject.toml").write_text("")
    add_table(project, '[[tool.tls-wheel-guard.allow]]\nrule = "initial-exec-tls"\nmodule = "*m.so"\nreason = "only glibc"')
    assert run(["sh", "-ec", PREBUILT], project)[0] == 0
    assert rewrite(project, LINK_OLD)[0] == 0


def test_an_allocator_that_stands_in_for_the_systems_is_refused(project: Path) -> None:
    script = "gcc -shared -fPIC -o libpool.so allocates.c"
    code, output = rewrite(project, script)
    assert code == 1
    (line,) = output.splitlines()
    assert "libpool.so exports malloc and free" in line
    assert 'hint: build without rewrite (action = "fail"), or allow it by name: rule = "rewritten-interposer"' in line
    (project / "pyproject.toml").write_text("")
    add_table(project, '[[tool.tls-wheel-guard.allow]]\nrule = "rewritten-interposer"\nmodule = "*libpool.so"\nreason = "never calls the loader"')
    assert rewrite(project, script)[0] == 0
    # The same name hidden is nobody's allocator.
    (project / "pyproject.toml").unlink()
    assert rewrite(project, f"{script} -fvisibility=hidden")[0] == 0


# ---- compilers


def test_a_compiler_that_our_variables_do_not_reach_is_put_behind_a_script(project: Path) -> None:
    script = f"$CC -fPIC {IE} -c own.c && gcc -shared -o m.so own.o && echo cc=$CC"
    code, output = rewrite(project, script, CC=f"{project}/deaf -DX=1")
    assert code == 0, output
    assert initial_exec(project / "m.so") == (0, 1)
    assert output.splitlines()[0].endswith("/deaf -DX=1")


@pytest.mark.parametrize(
    "compiler",
    ["gcc -pthread -DX='a b'", "ccache gcc", "env A=b gcc -O2", "{blank}", 'clang-19 -DY="q"', "nice -n 5 gcc"],
    ids=lambda c: c.split()[0],
)
def test_compilers_with_arguments_launchers_and_blanks(compiler: str, project: Path) -> None:
    for tool in ("ccache", "clang-19"):
        if tool in compiler:
            require(tool)
    blank = project / """it's a "folder" """.strip() / "gcc"
    blank.parent.mkdir()
    blank.symlink_to(require("gcc"))
    script = f'eval "$RUN -fPIC {IE} -c own.c" && gcc -shared -o m.so own.o'
    value = compiler.format(blank=blank)
    run_as = '"$CC"' if "{blank}" in compiler else value
    code, output = rewrite(project, script, CC=value, RUN=run_as, CCACHE_DIR=str(project / "cache"))
    assert code == 0, output
    assert initial_exec(project / "m.so") == (0, 1)


def test_a_cross_compiler_behind_a_link_to_ccache(project: Path) -> None:
    """Debian's /usr/lib/ccache: the link looks for the next compiler of its name on PATH."""
    require("aarch64-linux-gnu-gcc")
    (project / "masquerade").mkdir()
    (project / "masquerade" / "aarch64-linux-gnu-gcc").symlink_to(require("ccache"))
    path = f"{project / 'masquerade'}:{os.environ['PATH']}"
    script = f"aarch64-linux-gnu-gcc -fPIC {IE} -c own.c && aarch64-linux-gnu-gcc -shared -nostdlib -o m.so own.o"
    for named in ({}, {"CC": "aarch64-linux-gnu-gcc"}):
        code, output = rewrite(project, script, PATH=path, CCACHE_DIR=str(project / "cache"), **named)
        assert code == 0, output
        assert initial_exec(project / "m.so")[0] == 0


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("./cl.exe", "CC=./cl.exe: it compiles no test for gcc and clang, so the build can't be rewritten; hint: use gcc or clang"),
        ("./stubborn", "CC=./stubborn: it keeps initial-exec against -ftls-model=global-dynamic, so the build can't be rewritten; hint:"),
        ("cl.exe", "CC=cl.exe: there is no such program; hint: correct CC"),
        ("'", "CC=': there is no such program"),
        ("tcc", "CC=tcc: it "),
    ],
)
def test_a_compiler_that_cannot_be_reached_is_refused_before_the_build(compiler: str, message: str, project: Path) -> None:
    if compiler == "tcc":
        require("tcc")
    code, output = rewrite(project, "touch started", CC=compiler.replace("./", f"{project}/"))
    assert code == 2, output
    (line,) = output.splitlines()
    assert message.replace("./", f"{project}/") in line
    assert not (project / "started").exists()


def test_a_default_compiler_that_is_missing_concerns_only_who_compiles(project: Path) -> None:
    (project / "bin").mkdir()
    (project / "bin" / "sh").symlink_to("/bin/sh")
    make_wheel(project, {"pkg/__init__.py": b""}, "py3-none-any", name="pure")
    code, output = run([*REWRITE_COMMAND, "sh", "-ec", "/bin/mkdir dist; /bin/cp pure-*.whl dist"], project, {"PATH": str(project / "bin")})
    assert code == 0, output


# ---- the temporary folder


@pytest.mark.parametrize("name", ["with blanks", "quo'te", "colon:colon", "no-such-folder"])
def test_a_temporary_folder_that_some_tool_cannot_carry(name: str, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    if name != "no-such-folder":
        folder.mkdir()
    code, output = rewrite(project, f"gcc -fPIC {IE} -shared -o m.so own.c && echo $LIBRARY_PATH", TMPDIR=str(folder))
    assert code == 0, output
    assert name not in output
    assert initial_exec(project / "m.so") == (0, 1)


def test_no_temporary_folder_at_all_is_one_line(project: Path) -> None:
    lines = "import sys, tempfile\ndef no(*a, **k):\n    raise OSError(30, 'Read-only file system')\ntempfile.TemporaryDirectory.__init__ = no\n"
    main = f"{lines}sys.argv = ['tls-wheel-guard', *sys.argv[1:]]\nfrom tls_wheel_guard.__main__ import main\nsys.exit(main())"
    code, output = run([sys.executable, "-c", main, "build", "--action", "rewrite", "--", "touch", "started"], project)
    assert code == 2, output
    (line,) = output.splitlines()
    assert "no folder for temporary files can be used (" in line
    assert "Read-only file system" in line
    assert "hint: set TMPDIR to a folder that can be written" in line
    assert not (project / "started").exists()


def test_nothing_of_ours_is_left_in_the_temporary_folder(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    assert rewrite(project, "gcc -fPIC -shared -o m.so own.c", TMPDIR=str(folder))[0] == 0
    assert rewrite(project, "exit 7", TMPDIR=str(folder))[0] == 7
    assert not list(folder.iterdir())
