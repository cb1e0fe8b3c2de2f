"""Small projects that insist on initial-exec, one for each way in which a build system orders flags; each makes ``libout.so``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.marks import needs
from tests.support.toolchain import require

IE = "-ftls-model=initial-exec"
C = """\
static __thread int count;
__thread int shared_count;
int next_count(void);
int next_count(void) { shared_count += 2; return ++count; }
"""
ATTRIBUTES = """\
__attribute__((tls_model("initial-exec"))) static __thread int count;
__attribute__((__tls_model__("initial-exec"))) __thread int shared_count;
#ifdef __clang__
#pragma clang attribute push(__attribute__((tls_model("initial-exec"))), apply_to = variable(is_thread_local))
#endif
static __thread int third;
#ifdef __clang__
#pragma clang attribute pop
#endif
int next_count(void);
int next_count(void) { third++; shared_count += 2; return ++count; }
"""
CXX = """\
[[gnu::tls_model("initial-exec")]] static thread_local int count;
extern "C" int next_count() { return ++count; }
"""
FORTRAN = """\
      integer function next_count()
      integer n
      common /counts/ n
!$omp threadprivate(/counts/)
      n = n + 1
      next_count = n
      end function
"""


@dataclass(frozen=True)
class Route:
    """Files of a project, the command that builds ``libout.so``, the tools that this needs, a command that only prepares."""

    files: dict[str, str]
    command: str
    tools: tuple[str, ...] = ()
    prepare: str = "true"

    @property
    def fetches(self) -> bool:
        """Whether the build takes crates from their registry."""
        return "Cargo.toml" in self.files

    def write(self, folder: Path) -> Path:
        """Make the project; skips where a tool is missing."""
        for tool in self.tools:
            require(tool)
        if self.fetches:
            needs("network")
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        subprocess.run(["sh", "-ec", self.prepare], cwd=folder, check=True, capture_output=True)
        return folder


def _cmake(body: str, arguments: str = "") -> Route:
    lists = f"cmake_minimum_required(VERSION 3.18)\nproject(out C)\n{body}\n"
    command = f"cmake -S . -B work -G Ninja {arguments} && cmake --build work && cp work/libout.so ."
    return Route({"CMakeLists.txt": lists, "x.c": C}, command, ("cmake", "ninja"))


def _meson(body: str, arguments: str = "") -> Route:
    files = {"meson.build": f"project('out', 'c')\n{body}\n", "x.c": C}
    # With CC named, meson does not look for a cache of objects on the machine.
    return Route(files, f"export CC=${{CC:-cc}}; meson setup work {arguments} && ninja -C work && cp work/libout.so .", ("meson", "ninja"))


def _automake() -> Route:
    """One library with the flag in AM_CFLAGS, one with it in a variable of its own."""
    configure = (
        "AC_INIT([out],[1.0])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nAM_PROG_AR\nAC_PROG_RANLIB\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n"
    )
    make = (
        f"AM_CFLAGS = -fPIC {IE}\nnoinst_LIBRARIES = libx.a liby.a\nlibx_a_SOURCES = x.c\nliby_a_SOURCES = y.c\nliby_a_CFLAGS = -fPIC {IE}\n"
        "all-local: libx.a liby.a\n\t$(CC) -shared -o libout.so -Wl,--whole-archive libx.a liby.a -Wl,--no-whole-archive\n"
    )
    files = {
        "configure.ac": configure,
        "Makefile.am": make,
        "x.c": C,
        "y.c": "static __thread int y;\nint *f(void);\nint *f(void) { return &y; }\n",
    }
    return Route(files, "./configure && make", ("autoreconf", "automake", "make"), "autoreconf -fi")


def _make(flags: str, command: str = "make", source: str = C) -> Route:
    makefile = f"{flags}\nlibout.so: x.o\n\t$(CC) $(CLANG_LTO) -shared -o $@ x.o\nx.o: x.c\n\t$(RULE)\n"
    return Route({"Makefile": makefile, "x.c": source}, command, ("make",))


LAST = f"RULE = $(CC) $(CFLAGS) -fPIC -c x.c -o x.o {IE}"
"""The project's flag behind the user's."""


def _cargo(dependencies: str, build: str, **files: str) -> Route:
    manifest = (
        '[package]\nname = "out"\nversion = "1.0.0"\nedition = "2018"\n[lib]\ncrate-type = ["cdylib"]\npath = "lib.rs"\n'
        f"[build-dependencies]\n{dependencies}\n[workspace]\n"
    )
    library = 'extern "C" { fn next_count() -> i32; }\n#[no_mangle]\npub extern "C" fn out_next() -> i32 { unsafe { next_count() } }\n'
    # cargo metadata tells where the target folder is, as maturin asks.
    copy = "find \"${CARGO_TARGET_DIR:-target}\" -name libout.so -path '*/debug/libout.so' -exec cp {} . \\;"
    named = {name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()}
    return Route({"Cargo.toml": manifest, "build.rs": build, "lib.rs": library, "x.c": C, **named}, f"cargo build -q && {copy}", ("cargo", "cc"))


def _cc_crate(version: str) -> Route:
    build = f'fn main() {{ cc::Build::new().file("x.c").flag_if_supported("{IE}").flag("{IE}").compile("x"); }}\n'
    return _cargo(f'cc = "{version}"', build)


CMAKE_LIBRARY = "add_library(out SHARED x.c)\n"
CMAKE_RS_LISTS = (
    "cmake_minimum_required(VERSION 3.18)\nproject(x C)\nset(CMAKE_POSITION_INDEPENDENT_CODE ON)\nadd_library(x STATIC x.c)\n"
    f"target_compile_options(x PRIVATE {IE})\ninstall(TARGETS x DESTINATION lib)\n"
)
CMAKE_RS_BUILD = (
    'fn main() { let d = cmake::Config::new("c").cflag("' + IE + '").build();\n'
    '  println!("cargo:rustc-link-search=native={}/lib", d.display()); println!("cargo:rustc-link-lib=static=x"); }\n'
)
AUTOTOOLS_CONFIGURE = r"""#!/bin/sh
for a; do
    case $a in
    --prefix=*) prefix=${a#*=} ;;
    CFLAGS=*) CFLAGS=${a#*=} ;;
    CC=*) CC=${a#*=} ;;
    esac
done
cat > Makefile <<END
all:
	${CC:-cc} $CFLAGS -fPIC -c $(dirname "$0")/x.c -o x.o
	ar rcs libx.a x.o
install: all
	mkdir -p $prefix/lib
	cp libx.a $prefix/lib
END
"""
AUTOTOOLS_BUILD = (
    "fn main() { use std::os::unix::fs::PermissionsExt;\n"
    '  std::fs::set_permissions("c/configure", std::fs::Permissions::from_mode(0o755)).unwrap();\n'
    '  let d = autotools::Config::new("c").cflag("' + IE + '").build();\n'
    '  println!("cargo:rustc-link-search=native={}/lib", d.display()); println!("cargo:rustc-link-lib=static=x"); }\n'
)

ROUTES: dict[str, Route] = {
    "cmake-target_compile_options": _cmake(CMAKE_LIBRARY + f"target_compile_options(out PRIVATE {IE})"),
    "cmake-add_compile_options": _cmake(f"add_compile_options({IE})\n" + CMAKE_LIBRARY),
    "cmake-set-CMAKE_C_FLAGS": _cmake(f'set(CMAKE_C_FLAGS "${{CMAKE_C_FLAGS}} {IE}")\n' + CMAKE_LIBRARY),
    "cmake-DCMAKE_C_FLAGS": _cmake(CMAKE_LIBRARY, f"-DCMAKE_C_FLAGS={IE}"),
    "cmake-DCMAKE_C_FLAGS_RELEASE": _cmake(CMAKE_LIBRARY, f"-DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE='-O3 {IE}'"),
    "cmake-source-property": _cmake(CMAKE_LIBRARY + f'set_source_files_properties(x.c PROPERTIES COMPILE_OPTIONS "{IE}")'),
    "cmake-compile-rule": _cmake(f'string(APPEND CMAKE_C_COMPILE_OBJECT " {IE}")\n' + CMAKE_LIBRARY),
    "meson-c_args": _meson(f"shared_library('out', 'x.c', c_args: ['{IE}'])"),
    "meson-add_project_arguments": _meson(f"add_project_arguments('{IE}', language: 'c')\nshared_library('out', 'x.c')"),
    "meson-Dc_args": _meson("shared_library('out', 'x.c')", f"-Dc_args={IE}"),
    "automake": _automake(),
    "make-flag-last": _make(LAST),
    "make-variable-on-the-command-line": _make("RULE = $(CC) -fPIC $(CFLAGS) -c x.c -o x.o", f"make CFLAGS={IE}"),
    "make-ignores-the-environment": _make(f"CC = gcc\nCFLAGS = {IE}\nRULE = $(CC) -fPIC $(CFLAGS) -c x.c -o x.o"),
    "make-cleared-variables": _make(LAST, "env -u CC -u CFLAGS -u CXX make"),
    "make-absolute-compiler": _make(f"CC = {shutil.which('gcc') or 'gcc'}\n{LAST}"),
    "make-attributes-both-spellings-pragma": _make(LAST, source=ATTRIBUTES),
    "make-lto": _make(f"RULE = $(CC) -O2 -flto -fPIC -c x.c -o x.o {IE}"),
    "make-save-temps": _make(f"RULE = $(CC) -O2 -save-temps -fPIC -c x.c -o x.o {IE}"),
    "cc-crate-1.0.79": _cc_crate("=1.0.79"),
    "cc-crate-1.2.15": _cc_crate("=1.2.15"),
    "cc-crate-newest": _cc_crate("1"),
    "cmake-crate": _cargo('cmake = "=0.1.50"', CMAKE_RS_BUILD, c__x_dot_c=C, c__CMakeLists_dot_txt=CMAKE_RS_LISTS),
    "autotools-crate": _cargo('autotools = "0.2"', AUTOTOOLS_BUILD, c__x_dot_c=C, c__configure=AUTOTOOLS_CONFIGURE),
    "c++-attribute": Route({"x.cpp": CXX}, f"${{CXX:-c++}} -fPIC -shared {IE} -o libout.so x.cpp"),
    "fortran": Route({"x.f": FORTRAN}, f"gfortran -fopenmp -fPIC -shared {IE} -o libout.so x.f", ("gfortran",)),
    "musl": Route({"x.c": C}, f"musl-gcc -fPIC -shared {IE} -o libout.so x.c", ("musl-gcc",)),
    "cross": Route({"x.c": C}, f"aarch64-linux-gnu-gcc -fPIC -shared -nostdlib {IE} -o libout.so x.c", ("aarch64-linux-gnu-gcc",)),
}
"""Who wins, per way: without rewriting each ends with initial-exec."""


def cases(names: Iterable[str]) -> list[Any]:
    """Names of routes as a test's parameters; those that fetch crates are marked."""
    return [pytest.param(name, marks=[pytest.mark.network] * ROUTES[name].fetches) for name in names]


CLANG = (
    "cmake-target_compile_options meson-c_args make-flag-last make-attributes-both-spellings-pragma make-lto cc-crate-newest c++-attribute"
).split()
"""Those that are built with clang too."""
