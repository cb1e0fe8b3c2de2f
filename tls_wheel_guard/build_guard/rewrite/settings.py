"""The settings of a rewritten build: what makes compilers use global-dynamic, whatever the project itself asks for.

No build file is edited and no flag variable is touched. Each compiler has a place of its own where it looks for options that
stand behind all others on its command line:

  gcc      reads a file ``specs`` in a folder of LIBRARY_PATH and appends what it says to the options of the compiler proper.
           (gcc.cc: find_a_file(&startfile_prefixes, "specs"). A gcc that is configured as a cross compiler ignores LIBRARY_PATH.)
  clang    applies CCC_OVERRIDE_OPTIONS to its command line: ``+OPTION`` appends, ``#`` says nothing of it.
           (llvm lib/Driver/Driver.cpp: driver::applyOverrideOptions)
  others   are started by a shell script that appends the options.

So build systems, their caches of configuration and the project see the compiler and the flags that they always see.

Two things ask for initial-exec. The flag ``-ftls-model=``: the last one wins. The attribute ``tls_model("...")``, in any
spelling, beats every flag: a macro of that name replaces its argument. Each macro names the other spelling, which is not
expanded again (C11 6.10.3.4), so ``__has_attribute(tls_model)`` stays true: the macros take an argument, it has none.

On x86-64 a third thing is undone: ``-mtls-dialect=gnu2``, TLS descriptors, which some loaders refuse and glibc before 2.40 gets wrong. gcc
gets ``-mtls-dialect=gnu`` as its last word; for clang, which knows the flag since 19 and refuses it for other machines, and in the scripts
the project's own flag is what changes.

Never local-dynamic: for a variable of another module it is wrong code that lld links without a word.
"""

from __future__ import annotations

import configparser
import hashlib
import io
import shlex
from collections.abc import Mapping

__all__ = ["OPTIONS", "OWN_FOLDER", "TRADITIONAL", "changes", "setuptools_settings", "specs", "wrapper"]

OPTIONS = (
    "-ftls-model=global-dynamic",
    '-Dtls_model(x)=__tls_model__("global-dynamic")',
    '-D__tls_model__(x)=tls_model("global-dynamic")',
)
"""Ours, behind all others on every compiler's command line."""

DESCRIPTORS, TRADITIONAL = "-mtls-dialect=gnu2", "-mtls-dialect=gnu"
"""gcc and clang for x86: how global-dynamic code asks for a variable's address."""

OWN_FOLDER = "tls-wheel-guard-rewrite"
"""Name of the folder, inside a build folder that the project has, where nothing lies that another build compiled."""

_QUIET = ("--start-no-unused-arguments", "--end-no-unused-arguments")
"""Around options that a step of clang may have no use for, such as -ftls-model where it only links. Since clang 14."""

_SOURCES = "c cc cp cpp cxx c++ C CPP m mm i ii s S sx f for f77 f90 f95 f03 f08 F F77 F90 F95 F03 F08".split()
"""Suffixes of files that are compiled."""


def specs(before: str = "", *, x86: bool = True) -> str:
    """The file ``specs`` for gcc; ``before`` is the text of the one that gcc would have read in its place. ``x86``: it compiles for x86.

    ``+`` appends to gcc's own text. The last words, a test for an option that nobody gives, keep gcc from gluing what follows
    to our last option, as it does under -save-temps. (%include is not allowed in a file that gcc finds by itself.)
    """
    guard = "%{tls-wheel-guard-unused}"
    return (
        (f"{before.rstrip()}\n\n" if before.strip() else "")
        + f"*cpp_unique_options:\n+ {' '.join(OPTIONS[1:])} {guard}\n\n"
        + f"*cc1_options:\n+ {OPTIONS[0]} {TRADITIONAL + ' ' if x86 else ''}{guard}\n\n"
    )


def setuptools_settings(folder: str, before: str = "") -> str:
    """A configuration file for setuptools (distutils/dist.py: DIST_EXTRA_CONFIG); ``before`` is the text of one that is in use.

    Everything is compiled, also what is up to date, and objects go to a folder of ours.
    """
    parser = configparser.RawConfigParser()
    parser.read_string(before)
    for section, option, value in (("build", "build_base", f"{folder}/setuptools"), ("build_ext", "force", "1")):
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, option, value)
    written = io.StringIO()
    parser.write(written)
    return written.getvalue()


def wrapper(compiler: str) -> str:
    """A POSIX sh script that starts a compiler; with our options behind the others where it compiles.

    ``@FILE`` may name sources, so it counts as one. The shell is not left running: exec.
    """
    real = shlex.quote(compiler)
    ours = " ".join(map(shlex.quote, OPTIONS))
    patterns = " | ".join(["-c", "-S", "-E", "@*", *(f"*.{suffix}" for suffix in _SOURCES)])
    return f"""\
#!/bin/sh
# Made for one build by tls-wheel-guard: the compiler, with global-dynamic as its last word on thread-local variables.
dialect=
for word do
    case $word in
    {DESCRIPTORS}) dialect={TRADITIONAL} ;;
    -mtls-dialect=*) dialect= ;;
    esac
done
for word do
    case $word in
    {patterns}) exec {real} "$@" {ours} $dialect ;;
    esac
done
exec {real} "$@"
"""


def changes(before: Mapping[str, str], folder: str, target: str, *, quiet: bool = True) -> dict[str, str]:
    """The variables to set, given those that are set: what they hold is kept and added to.

    ``folder`` holds the file ``specs``, and has no colon in its name. ``target`` is for cargo. ``quiet``: no clang before 14.
    """
    options = (_QUIET[0], *OPTIONS, _QUIET[1]) if quiet else OPTIONS
    return {
        "LIBRARY_PATH": _joined(":", folder, before.get("LIBRARY_PATH")),
        "CCC_OVERRIDE_OPTIONS": _joined(
            " ", before.get("CCC_OVERRIDE_OPTIONS") or "#", f"s/^{DESCRIPTORS}$/{TRADITIONAL}/", *(f"+{option}" for option in options)
        ),
        # A cache of objects must see that these are other ones: ccache by the text of a file, sccache by any word.
        "CCACHE_EXTRAFILES": _joined(":", before.get("CCACHE_EXTRAFILES"), f"{folder}/specs"),
        "SCCACHE_C_CUSTOM_CACHE_BUSTER": _joined("-", before.get("SCCACHE_C_CUSTOM_CACHE_BUSTER"), _digest(options)),
        # zig cc applies the options, but its own cache does not see them.
        "ZIG_GLOBAL_CACHE_DIR": f"{folder}/zig",
        "ZIG_LOCAL_CACHE_DIR": f"{folder}/zig",
        # Cargo and setuptools keep objects from build to build, scikit-build-core where the project says so: those of a plain build.
        "CARGO_TARGET_DIR": target,
        "SKBUILD_BUILD_DIR": f"{folder}/cmake",
        "DIST_EXTRA_CONFIG": f"{folder}/setup.cfg",
    }


def _joined(separator: str, *parts: str | None) -> str:
    return separator.join(part for part in parts if part)


def _digest(options: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(options).encode()).hexdigest()[:16]
