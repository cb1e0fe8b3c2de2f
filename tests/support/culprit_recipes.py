"""Recipes for shared objects of known culprits, built from their own sources and kept in the user's cache folder.

Sources come as their users get them: crates, Go modules and toolchains, Debian's source packages, wheels and sdists.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.cached import made_once
from tests.support.marks import needs
from tests.support.sysroots import source, sysroot
from tests.support.toolchain import require
from tests.support.wheels import CACHE, fetch, unpack

__all__ = [
    "HEADER",
    "MIMALLOC_FLAGS",
    "KnownObject",
    "autotools",
    "by_cmake",
    "cargo",
    "compiled",
    "crate",
    "debian_go",
    "go",
    "gomp",
    "in_wheel",
    "mimalloc",
    "mimalloc_by_cmake",
    "packaged",
    "stripped",
    "zig",
]

STRIP = {
    "aarch64": "aarch64-linux-gnu-strip", "i386": "i686-linux-gnu-strip", "riscv64": "riscv64-linux-gnu-strip",
    "arm": "arm-linux-gnueabihf-strip", "ppc64le": "powerpc64le-linux-gnu-strip", "s390x": "s390x-linux-gnu-strip",
}  # fmt: skip


@dataclass(frozen=True)
class KnownObject:
    """One shared object. ``culprit``: the id that is right for it. ``made``: how, in the words of the table. ``small``: for make test."""

    name: str
    culprit: str
    made: str
    build: Callable[[Path], Path]
    machine: str = "x86_64"
    small: bool = False

    def path(self) -> Path:
        """The file; built at the first call."""
        needs("network")
        needs("compiler")

        def make(work: Path) -> None:
            tree = work / "tree"
            tree.mkdir()
            shutil.copy(self.build(tree), work / "object.so")
            shutil.rmtree(tree)

        return made_once(CACHE / "culprits" / self.name, make) / "object.so"


def stripped(path: Path, machine: str, folder: Path) -> Path:
    """A copy without symbol table and debug information."""
    output = folder / f"{path.parent.name}-stripped.so"
    run(STRIP.get(machine, "strip"), "-s", "-o", output, path)
    return output


def run(*command: object, cwd: Path | None = None, **environment: str) -> str:
    """Run a tool and give what it printed; its own words are in the error when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def cargo_project(folder: Path, dependency: str, allocator: str | None) -> None:
    """A cdylib whose global allocator is a crate's; without one, a library that only fetches the crate."""
    (folder / "src").mkdir(parents=True)
    use = f"#[global_allocator]\nstatic A: {allocator};\n" if allocator else ""
    code = '#[no_mangle]\npub extern "C" fn work(n: usize) -> usize { (0..n).map(|i| vec![i; i % 7 + 1].len()).sum() }\n'
    (folder / "src" / "lib.rs").write_text(use + code)
    (folder / "Cargo.toml").write_text(
        '[package]\nname = "known"\nversion = "0.1.0"\nedition = "2021"\n[lib]\ncrate-type = ["cdylib"]\n'
        f"[profile.release]\nstrip = false\n[dependencies]\n{dependency}\n"
    )


def cargo(dependency: str, allocator: str, **environment: str) -> Callable[[Path], Path]:
    """Build such a cdylib as maturin would."""

    def build(folder: Path) -> Path:
        require("cargo")
        cargo_project(folder / "known", dependency, allocator)
        run("cargo", "build", "--release", "-q", cwd=folder / "known", CARGO_TARGET_DIR=str(folder / "target"), **environment)
        return folder / "target" / "release" / "libknown.so"

    return build


@functools.cache
def crate(name: str, version: str) -> Path:
    """The source folder of a crate from the registry."""
    require("cargo")

    def make(work: Path) -> None:
        cargo_project(work / "fetch", f'{name} = "={version}"', None)
        found = json.loads(run("cargo", "metadata", "--format-version", "1", cwd=work / "fetch"))
        (manifest,) = (p["manifest_path"] for p in found["packages"] if p["name"] == name)
        shutil.copytree(Path(manifest).parent, work / "source")

    return made_once(CACHE / "crates" / f"{name}-{version}", make) / "source"


MIMALLOC_FLAGS = "-O2 -fPIC -shared -DNDEBUG -fvisibility=hidden -ftls-model=initial-exec".split()


def mimalloc(version: str, folder_in_crate: str, *compiler: str, flags: tuple[str, ...] = ()) -> Callable[[Path], Path]:
    """mimalloc's single source file with the flags of its CMakeLists.txt, from the crate that carries it."""

    def build(folder: Path) -> Path:
        root = crate("libmimalloc-sys", version) / "c_src" / folder_in_crate
        require(compiler[0])
        output = folder / "libmimalloc-known.so"
        run(*compiler, *MIMALLOC_FLAGS, *flags, "-I", root / "include", "-o", output, root / "src" / "static.c", "-lpthread")
        return output

    return build


def unpacked(tarball: Path, folder: Path) -> Path:
    """The one top folder of a tarball."""
    with tarfile.open(tarball) as archive:
        archive.extractall(folder, filter="fully_trusted")  # noqa: S202  (what Debian signs)
    (root,) = (child for child in folder.iterdir() if child.is_dir())
    return root


HEADER = '#define tls_model(x) __tls_model__("global-dynamic")\n#define __tls_model__(x) tls_model("global-dynamic")\n'
"""What turns a tls_model attribute in a source into another, forced in by ``-include``."""


def autotools(package: str, library: str, *configure: str, target: str = "", **environment: str) -> Callable[[Path], Path]:
    """A Debian source package with ./configure and make."""

    def build(folder: Path) -> Path:
        download, tree = folder / "download", folder / "source"
        download.mkdir()
        tree.mkdir()
        root = unpacked(source(package, download), tree)
        run("./configure", *configure, cwd=root, **environment)
        run("make", "-j2", *target.split(), cwd=root)
        return next(path for path in sorted(root.rglob(library)) if path.is_file() and not path.is_symlink())

    return build


def by_cmake(package: str, target: str, **environment: str) -> Callable[[Path], Path]:
    """A shared library of a Debian source package that CMake builds."""

    def build(folder: Path) -> Path:
        require("cmake")
        download, tree = folder / "download", folder / "source"
        download.mkdir()
        tree.mkdir()
        root = unpacked(source(package, download), tree)
        run("cmake", "-S", root, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", cwd=None, **environment)
        run("cmake", "--build", folder / "build", "--target", target, "-j2")
        return next(path for path in sorted((folder / "build").rglob(f"lib{target}.so*")) if not path.is_symlink())

    return build


def mimalloc_by_cmake(version: str, *options: str) -> Callable[[Path], Path]:
    """mimalloc's shared library as its own CMakeLists.txt builds it, from the crate that carries it."""

    def build(folder: Path) -> Path:
        require("cmake")
        root = crate("libmimalloc-sys", version) / "c_src" / "mimalloc"
        off = ("-DMI_BUILD_TESTS=OFF", "-DMI_BUILD_STATIC=OFF", "-DMI_BUILD_OBJECT=OFF")
        run("cmake", "-S", root, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", *off, *options)
        run("cmake", "--build", folder / "build", "--target", "mimalloc", "-j2")
        return next(path for path in sorted((folder / "build").rglob("libmimalloc*.so*")) if not path.is_symlink())

    return build


def go(toolchain: str, *, arch: str = "amd64", flags: str = "", compiler: str = "gcc", cgo: str = "-O2") -> Callable[[Path], Path]:
    """A c-shared library; other toolchains come as Go modules."""

    def build(folder: Path) -> Path:
        require("go")
        require(compiler)
        (folder / "go.mod").write_text("module known\n\ngo 1.21\n")
        (folder / "known.go").write_text(
            'package main\n\nimport "C"\n\n//export Add\nfunc Add(a, b C.int) C.int { return a + b }\n\nfunc main() {}\n'
        )
        environment = {"GOTOOLCHAIN": toolchain, "CGO_ENABLED": "1", "GOARCH": arch, "CC": compiler, "GOFLAGS": "-mod=mod", "CGO_CFLAGS": cgo}
        run("go", "build", "-buildmode=c-shared", f"-ldflags={flags}", "-o", "libknown.so", ".", cwd=folder, **environment)
        return folder / "libknown.so"

    return build


def debian_go(folder: Path) -> Path:
    """Go 1.19 as Debian has it."""
    root = sysroot("amd64", ("golang-1.19-go", "golang-1.19-src"))
    goroot = folder / "goroot"
    shutil.copytree(root / "usr/lib/go-1.19", goroot, symlinks=True)
    for name in ("api", "misc", "src", "test", "pkg/include"):
        if (goroot / name).is_symlink():
            (goroot / name).unlink()
            if (root / "usr/share/go-1.19" / name).exists():
                shutil.copytree(root / "usr/share/go-1.19" / name, goroot / name, symlinks=True)
    (folder / "go.mod").write_text("module known\n\ngo 1.19\n")
    (folder / "known.go").write_text(
        'package main\n\nimport "C"\n\n//export Add\nfunc Add(a, b C.int) C.int { return a + b }\n\nfunc main() {}\n'
    )
    run(goroot / "bin/go", "build", "-buildmode=c-shared", "-o", "libknown.so", ".", cwd=folder, GOROOT=str(goroot), GOFLAGS="-mod=mod")
    return folder / "libknown.so"


def compiled(crate_name: str, version: str, sources: str, *command: str) -> Callable[[Path], Path]:
    """Some source files of a crate in one shared object. Words with ``{root}`` get the crate's folder."""

    def build(folder: Path) -> Path:
        root = crate(crate_name, version)
        require(command[0])
        output = folder / "libknown.so"
        files = [path for pattern in sources.split() for path in sorted(root.glob(pattern))]
        assert files, f"{crate_name} {version} has no {sources}"
        run(*(word.format(root=root) for word in command), "-fPIC", "-shared", "-o", output, *files, "-lpthread", "-ldl", "-latomic")
        return output

    return build


def zig(version: str, *target: str) -> Callable[[Path], Path]:
    """A C file that calls stat, by the compiler in the ziglang wheel."""

    def build(folder: Path) -> Path:
        def make(work: Path) -> None:
            wheel = fetch(f"ziglang=={version}", "manylinux2014_x86_64", "3.11")
            run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", work / "site", wheel)

        site = made_once(CACHE / "zig" / version, make) / "site"
        (folder / "known.c").write_text(
            "#include <sys/stat.h>\nlong size_of(const char *name) { struct stat s; return stat(name, &s) ? -1 : (long)s.st_size; }\n"
        )
        command = ("cc", *target, "-O2", "-fPIC", "-shared", "-o", "libknown.so", "known.c")
        run(sys.executable, "-m", "ziglang", *command, cwd=folder, PYTHONPATH=str(site), ZIG_GLOBAL_CACHE_DIR=str(folder / "cache"))
        return folder / "libknown.so"

    return build


def gomp(suite: str, version: str, host: str = "", **environment: str) -> Callable[[Path], Path]:
    """libgomp alone, from GCC's own source."""

    def build(folder: Path) -> Path:
        root = gcc_source(suite, version)
        (folder / "build").mkdir()
        options = [f"--host={host}", f"--build={run('gcc', '-dumpmachine').strip()}"] if host else []
        command = ("--disable-multilib", "--enable-shared", "--disable-static", "--disable-werror", "--enable-linux-futex", *options)
        run(root / "libgomp" / "configure", *command, cwd=folder / "build", FC="no", **environment)
        run("make", "-j2", "libgomp.la", cwd=folder / "build")
        return next(p for p in (folder / "build/.libs").glob("libgomp.so.1.*") if not p.is_symlink())

    return build


def gcc_source(suite: str, version: str) -> Path:
    """The parts of GCC's source that libgomp needs."""

    def make(work: Path) -> None:
        root = sysroot("amd64", (f"gcc-{version}-source",), suite)
        (tarball,) = (root / "usr/src").rglob("gcc-*.tar.xz")
        wanted = ("libgomp", "config", "include", "libbacktrace", "gcc/config", "gcc/BASE-VER", "gcc/DATESTAMP", "gcc/DEV-PHASE", "libgcc/config")
        with tarfile.open(tarball) as archive:
            for member in archive:
                path = member.name.partition("/")[2]
                if ("/" not in path and not member.isdir()) or path.startswith(wanted):
                    archive.extract(member, work, filter="fully_trusted")
        (top,) = (child for child in work.iterdir() if child.is_dir())
        top.rename(work / "source")

    return made_once(CACHE / "gcc" / f"{suite}-{version}", make) / "source"


def in_wheel(requirement: str, platform: str, python: str, pattern: str) -> Callable[[Path], Path]:
    """A module of a wheel from the package index: built elsewhere."""

    def build(folder: Path) -> Path:
        return next(unpack(fetch(requirement, platform, python), folder / "wheel").rglob(pattern))

    return build


def packaged(suite: str, architecture: str, package: str, pattern: str) -> Callable[[Path], Path]:
    """A library as a Debian release ships it."""

    def build(folder: Path) -> Path:
        del folder
        root = sysroot(architecture, (package,), suite)
        return next(path for path in sorted(root.rglob(pattern)) if not path.is_symlink())

    return build
